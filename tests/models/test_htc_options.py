"""Options that runs of htc may have: layers before the network, normalisations, tables, further heads.

Expected numbers are those of imsy-htc 0.0.23 in float64, with the deterministic weights of `shared/golden`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import stroma
from stroma.core.errors import ConfigError, InvalidData, UsageError
from stroma.models.channel_convolutions import ChannelConvolutions, channel_convolutions
from stroma.models.segmentation import segmentation_model
from stroma.models.spectra import SpectrumCNN, SpectrumMLP
from stroma.models.tabular import ImageTableNetwork, TableNetwork
from tests.models import originals as o

needs_golden = pytest.mark.skipif(not o.HERE, reason="the folder `shared` is not beside the checkout")


def filled(network: nn.Module) -> nn.Module:
    network.load_state_dict(o.fill(network.state_dict()))
    return network.eval().double()


@needs_golden
@pytest.mark.parametrize(
    ("design", "normalisation", "mean", "first"),
    [
        (5, "BatchNorm", 0.962539, [1.064718, 1.073220, 1.092748]),
        (5, None, 0.137952, [0.196327, 0.192089, 0.210232]),
        (16, "BatchNorm", 0.153350, [0.135800, 0.148579, 0.101469]),
        (16, "InstanceNorm", 0.0, [-0.007980, 0.122658, -0.333751]),
        (38, "BatchNorm", -0.042425, [-0.026654, -0.028163, 0.010122]),
        (38, "InstanceNorm", 0.150765, [0.353545, 0.442762, 1.069363]),
        (40, "BatchNorm", -0.021671, [0.023160, 0.034471, 0.078591]),
        (40, None, 0.138769, [0.177858, 0.183341, 0.212441]),
    ],
)
def test_convolutions_along_the_channels_give_the_numbers_of_htc(design, normalisation, mean, first) -> None:
    network = ChannelConvolutions(
        channels=100, remaining_channels=design, activation="elu", normalisation=normalisation, channel_weights=True
    )
    with torch.no_grad():
        found = filled(network)(o.pattern(2, 100, 6, 7).double())
    assert found.shape == (2, design, 6, 7)
    assert network.remaining == design
    assert found.mean().item() == pytest.approx(mean, abs=1e-6)
    assert found.flatten()[:3].tolist() == pytest.approx(first, abs=1e-6)


def preprocessed(channels: int = 100) -> nn.Module:
    torch.manual_seed(0)
    before = {"remaining_channels": 16, "activation": "elu", "normalisation": "BatchNorm", "channel_weights": True}
    return segmentation_model(
        channels=channels, classes=19, encoder="resnet18", channel_preprocessing=before
    ).eval()  # fmt: skip


def preprocessed_run(folder: Path) -> Path:
    config = o.htc_config("image", 100, encoder="resnet18")
    config["model"]["channel_preprocessing"] = {
        "remaining_channels": 16, "activation_function": "elu", "normalization": "BatchNorm", "channel_weights": True,
    }  # fmt: skip
    return o.htc_run(folder, {"fold_A": preprocessed().state_dict()}, config)


def test_a_run_with_channel_preprocessing_is_loaded(tmp_path: Path) -> None:
    run = preprocessed_run(tmp_path / "run")
    model = stroma.load_model(run)
    keys = {key for key in model.state_dict() if key.startswith("channel_preprocessing")}
    assert "channel_preprocessing.channel_weights.channel_weights" in keys
    assert {key.split(".")[2] for key in keys} >= {"0", "1", "3", "4", "5", "6"}  # layer 2 is a pooling
    image = torch.rand(1, 100, 40, 50)  # any size
    with torch.no_grad():
        torch.testing.assert_close(model(image), preprocessed()(image))
    assert model.loaded.description.channels == 100


def test_such_a_run_takes_other_bands_by_interpolating_spectra(tmp_path: Path) -> None:
    run = preprocessed_run(tmp_path / "run")
    finer = np.linspace(500, 1000, 397)  # every fourth band is one of the trained ones
    adapted, model = stroma.load_model(run, wavelengths_nm=finer.tolist()), stroma.load_model(run)
    smooth = torch.from_numpy(1 + 0.5 * np.sin(finer / 90)).float().reshape(1, -1, 1, 1).expand(-1, -1, 32, 32)
    coarse = smooth[:, ::4]
    with torch.no_grad():
        found, wanted = adapted(smooth / smooth[0, :, 0, 0].sum()), model(coarse / coarse[0, :, 0, 0].sum())
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    with pytest.raises(UsageError, match="convolves along the spectrum, and needs the wavelengths"):
        stroma.load_model(run, channels=50)


def test_what_channel_preprocessing_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="no design for 20 remaining channels") as caught:
        channel_convolutions(100, {"remaining_channels": 20})
    assert "5, 16, 38, 40" in str(caught.value)
    with pytest.raises(ConfigError, match="leaves none of 20 channels"):
        channel_convolutions(20, {"remaining_channels": 5})
    with pytest.raises(ConfigError, match="no parameter 'activation_function'"):
        channel_convolutions(100, {"activation_function": "elu"})


def test_spectra_that_do_not_sum_to_one_keep_their_values() -> None:
    """A flat spectrum of 0.5 stays one of 0.5 on any other bands."""
    nm, trained = np.linspace(500, 1000, 37).tolist(), np.linspace(500, 1000, 100).tolist()
    network = SpectrumCNN(channels=37, classes=2, wavelengths_nm=nm, trained_nm=trained, keep_sum=False)
    torch.testing.assert_close(torch.full((1, 37), 0.5) @ network.to_trained, torch.full((1, 100), 0.5))
    relative = SpectrumCNN(channels=37, classes=2, wavelengths_nm=nm, trained_nm=trained)
    assert (torch.full((1, 37), 1 / 37) @ relative.to_trained).sum().item() == pytest.approx(1)


@needs_golden
@pytest.mark.parametrize(
    ("normalisation", "first"),
    [
        ("InstanceNorm", [1.076630, -0.184902, -1.590912, 1.020272]),
        (None, [-0.389431, -1.878168, -2.358485, 0.768333]),
    ],
)
def test_normalisations_of_the_spectral_cnn_give_the_numbers_of_htc(normalisation, first) -> None:
    network = filled(SpectrumCNN(channels=100, classes=5, width=32, normalisation=normalisation))
    assert not any("norm" in key for key in network.state_dict())
    spectra = o.pattern(1, 100, 4, 4).permute(0, 2, 3, 1).reshape(-1, 100).double()
    with torch.no_grad():
        assert network(spectra)[0, :4].tolist() == pytest.approx(first, abs=1e-6)


def test_a_file_that_does_not_tell_its_normalisation_is_not_guessed(tmp_path: Path) -> None:
    torch.save(SpectrumMLP(channels=3, classes=2, normalisation="InstanceNorm").state_dict(), tmp_path / "w.pth")
    with pytest.raises(InvalidData, match="an architecture that its keys do not tell"):
        stroma.load_model(tmp_path / "w.pth")
    named = {"name": "spectrum_mlp", "normalisation": "InstanceNorm"}
    assert stroma.load_model(tmp_path / "w.pth", architecture=named)(torch.rand(5, 3)).shape == (5, 2)


META = {"layer1_size": 20, "layer2_size": 12, "dropout": 0.2, "activation_function": "relu"}


@needs_golden
def test_tables_give_the_numbers_of_htc(tmp_path: Path) -> None:
    """With the sizes, activations and normalisations of the run's configuration."""
    table = o.pattern(4, 3, 1, 1).reshape(4, 3).double()
    one = filled(TableNetwork(channels=3, classes=2, hidden=(20, 12), activation="relu"))
    config = o.htc_config("meta", 3, mapping={"a": 0, "b": 1})
    config["model"] = {"meta": {**META, "normalization": "BatchNorm"}}
    del config["input"]["n_channels"]  # a table has none
    run = o.htc_run(tmp_path / "table", {"fold_A": one.float().state_dict()}, config)
    with torch.no_grad():
        found = stroma.load_model(run).double()(table)
    assert stroma.load_model(run).loaded.description.modality == "table"
    assert found[:2].flatten().tolist() == pytest.approx([-0.133734, 1.819676, -0.184258, 1.527732], abs=1e-5)

    both = filled(
        ImageTableNetwork(
            channels=100, classes=2, columns=3, part=7, activation="relu", normalisation=None, dropout=0.1,
            table={"hidden": [20, 12], "activation": "selu", "normalisation": "BatchNorm"},
        )
    )  # fmt: skip
    config = o.htc_config("image", 100, mapping={"a": 0, "b": 1})
    config["model"] = {
        "encoder": "timm-resnest14d", "dropout": 0.1, "activation_function": "relu", "normalization": None,
        "meta": {**META, "activation_function": "selu", "normalization": "BatchNorm"}, "per_model_output_size": 7,
    }  # fmt: skip
    run = o.htc_run(tmp_path / "both", {"fold_A": both.float().state_dict()}, config)
    with torch.no_grad():
        found = stroma.load_model(run).double()(o.pattern(4, 100, 32, 32).double(), table)
    assert found[:2].flatten().tolist() == pytest.approx([0.618824, -4.778927, 0.837895, -4.412895], abs=1e-4)


