"""`stroma predict` with weights of others: their golden numbers, maps and tables, licences, warnings, refusals."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image as Pillow

import stroma
from stroma.cli.main import run as cli
from stroma.core.errors import InvalidData, UsageError
from stroma.core.tables import read_provenance
from stroma.images.array import ArrayImage
from stroma.inference.predict import PredictOptions, predict
from stroma.inference.predictor import Predictor, range_warnings
from stroma.inference.source import ModelSource
from stroma.models.deepcmorph import DeepCMorph
from stroma.models.segmentation import segmentation_model
from stroma.models.spectra import SpectrumCNN, SpectrumMLP
from stroma.models.superpixel import EncoderClassifier
from stroma.models.xcit import xcit
from stroma.sampling.preparation import Preparation
from tests.models import originals as o

RUN = "2022-02-03_22-58-44_generated_default{}_model_comparison"
golden = pytest.mark.skipif(not o.HERE, reason="the folder `shared` is not beside the checkout")


def saved(path: Path, image: torch.Tensor) -> Path:
    """(1, C, H, W) as a NumPy file (H, W, C)."""
    np.save(path, image[0].permute(1, 2, 0).contiguous().numpy())
    return path


def map_of(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Pillow.open(folder / f"{name}.png"))


@golden
@pytest.mark.parametrize(("modality", "suffix", "channels"), [("hsi", "", 100), ("tpi", "_parameters", 4)])
def test_golden_numbers_of_htc_pixel_by_name(tmp_path: Path, modality: str, suffix: str, channels: int) -> None:
    name = f"pixel@{RUN.format(suffix)}"
    state = o.golden_state(f"htc_pixel_{modality}")
    o.htc_run(tmp_path / Path(*name.split("@")), {"fold_P041,P060,P069": state}, o.htc_config("pixel", channels))
    image = saved(tmp_path / "image.npy", o.pattern(1, channels, 8, 8))
    options = [str(image), "-o", str(tmp_path / "out"), "--weights-dir", str(tmp_path)]
    assert cli(["predict", name, *options, "--prepare", "[]"]) == 0  # golden inputs are not normalised
    wanted = o.golden("htc_models.npz", f"pixel_{modality}").argmax(axis=1).reshape(8, 8)
    np.testing.assert_array_equal(map_of(tmp_path / "out", "image"), wanted)


@golden
@pytest.mark.proof
@pytest.mark.parametrize(("modality", "suffix", "channels"), [("hsi", "", 100), ("rgb", "_rgb", 3)])
def test_golden_numbers_of_htc_image_from_its_archive(
    tmp_path: Path, modality: str, suffix: str, channels: int, two_threads: None
) -> None:
    state = o.golden_state(f"htc_image_{modality}")
    run = o.htc_run(tmp_path / RUN.format(suffix), {"fold_0": state}, o.htc_config("image", channels))
    archive = o.zipped(run, "image", tmp_path / f"image@{run.name}.zip")
    image = saved(tmp_path / "image.npy", o.pattern(1, channels, 96, 128))
    arguments = ["predict", str(archive), str(image), "-o", str(tmp_path / "out"), "--prepare", "[]"]
    assert cli(arguments) == 0
    wanted = o.golden("htc_models.npz", f"image_{modality}").argmax(axis=1)[0]
    np.testing.assert_array_equal(map_of(tmp_path / "out", "image")[::4, ::4], wanted)


@golden
@pytest.mark.proof
def test_golden_numbers_of_unext101_from_what_fastai_saved(tmp_path: Path) -> None:
    file = tmp_path / "model_reduction_16_UneXt101_resnext101_32x16d_fold_0.pth"
    torch.save({"model": o.golden_state("unext101"), "opt": {"state": [], "hypers": [{"lr": 5e-4}]}}, file)
    image = saved(tmp_path / "kidney.npy", o.pattern(1, 3, 256, 256))
    assert cli(["predict", str(file), str(image), "-o", str(tmp_path / "out"), "--prepare", "[]"]) == 0
    wanted = o.golden("unext101.npz", "logits_256")[0, 0] > 0
    np.testing.assert_array_equal(map_of(tmp_path / "out", "kidney")[::2, ::2], wanted)
    assert "- background\n- class_0" in (tmp_path / "out" / "labels.yaml").read_text()


@golden
def test_golden_numbers_of_histoencoder_through_embed(tmp_path: Path) -> None:
    """Tiles are 8-bit: rounding the golden input to 1/255 changes these features by 1.2e-3 of the largest."""
    torch.save(o.golden_state("xcit_prostate_small"), tmp_path / "prostate_small.pth")
    mean, std = np.array([0.662, 0.446, 0.605]), np.array([0.169, 0.190, 0.155])  # of its card
    for i, tile in enumerate(o.pattern(2, 3, 224, 224).permute(0, 2, 3, 1).numpy()):
        (tmp_path / "tiles").mkdir(exist_ok=True)
        stored = np.rint(255 * (tile * std + mean)).clip(0, 255).astype(np.uint8)
        Pillow.fromarray(stored).save(tmp_path / "tiles" / f"{i}.png")
    options = ["--weights-dir", str(tmp_path), "--precision", "float32", "--num-blocks", "2", "--avg-pool"]
    encoder = ["--encoder", "prostate_small", *options]
    assert cli(["embed", str(tmp_path / "tiles"), "-o", str(tmp_path / "out"), *encoder]) == 0
    tables = [pl.read_parquet(path) for path in sorted((tmp_path / "out" / "features").glob("*.parquet"))]
    found = torch.from_numpy(np.concatenate([table["feature"].to_numpy() for table in tables]))
    assert o.relative_error(found, o.golden("xcit.npz", "prostate_small_blocks2_avg1")) < 3e-3


@pytest.fixture
def two_threads():
    """Golden numbers of networks that amplify rounding were made with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def deepcmorph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with the file of `deepcmorph/crc` as it is published."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = DeepCMorph(classes=9, head="output_9", unused_classes=9)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save(state, folder / "DeepCMorph_NCT_CRC_HE_Dataset_9_classes_acc_9699.pth")
    return folder


def pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i, size in enumerate(sizes):
        Pillow.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"tile {i}.png")
    return folder


def test_classes_of_images_are_a_table_marked_non_commercial(
    tmp_path: Path, deepcmorph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles, out = pictures(tmp_path / "tiles", (64, 64), (50, 70)), tmp_path / "out"
    arguments = ["predict", "deepcmorph/crc", str(tiles), "-o", str(out), "--weights-dir", str(deepcmorph)]
    assert cli(arguments) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert not out.exists()
    assert cli([*arguments, "--accept-licence"]) == 0
    text = capsys.readouterr().out
    assert "non-commercial: these results may not be used commercially (CC BY-NC-SA 4.0)" in text
    assert "note: the order of its classes is inferred and not verified" in text
    assert "the model was trained on 224 × 224" in text
    network = stroma.load_model("deepcmorph/crc", weights_dir=deepcmorph)
    table = pl.read_parquet(out / "predictions.parquet")
    for row in table.to_dicts():
        stored = np.asarray(Pillow.open(tiles / f"{row['image_id']}.png"))
        with torch.inference_mode():
            wanted = network(torch.from_numpy(stored / np.float32(255)).permute(2, 0, 1)[None]).softmax(1)[0]
        torch.testing.assert_close(torch.tensor(row["probabilities"]), wanted, rtol=1e-4, atol=1e-6)
        assert row["label"] == ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")[int(wanted.argmax())]
        assert row["probability"] == pytest.approx(float(wanted.max()), rel=1e-4)
    settings = read_provenance(out / "predictions.parquet").settings
    assert settings["non_commercial"] == "CC BY-NC-SA 4.0"
    assert json.loads((out / "model.json").read_text())["licence"] == "CC BY-NC-SA 4.0"
    assert json.loads((out / "tile%200.done.json").read_text())["settings"]["non_commercial"] == "CC BY-NC-SA 4.0"
    assert cli(arguments) == 0  # the licence is accepted once, and all is complete
    assert "0 done, 2 already complete" in capsys.readouterr().out
    assert pl.read_parquet(out / "predictions.parquet").equals(table)


@pytest.mark.proof
def test_an_imported_classifier_is_a_run_that_predicts(tmp_path: Path, deepcmorph: Path) -> None:
    tiles = pictures(tmp_path / "tiles", (64, 64))
    name, folder = ["deepcmorph/crc", "--weights-dir", str(deepcmorph)], tmp_path / "imported"
    assert cli(["models", "import", *name, "--accept-licence", "-o", str(folder)]) == 0
    assert cli(["predict", str(folder), str(tiles), "-o", str(tmp_path / "a")]) == 0
    assert cli(["predict", *name, str(tiles), "-o", str(tmp_path / "b")]) == 0
    tables = [pl.read_parquet(tmp_path / out / "predictions.parquet") for out in ("a", "b")]
    assert tables[0]["probabilities"].to_list() == tables[1]["probabilities"].to_list()


def superpixel_run(folder: Path) -> Path:
    torch.manual_seed(0)
    states = {
        f"fold_{i}": EncoderClassifier(channels=100, classes=3, encoder="resnet18").state_dict() for i in range(2)
    }
    config = o.htc_config("superpixel_classification", 100, encoder="resnet18", mapping={"a": 0, "b": 1, "c": 2})
    config["input"]["superpixels"] = {"n_segments": 30}
    return o.htc_run(folder, states, config)


def test_superpixels_of_a_run_folder_are_one_class_each(tmp_path: Path) -> None:
    run = superpixel_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    spectra = rng.uniform(0.1, 1, (2, 100)).astype(np.float32)
    cube = spectra[(np.arange(60) >= 25).astype(int)][None].repeat(48, axis=0)
    cube *= rng.normal(1, 0.02, cube.shape).astype(np.float32)
    image = ArrayImage(cube, wavelengths_nm=np.linspace(500, 1000, 100))
    predictor = ModelSource(str(run)).open().predictor(device="cpu")
    ((top, probabilities),) = predictor.predict_strips(image)
    assert (top, probabilities.shape) == (0, (48, 60, 3))
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=1e-5)
    distinct = len(np.unique(probabilities.reshape(-1, 3), axis=0))
    assert 10 <= distinct <= 60
    np.testing.assert_array_equal(predictor.predict_labels(image), probabilities.argmax(axis=2))
    with pytest.raises(UsageError, match="gives maps"):
        predictor.predict_classes(image)


