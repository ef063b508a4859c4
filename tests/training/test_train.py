"""Train → predict → evaluate on tiny cubes, as a user runs it."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

import stroma
from stroma.cli.main import run as command
from stroma.core.config import load_config
from stroma.core.errors import InvalidData, OutputConflict, UsageError
from stroma.evaluation.schema import SCORES_SCHEMA
from stroma.runs.config import RunConfig
from stroma.runs.run import Run
from stroma.training.train import load_run_config, train
from tests.tiny import NAMES, cube_study, picture_study

CONFIG = """
data: {study: study.yaml}
input:
  prepare: {steps: [l1, mean_std]}
  granularity: {name: patch, size_px: 16}
model: {name: unet}
sampling: {batch_size: 8, samples_per_epoch: 32}
optim: {lr: 0.003}
train: {epochs: 2}
"""


def write_config(folder, text=CONFIG):
    cube_study(folder)
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Süß #1 a,b")
    config = write_config(folder)
    assert command(["train", str(config), "-o", str(folder / "run")]) == 0
    return folder


def test_a_run_folder_can_be_read_without_stroma(trained):
    run = trained / "run"
    weights = load_file(run / "folds" / "fold_0" / "weights.safetensors")
    card = json.loads((run / "folds" / "fold_0" / "card.json").read_text())
    assert card["labels"]["names"] == list(NAMES)
    assert card["channels"] == 10
    assert len(card["wavelengths_nm"]) == 10
    assert [step["name"] for step in card["prepare"]["steps"]] == ["l1", "mean_std"]
    assert len(card["prepare"]["steps"][1]["mean"]) == 10
    assert any(tensor.shape[1] == 10 for tensor in weights.values() if tensor.ndim == 4)
    curves = pl.read_parquet(run / "folds" / "fold_0" / "metrics.parquet")
    assert curves.columns == ["fold", "epoch", "name", "value"]
    assert set(curves["name"]) == {"train_loss", "validation_dice"}
    assert not (run / "folds" / "fold_0" / "resume.ckpt").exists()


def test_a_subject_stands_on_one_side(trained):
    splits = pl.read_parquet(trained / "run" / "splits.parquet").with_columns(
        subject=pl.col("image_id").str.split("#").list.first()
    )
    for fold in splits["fold"].unique():
        rows = splits.filter(fold=fold)
        sides = [set(rows.filter(role=role)["subject"]) for role in ("train", "validation", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides))


def test_fitted_values_come_from_the_training_side_only(trained):
    run = Run.open(trained / "run")
    cubes = [run.study.open(image_id).read() for image_id in run.images_of("train", "fold_0")]
    pixels = np.concatenate([cube.reshape(-1, 10) for cube in cubes]).astype(np.float64)
    expected = (pixels / np.abs(pixels).sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(run.card("fold_0").prepare.steps[1].parameters["mean"], expected, rtol=1e-5)


def test_predict_and_evaluate_the_test_subject(trained, capsys):
    run = trained / "run"
    assert command(["predict", str(run)]) == 0
    assert command(["evaluate", str(run)]) == 0
    assert "1 subject" in capsys.readouterr().out
    prediction = Pillow.open(run / "predictions" / "test" / "P003%232021_04_01_09_22_03.png")
    assert (prediction.mode, prediction.size) == ("P", (32, 24))
    scores = pl.read_parquet(run / "tables" / "test" / "scores.parquet")
    assert scores.schema == SCORES_SCHEMA
    confusion = pl.read_parquet(run / "tables" / "test" / "confusion.parquet")
    right = confusion.filter(pl.col("reference") == pl.col("predicted"))["count"].sum()
    reference = Run.open(run).study.mask("P003#2021_04_01_09_22_03")
    assert right == (np.asarray(prediction) == reference).sum()
    medians = pl.read_parquet(run / "tables" / "test" / "medians.parquet")
    assert medians["label"].sort().to_list() == sorted(NAMES)


def test_validation_images_are_predicted_by_the_fold_that_did_not_see_them(trained):
    run = Run.open(trained / "run")
    assert command(["predict", str(run.folder), "--images", "validation"]) == 0
    table = pl.read_parquet(run.folder / "predictions" / "validation" / "predictions.parquet")
    for row in table.to_dicts():
        assert row["image_id"] in run.images_of("validation", row["folds"])


def test_predicting_again_skips_what_is_complete(trained, capsys):
    run = trained / "run"
    command(["predict", str(run)])
    before = {p: p.stat().st_mtime_ns for p in (run / "predictions" / "test").glob("*.png")}
    capsys.readouterr()
    assert command(["predict", str(run)]) == 0
    assert "0 done, 1 already complete" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_other_images_can_be_predicted_and_a_broken_one_stops_no_other(trained, tmp_path, capsys):
    cube = next((trained / "data").rglob("*_SpecCube.dat"))
    broken = tmp_path / "x_SpecCube.dat"
    broken.write_bytes(cube.read_bytes()[:100])
    arguments = ["predict", str(trained / "run"), str(cube), str(broken), "-o", str(tmp_path / "out")]
    assert command(arguments) == 3
    assert "x_SpecCube" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    failures = pl.read_parquet(tmp_path / "out" / "failures.parquet")
    assert failures["error"].to_list() == ["UnreadableImage"]


def test_training_again_skips_finished_folds_and_other_settings_are_refused(trained, capsys):
    config, run = trained / "config.yaml", trained / "run"
    before = (run / "folds" / "fold_0" / "weights.safetensors").stat().st_mtime_ns
    assert command(["train", str(config), "-o", str(run)]) == 0
    assert "2 already complete" in capsys.readouterr().out
    assert (run / "folds" / "fold_0" / "weights.safetensors").stat().st_mtime_ns == before
    assert command(["train", str(config), "-o", str(run), "--set", "optim.lr=0.5"]) == 1
    assert "optim.lr was 0.003, is 0.5" in capsys.readouterr().err


def test_a_run_that_is_replaced_is_counted_as_trained(tmp_path, capsys):
    arguments = ["train", str(write_config(tmp_path)), "-o", str(tmp_path / "run"), "--set", "train.epochs=1"]
    assert command(arguments) == 0
    capsys.readouterr()
    assert command([*arguments, "--set", "optim.lr=0.001", "--overwrite"]) == 0
    shown = capsys.readouterr()
    assert "2 done" in shown.out
    lines = [line.split(":")[0] for line in shown.err.splitlines() if "validation_dice" in line]
    assert lines == ["fold_0 epoch 1/1", "fold_1 epoch 1/1"]  # who waits sees every epoch, also without a terminal


def test_a_run_keeps_the_precision_it_began_with(trained, monkeypatch, capsys):
    """As when a training from a GPU, or its finished folds, are gone on with on another machine."""
    assert json.loads((trained / "run" / "run.json").read_text())["settings"]["train"]["precision"] == "float32"
    monkeypatch.setattr(
        "stroma.training.train.training_precision", lambda wanted, device: {"auto": "bfloat16"}.get(wanted, wanted)
    )
    arguments = ["train", str(trained / "config.yaml"), "-o", str(trained / "run")]
    assert command(arguments) == 0
    assert "2 already complete" in capsys.readouterr().out
    assert command([*arguments, "--set", "train.precision=bfloat16"]) == 1
    assert 'train.precision was "float32", is "bfloat16"' in capsys.readouterr().err


def test_too_little_memory_for_a_batch_says_what_to_make_smaller(trained, tmp_path, monkeypatch, capsys):
    def hungry(self, batch, index):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("stroma.training.module.SegmentationModule.training_step", hungry)
    assert command(["train", str(trained / "config.yaml"), "-o", str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert (
        "cpu has too little memory for 8 samples at once. Use a smaller sampling.batch_size"
        in capsys.readouterr().err
    )


def test_a_resumed_training_gives_the_same_weights(trained, tmp_path, monkeypatch):
    """Interrupted after its first epoch and run again, byte for byte as in one go."""
    from stroma.training.module import EpochEnd

    original = EpochEnd.on_train_epoch_end

    def stop_after_the_first_epoch(self, trainer, module):
        original(self, trainer, module)
        raise RuntimeError("power cut")

    config = load_run_config(trained / "config.yaml", ["train.folds=[fold_0]"])
    monkeypatch.setattr(EpochEnd, "on_train_epoch_end", stop_after_the_first_epoch)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    assert (tmp_path / "run" / "folds" / "fold_0" / "resume.ckpt").is_file()
    train(config, tmp_path / "run")
    fold = "folds/fold_0"
    for name in ("weights.safetensors", "card.json", "metrics.parquet"):
        assert (tmp_path / "run" / fold / name).read_bytes() == (trained / "run" / fold / name).read_bytes(), name


def test_the_number_of_loader_processes_does_not_change_the_weights(trained, tmp_path):
    config = load_run_config(trained / "config.yaml", ["train.folds=[fold_1]", "execution.workers=2"])
    train(config, tmp_path / "run")
    name = "folds/fold_1/weights.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (trained / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (["train.folds=[fold_9]"], UsageError, "no fold 'fold_9'"),
        (["model.name=unett"], UsageError, "Did you mean 'unet'"),
        (["data.annotator=annotator7"], UsageError, "Did you mean 'annotator1'"),
    ],
)
def test_what_cannot_be_trained_is_named_before_it_starts(trained, tmp_path, change, kind, message):
    with pytest.raises(kind, match=message):
        train(load_run_config(trained / "config.yaml", change), tmp_path / "run")


def test_an_unknown_key_names_the_nearest_and_exits_with_2(trained, capsys):
    arguments = ["train", str(trained / "config.yaml"), "-o", "x", "--set", "optim.lrr=1"]
    assert command(arguments) == 2
    assert "unknown key 'optim.lrr'. Did you mean 'lr'?" in capsys.readouterr().err


def test_a_mask_of_another_size_is_named(tmp_path):
    config = write_config(tmp_path)
    for mask in (tmp_path / "data" / "subjects" / "P001").rglob("*binary.png"):
        Pillow.new("1", (10, 10), 1).save(mask)
    with pytest.raises(InvalidData, match="10 × 10 pixels"):
        train(config, tmp_path / "run")


def test_validation_images_without_annotation_are_named_before_the_training(tmp_path):
    config = write_config(tmp_path)
    for subject in ("P000", "P002"):
        for mask in (tmp_path / "data" / "subjects" / subject).rglob("*binary.png"):
            Pillow.new("1", Pillow.open(mask).size, 0).save(mask)
    with pytest.raises(InvalidData, match="no pixel of the 2 validation images of fold_0 is annotated"):
        train(config, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_training_that_diverges_stops_and_says_so(tmp_path, capsys):
    arguments = ["train", str(write_config(tmp_path)), "-o", str(tmp_path / "run"), "--set", "optim.lr=1e30"]
    assert command(arguments) == 1
    assert "the loss of epoch 1 is nan. Lower the learning rate (optim.lr is 1e+30)" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_not_touched(trained, tmp_path):
    (tmp_path / "precious.txt").write_text("data")
    with pytest.raises(OutputConflict, match="not empty and not a run"):
        train(trained / "config.yaml", tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "data"


def test_damaged_weights_are_refused(trained, tmp_path):
    import shutil

    shutil.copytree(trained, tmp_path / "copy")
    weights = tmp_path / "copy" / "run" / "folds" / "fold_0" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert command(["predict", str(tmp_path / "copy" / "run"), "--overwrite"]) == 1


def test_dry_run_prints_the_complete_configuration_and_writes_nothing(trained, tmp_path, capsys):
    arguments = ["train", str(trained / "config.yaml"), "-o", str(tmp_path / "run"), "--dry-run"]
    assert command(arguments) == 0
    assert "schedule: cosine" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_python_and_command_line_share_one_configuration(trained):
    config = load_config(trained / "config.yaml", RunConfig)
    assert config.optim.lr == 0.003
    assert stroma.train is train


@pytest.mark.parametrize(("make", "steps"), [(cube_study, ["l1", "mean_std"]), (picture_study, ["mean_std"])])
def test_a_study_alone_stands_for_the_default_configuration(tmp_path, make, steps):
    config = load_run_config(make(tmp_path), ["optim.lr=0.5"])
    assert [step.name for step in config.input.prepare.steps] == steps
    assert config.optim.lr == 0.5
    assert config.data.study == tmp_path / "study.yaml"


def test_training_from_stores_gives_the_same_within_their_rounding(trained, tmp_path):
    """Another fingerprint, since bytes differ; nearly the same fitted values and predictions."""
    study, store = trained / "study.yaml", trained / "stores, ä"
    assert command(["prepare", str(study), "-o", str(store)]) == 0
    arguments = ["train", str(trained / "config.yaml"), "--set", f'data.store="{store}"', "--fold", "fold_0"]
    assert command([*arguments, "-o", str(tmp_path / "run")]) == 0
    usual, other = Run.open(trained / "run"), Run.open(tmp_path / "run")
    assert other.stores.kind == "l1" and other.stores.folder.samefile(store)
    settings = [json.loads((run.folder / "run.json").read_text())["settings"] for run in (usual, other)]
    assert "store" not in settings[0]["data"] and settings[1]["data"].pop("store") == "float16"
    assert settings[0] == settings[1]
    fitted = [np.array(run.card("fold_0").prepare.steps[1].parameters["mean"]) for run in (usual, other)]
    np.testing.assert_allclose(fitted[1], fitted[0], rtol=1e-3)
    losses = [run.metrics().filter(fold="fold_0", name="train_loss")["value"].to_numpy() for run in (usual, other)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)
    assert command(["predict", str(other.folder), "--images", "test"]) == 0
    assert len(list((other.folder / "predictions" / "test").glob("*.png"))) == 1
    store.rename(trained / "elsewhere")
    assert command(["predict", str(other.folder), "--images", "test", "--overwrite"]) == 1