def test_further_heads_of_a_spectral_run_are_kept(tmp_path: Path) -> None:
    """Domain heads (`model/heads`) are on the same features and change no class."""
    torch.manual_seed(0)
    trained = SpectrumCNN(channels=100, classes=19, domains={"camera_index": 3}).eval()
    run = o.htc_run(tmp_path / "run", {"fold_A": trained.state_dict()}, o.htc_config("pixel", 100))
    model = stroma.load_model(run)
    spectra = torch.rand(4, 100)
    with torch.no_grad():
        torch.testing.assert_close(model(spectra), trained(spectra))
    assert model.heads.heads["camera_index"].out_features == 3


def test_overlapping_classes_are_averaged_as_such(tmp_path: Path) -> None:
    """`model/activations: sigmoid`: the mean of two folds is that of their sigmoids."""
    states = []
    for seed in range(2):
        torch.manual_seed(seed)
        states.append(SpectrumMLP(channels=3, classes=19).eval())
    config = o.htc_config("pixel", 3)
    config["model"]["activations"] = "sigmoid"
    run = o.htc_run(tmp_path / "run", {f"fold_{i}": m.state_dict() for i, m in enumerate(states)}, config)
    model, spectra = stroma.load_model(run), torch.rand(5, 3)
    assert model.loaded.description.activation == "sigmoid"
    with torch.no_grad():
        wanted = torch.stack([m(spectra).sigmoid() for m in states]).mean(0)
        torch.testing.assert_close(model(spectra).sigmoid(), wanted)


def test_a_part_of_the_channels_has_its_wavelengths(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = o.htc_config("image", 40, encoder="resnet18")
    config["input"] |= {"channel_selection": [20, 60], "preprocessing": "L1"}
    state = segmentation_model(channels=40, classes=19, encoder="resnet18").state_dict()
    run = o.htc_run(tmp_path / "run", {"fold_0": state}, config)
    nm = stroma.load_model(run).loaded.description.wavelengths_nm
    assert nm == pytest.approx(np.linspace(500, 1000, 100)[20:60])