def test_a_median_spectrum_model_sees_the_median_of_the_normalised_spectra(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "median_pixel@2025-03-07_13-00-00_sepsis-inclusion_palm_median_nested-1-4_seed-0-2"
    network = SpectrumCNN(channels=100, classes=2, dropout=0.5).eval()
    config = o.htc_config("median_pixel", 100, mapping={"no_sepsis": 0, "sepsis": 1})
    o.htc_run(tmp_path / Path(*name.split("@")), {"fold_0": network.state_dict()}, config)
    rng = np.random.default_rng(0)
    cube = rng.uniform(0.1, 1, (6, 7, 100)).astype(np.float32)
    cube[0, :3] = 0  # black pixels have no spectrum
    np.save(tmp_path / "palm.npy", cube)
    arguments = ["predict", name.replace("nested-1", "nested-*"), str(tmp_path / "palm.npy")]
    assert cli([*arguments, "-o", str(tmp_path / "all"), "--weights-dir", str(tmp_path)]) == 1  # 4 are not there
    arguments[1] = name
    assert cli([*arguments, "-o", str(tmp_path / "out"), "--weights-dir", str(tmp_path)]) == 0
    lit = cube.reshape(-1, 100)[3:]
    median = np.median(lit / lit.sum(axis=1, keepdims=True), axis=0).astype(np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(median)[None]).softmax(1)[0]
    row = pl.read_parquet(tmp_path / "out" / "predictions.parquet").row(0, named=True)
    torch.testing.assert_close(torch.tensor(row["probabilities"]), wanted, rtol=1e-4, atol=1e-5)


def test_wildcards_are_one_ensemble_of_all_nested_runs(tmp_path: Path) -> None:
    spectra = torch.rand(1, 100, 4, 5)
    parts = []
    for nested in range(3):
        name = f"image@2025-03-09_19-38-10_baseline_pig_nested-{nested}-2"
        torch.manual_seed(nested)
        network = segmentation_model(channels=100, classes=2, encoder="resnet18").eval()
        config = o.htc_config("image", 100, encoder="resnet18", mapping={"background": 0, "organ": 1})
        o.htc_run(tmp_path / Path(*name.split("@")), {"fold_P1": network.state_dict()}, config)
        with torch.inference_mode():
            parts.append(network(spectra / spectra.sum(dim=1, keepdim=True)).softmax(1))
    found = ModelSource("image@2025-03-09_19-38-10_baseline_pig_nested-*-2", weights_dir=tmp_path).open()
    assert len(found.folds) == 3
    assert found.folds[0] == "2025-03-09_19-38-10_baseline_pig_nested-0-2/fold_P1"
    image = ArrayImage(spectra[0].permute(1, 2, 0).numpy(), wavelengths_nm=np.linspace(500, 1000, 100))
    probabilities = np.concatenate([strip for _, strip in found.predictor(device="cpu").predict_strips(image)])
    wanted = torch.stack(parts).mean(0)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-4, atol=1e-6)


