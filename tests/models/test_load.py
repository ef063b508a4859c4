"""`load_model` for training of one's own: other channels, other classes, folds, spellings, ensembles."""

from pathlib import Path

import numpy as np
import pytest
import torch

import stroma
from stroma.core.errors import ConfigError, InvalidData, UsageError
from stroma.models.bands import adapt_first_layer, band_matrix
from stroma.models.deepcmorph import DeepCMorph
from stroma.models.ensemble import Ensemble
from stroma.models.htc_run import mapping_names
from stroma.models.keys import translate
from stroma.models.spectra import SpectrumCNN, SpectrumMLP
from stroma.models.superpixel import EncoderClassifier
from stroma.models.tabular import ImageTableNetwork
from stroma.models.wavelengths import TIVITA_NM
from stroma.models.xcit import xcit
from tests.models import originals as o


@pytest.fixture
def run(tmp_path: Path) -> Path:
    states = {}
    for fold in ("fold_P041,P060,P069", "fold_P044,P050,P059"):
        torch.manual_seed(len(states))
        states[fold] = SpectrumMLP(channels=3, classes=19).state_dict()
    return o.htc_run(tmp_path / "mlp run", states, o.htc_config("pixel", 3))


def test_the_account_of_an_ensemble_names_its_folds(run: Path) -> None:
    lines = str(stroma.load_model(run).loaded).splitlines()
    assert [line.partition(": ")[0] for line in lines if "keys taken" in line] == [
        f"{fold}/epoch=100-dice_metric=0.74.ckpt" for fold in ("fold_P041,P060,P069", "fold_P044,P050,P059")
    ]


def test_folds_are_averaged_as_probabilities(run: Path) -> None:
    spectra = torch.rand(7, 3)
    both = stroma.load_model(run)
    with torch.no_grad():
        parts = [
            stroma.load_model(run, fold=f)(spectra).softmax(1) for f in ("P041,P060,P069", "fold_P044,P050,P059")
        ]
        torch.testing.assert_close(both(spectra).softmax(1), (parts[0] + parts[1]) / 2)
    assert both.loaded.folds == ("fold_P041,P060,P069", "fold_P044,P050,P059")
    with pytest.raises(UsageError, match="no fold 'P99'"):
        stroma.load_model(run, fold="P99")


def test_sigmoid_ensembles_average_probabilities_too() -> None:
    torch.manual_seed(0)
    members = [torch.nn.Conv2d(3, 2, 1) for _ in range(3)]
    image = 5 * torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        mean = torch.stack([member(image).sigmoid() for member in members]).mean(0)
        torch.testing.assert_close(Ensemble(members, "sigmoid")(image).sigmoid(), mean)
    with pytest.raises(UsageError, match="cannot be averaged"):
        Ensemble(members, "none")


