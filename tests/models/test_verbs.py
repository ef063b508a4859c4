"""`stroma models`: list, show, fetch, verify, import and export from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import stroma
from stroma.cli.main import run as cli
from stroma.images.array import ArrayImage
from stroma.models.spectra import SpectrumCNN
from tests.models import originals as o


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    states = {}
    for number in range(2):
        torch.manual_seed(number)
        states[f"fold_P0{number},P1"] = SpectrumCNN(channels=100, classes=19).state_dict()
    run = o.htc_run(tmp_path / "2022_run", states, o.htc_config("pixel", 100))
    return o.zipped(run, "pixel", tmp_path / "pixel@2022_run.zip")


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["models", "list", "deepcmorph", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == 4
    assert cli(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert "palm_median_nested-*-4_seed-*-2 (15 runs): hsi, 100 channels, 2 classes" in text
    assert cli(["models", "show", "deepcmorph/tcga"]) == 0
    text = capsys.readouterr().out
    assert "order inferred, not verified" in text
    assert "CC BY-NC-SA 4.0" in text
    assert cli(["models", "show", "deepcmorph/tgca"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_list_takes_wildcards_and_says_when_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["models", "list", "image@*pig_nested-*-2"]) == 0
    assert "image@2025-03-09_19-38-10_baseline_pig_nested-*-2 (3 runs)" in capsys.readouterr().out
    assert cli(["models", "list", "baseline_pig_nested-1"]) == 0
    assert "image@2025-03-09_19-38-10_baseline_pig_nested-1-2: hsi" in capsys.readouterr().out
    assert cli(["models", "list", "prostat_small"]) == 2
    assert "Did you mean 'prostate_small'?" in capsys.readouterr().err


def test_an_imported_run_predicts_like_the_original(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stroma.inference.predictor import Predictor
    from stroma.runs.run import Run

    output = tmp_path / "imported"
    assert cli(["models", "import", str(archive), "-o", str(output)]) == 0
    card = json.loads((output / "folds" / "fold_P00%2CP1" / "weights.json").read_text())
    assert card["keys"] == {"taken": 37, "adapted": 0, "skipped": 1}
    assert card["class_names"][18] == "kidney_with_Gerotas_fascia"
    rng = np.random.default_rng(0)
    cube = rng.uniform(0.1, 1, size=(5, 7, 100)).astype(np.float32)
    original = stroma.load_model(archive)
    normalised = torch.from_numpy(cube / cube.sum(axis=2, keepdims=True)).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = original(normalised).argmax(1)[0].numpy()
    again = stroma.load_model(output)
    with torch.no_grad():
        torch.testing.assert_close(again(normalised), original(normalised))
    predictor = Predictor.from_run(Run.open(output), device="cpu")
    assert cli(["predict", str(output)]) == 2  # nobody trained it here: it has no images of its own
    assert "no run with a study of its own" in capsys.readouterr().err
    image = ArrayImage(cube, path=Path("cube"))
    np.testing.assert_array_equal(predictor.predict_labels(image), wanted)
    assert cli(["models", "import", str(archive), "-o", str(output)]) == 0  # complete: skipped
    other = ["models", "import", str(archive), "-o", str(output), "--class-names", "a"]
    assert cli(other) == 1
    (output / "folds" / "fold_P00%2CP1" / "weights.json").write_text("{}")
    assert cli(["models", "import", str(archive), "-o", str(output)]) == 0


def test_weights_without_a_known_preparation_are_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stroma.models.segmentation import unet

    torch.save(unet(channels=3, classes=2).state_dict(), tmp_path / "w.pth")
    arguments = ["models", "import", str(tmp_path / "w.pth"), "-o", str(tmp_path / "out"), "--architecture", "unet"]
    assert cli(arguments) == 0
    assert "how its input was normalised is not known" in capsys.readouterr().out
    assert not (tmp_path / "out" / "run.json").exists()
    assert stroma.load_model(tmp_path / "out").loaded.description.classes == 2


def test_verify_compares_with_what_was_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prostate_small.pth").write_bytes(b"x" * 10)
    note = {"url": "u", "size": 10, "sha256": "0" * 64}
    (tmp_path / "prostate_small.pth.source.json").write_text(json.dumps(note))
    assert cli(["models", "verify", "--weights-dir", str(tmp_path)]) == 1
    assert "differs from the SHA-256 noted when it was fetched" in capsys.readouterr().err
    (tmp_path / "prostate_small.pth.source.json").unlink()
    assert cli(["models", "verify", "prostate_small", "--weights-dir", str(tmp_path)]) == 0
    assert "no hash is known" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["safetensors", "torchscript", "onnx"])
def test_export_is_checked_against_the_original(tmp_path: Path, archive: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    target = tmp_path / f"model.{format}"
    arguments = ["models", "export", str(archive), "-o", str(target), "--format", format, "--height", "4"]
    assert cli([*arguments, "--width", "6"]) == 0
    card = json.loads((tmp_path / f"model.{format}.json").read_text())
    assert card["largest_relative_difference"] < 1e-4
    assert card["prepare"] == {"steps": [{"name": "l1"}]}
    assert card["input"] == ["batch", 100, 4, 6]


def test_messages_name_the_folder_that_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my weights"
    assert cli(["models", "verify", "prostate_small", "glomeruli", "--weights-dir", str(folder)]) == 1
    told = capsys.readouterr()
    text = told.out + told.err
    assert f"prostate_small: is not in {folder}" in text
    assert f"stroma models fetch 'glomeruli' --weights-dir '{folder}'" in text
    assert cli(["models", "verify", "--weights-dir", str(folder)]) == 0
    assert "no published weights are there yet" in capsys.readouterr().out
    assert cli(["models", "show", "prostate_small", "--weights-dir", str(folder)]) == 0
    assert f"stroma models fetch 'prostate_small' --weights-dir '{folder}'" in capsys.readouterr().out


def test_models_alone_shows_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["models"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 6
    assert not any(line.startswith("stroma: error") for line in lines)