@pytest.fixture
def rgb_run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    state = SpectrumMLP(channels=3, classes=19).state_dict()
    return o.htc_run(tmp_path / "a run", {"fold_0": state, "fold_1": state}, o.htc_config("pixel", 3))


def test_wrong_channels_values_and_resolution_are_refused_or_told(rgb_run: Path, tmp_path: Path) -> None:
    found = ModelSource(str(rgb_run)).open()
    predictor = found.predictor(device="cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert predictor.warnings(ArrayImage(rgb)) == ()
    with pytest.raises(InvalidData, match=r"has 100 channels, the model was trained on 3\. Give its RGB picture"):
        predictor.warnings(ArrayImage(np.ones((4, 4, 100))))
    with pytest.raises(InvalidData, match="values up to 1, and the model divides by 255"):
        predictor.warnings(ArrayImage(np.ones((4, 4, 3), np.float32)))
    with pytest.raises(InvalidData, match="values up to 40000"):
        predictor.warnings(ArrayImage(np.full((4, 4, 3), 40000, np.uint16)))
    np.save(tmp_path / "float.npy", (rgb / 255).astype(np.float32))
    arguments = ["predict", str(rgb_run), str(tmp_path / "float.npy"), "-o", str(tmp_path / "out")]
    assert cli(arguments) == 1  # recorded as this image's failure
    assert pl.read_parquet(tmp_path / "out" / "failures.parquet")["error"].to_list() == ["InvalidData"]
    finer = predictor.card.model_copy(update={"mpp": 0.5})
    assert "does not tell its resolution" in finer.check_image(ArrayImage(rgb))[0]
    assert finer.check_image(ArrayImage(rgb, mpp=0.55)) == ()
    with pytest.raises(InvalidData, match=r"has 0\.25 µm per pixel, the model was trained at 0\.5\. Cut tiles"):
        finer.check_image(ArrayImage(rgb, mpp=0.25))
    bands = predictor.card.model_copy(update={"wavelengths_nm": (500.0, 600.0, 700.0)})
    assert "does not tell its wavelengths" in bands.check_image(ArrayImage(rgb))[0]
    with pytest.raises(InvalidData, match=r"wavelengths up to 50\.0 nm away"):
        bands.check_image(ArrayImage(rgb, wavelengths_nm=np.array([500.0, 650.0, 700.0])))
    assert "values reach 7" in range_warnings(Preparation(), np.full((2, 2, 4), 7.0), "x")[0]


def test_weights_that_predict_cannot_apply_say_what_to_do_instead(tmp_path: Path, rgb_run: Path) -> None:
    image = saved(tmp_path / "image.npy", torch.rand(1, 3, 8, 8))
    torch.save(xcit(encoder="xcit_small_12_p16_224").state_dict(), tmp_path / "prostate_small.pth")
    with pytest.raises(UsageError, match="gives feature vectors, not classes. Use it as an encoder: stroma embed"):
        predict(PredictOptions(model=str(tmp_path / "prostate_small.pth"), inputs=(image,), output=tmp_path / "o"))
    for name in ("uni2-h", "resnet18", "hf-hub:owner/name"):  # before anything is downloaded
        with pytest.raises(UsageError, match="gives feature vectors"):
            predict(PredictOptions(model=name, inputs=(image,), output=tmp_path / "o", weights_dir=tmp_path))
    sepsis = "image@2025-03-07_13-00-00_sepsis-inclusion_palm_stacked_image_nested-0-4_seed-0-2"
    with pytest.raises(UsageError, match="takes two cubes"):
        predict(PredictOptions(model=sepsis, inputs=(image,), output=tmp_path / "o", weights_dir=tmp_path))
    torch.save(SpectrumMLP(channels=3, classes=2).state_dict(), tmp_path / "mlp.pth")
    unknown = {"model": str(tmp_path / "mlp.pth"), "inputs": (image,), "output": tmp_path / "out"}
    with pytest.raises(UsageError, match="how its input was normalised is not known.*--prepare"):
        predict(PredictOptions.model_validate(unknown))
    told = {**unknown, "prepare": "[]", "class_names": ("no", "yes")}
    assert predict(PredictOptions.model_validate(told)).done == 1
    assert "- 'no'\n- 'yes'" in (tmp_path / "out" / "labels.yaml").read_text()
    with pytest.raises(UsageError, match="3 class names were given for 2"):
        predict(PredictOptions.model_validate({**told, "class_names": ("a", "b", "c")}))
    with pytest.raises(UsageError, match="no run with a study of its own"):
        predict(PredictOptions(model=str(rgb_run)))
    with pytest.raises(UsageError, match="no published model 'deepcmorph/tgca'. Did you mean"):
        predict(PredictOptions(model="deepcmorph/tgca", inputs=(image,), output=tmp_path / "o"))


def test_precision_is_float32_unless_asked(rgb_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stroma.models import precision

    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)
    found = ModelSource(str(rgb_run)).open()
    assert found.predictor(device="cpu").precision == "float32"
    fast = found.predictor(device="cpu", precision="auto")
    assert fast.precision == "bfloat16"
    image = ArrayImage(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exact = found.predictor(device="cpu", folds=("fold_0",))
    (_, a), (_, b) = *exact.predict_strips(image), *fast.predict_strips(image)
    assert 0 < np.abs(a - b).max() < 0.02


def test_a_large_picture_is_not_classified_as_one_sample(deepcmorph: Path) -> None:
    source = ModelSource("deepcmorph/crc", weights_dir=deepcmorph, accept_licence=True)
    slide = ArrayImage(np.zeros((1, 1, 3), np.uint8))
    slide.levels = (type(slide.levels[0])(5000, 5000, 1.0),)
    predictor = source.open().predictor(device="cpu")
    assert isinstance(predictor, Predictor)
    with pytest.raises(InvalidData, match="too many to be classified as one sample.*Cut tiles"):
        predictor.predict_classes(slide)
    with pytest.raises(UsageError, match="gives no maps"):
        predictor.predict_strips(slide)


def test_a_training_starts_from_weights_by_name_and_carries_their_licence(tmp_path: Path) -> None:
    """The trained card builds the network without the weights it came from, and keeps their name."""
    from stroma.runs.run import Run
    from stroma.training.train import load_run_config, train
    from tests.tiny import picture_study

    torch.manual_seed(0)
    state = segmentation_model(channels=3, classes=19, encoder="resnet18").state_dict()
    source = o.htc_run(tmp_path / "source", {"fold_0": state}, o.htc_config("image", 3, encoder="resnet18"))
    picture_study(tmp_path / "study")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{study: study}}\nmodel: {{name: '{source.as_posix()}'}}\ninput: {{prepare: {{steps: [divide]}}}}\n"
        "sampling: {samples_per_epoch: 8, batch_size: 4}\ntrain: {epochs: 1, folds: [fold_0]}\n"
        "execution: {device: cpu}\n"
    )
    train(load_run_config(config), tmp_path / "run")
    (source / "config.json").unlink()
    card = Run.open(tmp_path / "run").card("fold_0")
    assert card.model.name == "segmentation"
    assert card.origin is not None
    assert "fold fold_0, SHA-256" in card.origin
    assert cli(["predict", str(tmp_path / "run"), "--images", "test"]) == 0