def test_a_folder_of_files_is_an_ensemble(tmp_path: Path) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        torch.save(SpectrumMLP(channels=4, classes=2).state_dict(), tmp_path / f"fold_{seed}.pth")
    assert len(stroma.load_model(tmp_path).members) == 3
    torch.save(SpectrumMLP(channels=4, classes=3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UsageError, match="different channels or classes"):
        stroma.load_model(tmp_path)


def test_own_classes_get_a_new_head_and_every_key_is_accounted_for(run: Path) -> None:
    model = stroma.load_model(run, classes=4)
    report = model.loaded.reports[0]
    assert model(torch.rand(2, 3)).shape == (2, 4)
    assert set(report.skipped) == {"heads.heads.class.weight", "heads.heads.class.bias", "ce_loss_weighted.weight"}
    assert set(report.fresh) == {"heads.heads.class.weight", "heads.heads.class.bias"}
    counted = len(report.taken) + len(report.adapted) + len(report.skipped)
    assert counted == len(SpectrumMLP(channels=3, classes=19).state_dict()) + 1


def test_a_first_layer_is_interpolated_by_nm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = EncoderClassifier(channels=100, classes=2, encoder="timm-resnest14d", dropout=None)
    config = o.htc_config("superpixel_classification", 100, encoder="timm-resnest14d", mapping={"no": 0, "yes": 1})
    run = o.htc_run(tmp_path / "run", {"fold_0": model.state_dict()}, config)
    wanted = np.linspace(505, 995, 50)
    adapted = stroma.load_model(run, wavelengths_nm=wanted.tolist())
    key = "architecture.encoder.model.conv1.0.weight"
    old, new = model.state_dict()[key].numpy(), adapted.state_dict()[key].numpy()
    expected = np.interp(wanted[7], TIVITA_NM, old[3, :, 1, 2])
    assert new[3, 7, 1, 2] == pytest.approx(expected, rel=1e-5)  # spectra sum to 1, so nothing is scaled
    assert "100 bands interpolated to 50 by nm" in adapted.loaded.reports[0].adapted[key]
    shifted = stroma.load_model(run, wavelengths_nm=(np.asarray(TIVITA_NM) + 10).tolist())
    assert not np.allclose(shifted.state_dict()[key].numpy(), old)


def test_interpolation_of_bands() -> None:
    matrix = band_matrix([500, 600, 700], [450, 550, 600, 675, 900])
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1]]
    np.testing.assert_allclose(matrix, expected)
    np.testing.assert_allclose(band_matrix([700, 500, 600], [650]), [[0.5, 0, 0.5]])
    with pytest.raises(UsageError, match="same wavelength"):
        band_matrix([500, 500], [510])


@pytest.mark.parametrize("relative", [True, False])
def test_a_flat_spectrum_gets_the_same_answer_from_more_bands(relative: bool) -> None:
    nm, finer = np.linspace(500, 1000, 100), np.linspace(500, 1000, 199)
    weight = torch.from_numpy(2 + np.sin(nm / 40))[None, :, None, None]
    adapted, _ = adapt_first_layer(weight, 199, trained_nm=nm.tolist(), wanted_nm=finer.tolist(), relative=relative)
    flat, fine = (torch.full((1, n, 1, 1), 1 / n if relative else 1.0, dtype=torch.float64) for n in (100, 199))
    before = torch.nn.functional.conv2d(flat, weight)
    after = torch.nn.functional.conv2d(fine, adapted)
    assert after.item() == pytest.approx(before.item(), rel=0.02)


def test_without_wavelengths_every_channel_starts_with_the_mean() -> None:
    weight = torch.rand(4, 3, 3, 3)
    adapted, how = adapt_first_layer(weight, 5, trained_nm=None, wanted_nm=None, relative=False)
    torch.testing.assert_close(adapted, weight.mean(1, keepdim=True).expand(-1, 5, -1, -1) * 3 / 5)
    assert "wavelengths are not known" in how


def test_a_spectral_network_takes_other_bands_by_resampling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SpectrumCNN(channels=100, classes=19).eval()
    run = o.htc_run(tmp_path / "run", {"fold_0": model.state_dict()}, o.htc_config("pixel", 100))
    finer = np.linspace(500, 1000, 397)  # every fourth band is one of the trained ones
    adapted = stroma.load_model(run, wavelengths_nm=finer.tolist())
    smooth = torch.from_numpy(1 + 0.5 * np.sin(finer / 90)).float()[None]
    coarse = smooth[:, ::4]
    with torch.no_grad():
        found, wanted = adapted(smooth / smooth.sum()), model(coarse / coarse.sum())
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="needs the wavelengths"):
        stroma.load_model(run, channels=50)


@pytest.mark.proof
def test_deepcmorph_for_other_channels_and_own_classes(tmp_path: Path) -> None:
    model = DeepCMorph(classes=9, head="output_9")
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, tmp_path / "d.pth")
    own = stroma.load_model(tmp_path / "d.pth", classes=9, channels=4, wavelengths_nm=(460, 550, 610, 650))
    assert own.head == "output"  # never the published head of 9 tissues
    assert not torch.equal(own.output.weight, model.output.weight)
    assert torch.equal(own.output_9.weight, model.output_9.weight)
    assert set(own.loaded.reports[0].adapted) == {
        "model_preprocessing.encoder.features.0.0.weight", "encoder.features.0.weight",
    }  # fmt: skip
    maps = own.encoder.features[0].weight[:, :8]
    assert torch.equal(maps, model.encoder.features[0].weight[:, :8])
    without = {
        key: value for key, value in model.state_dict().items() if not key.startswith(("output.", "output_41"))
    }
    torch.save(without, tmp_path / "few.pth")
    loaded = stroma.load_model(tmp_path / "few.pth")
    assert loaded.head == "output_32"  # the first published head that is there
    assert "output_41.bias" in loaded.loaded.reports[0].fresh
    del without["encoder.features.0.weight"]
    torch.save(without, tmp_path / "less.pth")
    with pytest.raises(InvalidData):
        stroma.load_model(tmp_path / "less.pth")


def test_both_spellings_of_timm_encoders() -> None:
    model = EncoderClassifier(channels=100, classes=2, encoder="timm-resnest14d", dropout=None)
    state = model.state_dict()
    assert len(state) == 154
    assert o.parameters(model) == 8_595_012
    old = {key.replace("encoder.model.", "encoder."): value for key, value in state.items()}
    assert set(translate(old, state)) == set(state)
    back = translate(state, old)
    assert set(back) == set(old)


def test_image_and_table_networks_tell_their_columns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ImageTableNetwork(channels=100, classes=2, columns=11)
    config = o.htc_config("superpixel_classification", 100, encoder="timm-resnest14d", mapping={"no": 0, "yes": 1})
    config["model"] |= {"activation_function": "elu", "normalization": "BatchNorm"}
    config["model"]["meta"] = {"layer1_size": 50, "layer2_size": 30, "normalization": "BatchNorm"}
    run = o.htc_run(tmp_path / "run", {"fold_0": model.state_dict()}, config)
    loaded = stroma.load_model(run)
    assert loaded.meta.fc1.in_features == 11


def test_class_names_of_the_three_historic_mappings() -> None:
    names = {"abdominal_linen": 0, "background": 0, "heart": 1, "unsure": 255}
    assert mapping_names(names) == ("background", "heart")
    full = {"mapping_name_index": {"a": 0, "b": 1, "c": 2}, "last_valid_label_index": 1, "zero_is_invalid": False}
    assert mapping_names(full) == ("a", "b")
    assert mapping_names(full | {"zero_is_invalid": True, "last_valid_label_index": 2}) == ("b", "c")
    assert mapping_names({"false": 0, "true": 1}) == ("false", "true")


def test_files_with_a_published_name_bring_their_card(tmp_path: Path) -> None:
    name = "2022-02-03_22-58-44_generated_default_rgb_model_comparison"
    state = SpectrumMLP(channels=3, classes=19).state_dict()
    run = o.htc_run(tmp_path / "pixel" / name, {"fold_0": state}, o.htc_config("pixel", 3))
    published = stroma.load_model(run).loaded.description.published
    assert published is not None
    assert published.name == f"pixel@{name}"
    torch.save(xcit(encoder="xcit_small_12_p16_224").state_dict(), tmp_path / "prostate_small.pth")
    description = stroma.load_model(tmp_path / "prostate_small.pth").loaded.description
    assert description.prepare is not None
    assert [step.name for step in description.prepare.steps] == ["divide", "mean_std"]


def test_run_folders_that_lack_something_are_refused(run: Path) -> None:
    fold = run / "fold_P044,P050,P059"
    (fold / "epoch=2.ckpt").write_bytes((fold / "epoch=100-dice_metric=0.74.ckpt").read_bytes())
    with pytest.raises(InvalidData, match="has 2 checkpoints"):
        stroma.load_model(run)
    assert stroma.load_model(run / "fold_P041,P060,P069" / "epoch=100-dice_metric=0.74.ckpt", architecture=None)