def test_features_are_marked_too_and_encoders_may_be_files(
    tmp_path: Path, deepcmorph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = pictures(tmp_path / "tiles", (64, 64))
    file = next(deepcmorph.glob("DeepCMorph*.pth"))
    names = ["deepcmorph/crc", str(file)]
    for out, encoder in zip("ab", names, strict=True):
        arguments = ["embed", str(tiles), "-o", str(tmp_path / out), "--encoder", encoder, "--precision", "float32"]
        assert cli([*arguments, "--weights-dir", str(deepcmorph), "--accept-licence"]) == 0
        assert "non-commercial: these features may not be used commercially (CC BY-NC-SA" in capsys.readouterr().out
    tables = [pl.read_parquet(next((tmp_path / out / "features").glob("*.parquet"))) for out in "ab"]
    assert tables[0].equals(tables[1])
    torch.save(SpectrumMLP(channels=3, classes=2).state_dict(), tmp_path / "mlp.pth")
    arguments = ["embed", str(tiles), "-o", str(tmp_path / "c"), "--encoder", str(tmp_path / "mlp.pth")]
    assert cli(arguments) == 2
    assert "gives classes, not feature vectors" in capsys.readouterr().err


def test_tiles_of_another_resolution_than_the_encoders_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stroma.models.colour_texture import ColourTexture

    monkeypatch.setattr(ColourTexture, "mpp", 0.5)
    tiles = pictures(tmp_path / "tiles", (64, 64))
    assert cli(["embed", str(tiles), "-o", str(tmp_path / "out"), "--encoder", "colour-texture"]) == 0
    assert "resolution not known; colour-texture was trained at 0.5" in capsys.readouterr().out


@pytest.mark.proof
def test_nuclei_maps_of_deepcmorph(tmp_path: Path, deepcmorph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = pictures(tmp_path / "tiles", (47, 65))
    options = ["--weights-dir", str(deepcmorph), "--accept-licence", "--nuclei"]
    assert cli(["predict", "deepcmorph/crc", str(tiles), "-o", str(tmp_path / "out"), *options]) == 0
    network = stroma.load_model("deepcmorph/crc", weights_dir=deepcmorph)
    stored = np.asarray(Pillow.open(tiles / "tile 0.png"))
    with torch.inference_mode():
        maps = network.nuclei(torch.from_numpy(stored / np.float32(255)).permute(2, 0, 1)[None])
    found = np.asarray(Pillow.open(tmp_path / "out" / "nuclei" / "tile%200.png"))
    np.testing.assert_allclose(found, 255 * maps.nuclei[0, 0].numpy(), atol=0.51)
    kinds = np.asarray(Pillow.open(tmp_path / "out" / "nuclei" / "tile%200.kind.png"))
    np.testing.assert_array_equal(kinds, maps.classes[0].argmax(0).numpy())
    torch.save(SpectrumMLP(channels=3, classes=2).state_dict(), tmp_path / "mlp.pth")
    other = [
        "predict",
        str(tmp_path / "mlp.pth"),
        str(tiles),
        "-o",
        str(tmp_path / "x"),
        "--prepare",
        "[]",
        "--nuclei",
    ]
    assert cli(other) == 2
    assert "--nuclei is for DeepCMorph" in capsys.readouterr().err


def test_weights_that_have_changed_are_read_again(tmp_path: Path) -> None:
    image = saved(tmp_path / "image.npy", torch.rand(1, 3, 8, 8))
    maps = []
    for seed in range(2):
        torch.manual_seed(seed)
        torch.save(SpectrumMLP(channels=3, classes=5).state_dict(), tmp_path / "mlp.pth")
        options = {
            "model": str(tmp_path / "mlp.pth"),
            "inputs": (image,),
            "output": tmp_path / "out",
            "prepare": "[]",
        }
        predict(PredictOptions.model_validate({**options, "overwrite": True}))
        maps.append(map_of(tmp_path / "out", "image"))
    assert not np.array_equal(maps[0], maps[1])
    with torch.inference_mode():
        wanted = stroma.load_model(tmp_path / "mlp.pth")(torch.from_numpy(np.load(image)).reshape(-1, 3))
    np.testing.assert_array_equal(maps[1], wanted.argmax(1).reshape(8, 8))


class _Evil:
    """What a pickle would run when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("verb", ["predict", "embed"])
def test_malicious_truncated_and_wrong_files_are_refused_by_the_verbs(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = pictures(tmp_path / "tiles", (32, 32))
    whole = tmp_path / "whole.pth"
    torch.save(SpectrumMLP(channels=3, classes=2).state_dict(), whole)
    evil, cut, text, other = (tmp_path / name for name in ("evil.pth", "cut.pth", "notes.txt", "other.pth"))
    torch.save({"model": _Evil(tmp_path / "executed")}, evil)
    cut.write_bytes(whole.read_bytes()[:-200])
    text.write_text("weights")
    torch.save({"a.weight": torch.zeros(2, 2)}, other)
    reasons = {
        evil: "nothing in it was run",
        cut: "not a whole weight file",
        text: "is no weight file",
        other: "architecture that its keys do not tell",
    }
    for file, reason in reasons.items():
        model = (
            ["predict", str(file), str(tiles)] if verb == "predict" else ["embed", str(tiles), "--encoder", str(file)]
        )
        assert cli([*model, "-o", str(tmp_path / "out")]) in (1, 2)
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()