def calibrated(folder: Path, section: object) -> tuple[Path, SpectrumMLP]:
    torch.manual_seed(0)
    network = SpectrumMLP(channels=3, classes=3).eval()
    config = o.htc_config("pixel", 3, mapping={"a": 0, "b": 1, "c": 2})
    config["post_processing"] = {"calibration": section}
    return o.htc_run(folder, {"fold_A": network.state_dict()}, config), network


def test_the_calibration_of_htc_is_applied(tmp_path: Path) -> None:
    """score = logits · factor + bias - prior, then normalised: the same probabilities."""
    section = {"scaling": {"fold_A": 0.5}, "bias": {"fold_A": [0.1, -0.2, 0.3]}, "nll_prior": [0.0, 1.0, 2.0]}
    run, network = calibrated(tmp_path / "run", section)
    spectra = torch.rand(5, 3)
    with torch.no_grad():
        wanted = network(spectra) * 0.5 + torch.tensor([0.1, -0.2, 0.3]) - torch.tensor([0.0, 1.0, 2.0])
        model = stroma.load_model(run)
        torch.testing.assert_close(model(spectra).softmax(1), wanted.softmax(1))
    report = model.loaded.reports[0]
    assert report.adapted == dict.fromkeys(
        ["heads.heads.class.weight", "heads.heads.class.bias"], "scaled and shifted by its calibration"
    )
    fresh = stroma.load_model(run, classes=4)  # a new head has no calibration
    assert not fresh.loaded.reports[0].adapted
    file = run / "fold_A" / "epoch=100-dice_metric=0.74.ckpt"
    torch.testing.assert_close(stroma.load_model(file)(spectra), model(spectra))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"scaling": {"fold_B": 0.5}, "bias": {"fold_B": 0.1}}, "nothing that can be applied to 'fold_A'"),
        ({"scaling": {"fold_A": [1.0, 2.0]}, "bias": {"fold_A": 0.1}}, "scaling holds 2 numbers for 3 classes"),
    ],
)
def test_a_calibration_that_does_not_fit_is_not_ignored(tmp_path: Path, section: object, message: str) -> None:
    run, _ = calibrated(tmp_path / "run", section)
    with pytest.raises(ConfigError, match=message):
        stroma.load_model(run)


def test_weights_of_channels_are_left_over_keys(tmp_path: Path) -> None:
    """htc's ChannelWeights would change every input; a file that holds them is not loaded without them."""
    state = {**SpectrumMLP(channels=3, classes=19).state_dict(), "channel_weights": torch.ones(3)}
    run = o.htc_run(tmp_path / "run", {"fold_A": state}, o.htc_config("pixel", 3))
    with pytest.raises(InvalidData, match=r"1 left over \(channel_weights\)"):
        stroma.load_model(run)


@pytest.mark.parametrize("prefix", ["net.", "module.net.", "_orig_mod.student.network."])
def test_a_network_in_an_attribute_of_ones_own_is_found(tmp_path: Path, prefix: str) -> None:
    """A Lightning module of any name: its prefix is taken off, and what is not below it is left over."""
    torch.manual_seed(0)
    model = SpectrumCNN(channels=100, classes=3).eval()
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.1"}, tmp_path / "own.ckpt")
    spectra = torch.rand(2, 100)
    with torch.no_grad():
        found = stroma.load_model(tmp_path / "own.ckpt", architecture="spectrum_cnn")
        torch.testing.assert_close(found(spectra), model(spectra))
    torch.save({**state, "teacher.bias": torch.ones(2)}, tmp_path / "more.pth")
    with pytest.raises(InvalidData, match=r"1 left over \(teacher.bias\)"):
        stroma.load_model(tmp_path / "more.pth", architecture="spectrum_cnn")


def test_an_encoder_named_as_architecture_is_told_apart(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"Write \{name: timm, encoder: resnet18\} for one answer an image"):
        stroma.load_model(tmp_path / "w.pth", architecture="resnet18")
