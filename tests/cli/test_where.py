"""`--where` chooses the images of every verb that takes a study."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from stroma.cli.main import run as command
from stroma.prepare.inputs import find_inputs
from stroma.runs.run import Run
from tests.tiny import cube_study, picture_study

SUBJECT = "P002"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return cube_study(tmp_path / "Süß #1, a+b@c", subjects=4, images=2)


def images_in(capsys: pytest.CaptureFixture[str]) -> int:
    images: int = json.loads(capsys.readouterr().out)["images"]
    return images


@pytest.mark.parametrize("verb", ["check", "prepare"])
def test_verbs_over_a_study(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    arguments = [verb, str(study), "-o", str(tmp_path / verb), "--dry-run", "--json"]
    assert command(arguments) == 0
    assert images_in(capsys) == 8
    assert command([*arguments, "--where", f"subject_id = '{SUBJECT}'"]) == 0
    assert images_in(capsys) == 2
    assert command([*arguments, "--where", "subject = 'P001'"]) == 2
    assert "Did you mean 'subject_id'" in capsys.readouterr().err


def test_slides_and_pictures_of_a_study_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = picture_study(tmp_path)
    arguments = ["tissue", str(study), "-o", str(tmp_path / "out"), "--dry-run", "--source-mpp", "1"]
    assert command([*arguments, "--where", "subject_id LIKE '%#2'"]) == 0
    shown = capsys.readouterr().out
    assert "#2" in shown and "#1" not in shown
    assert command(["tissue", str(tmp_path / "data"), *arguments[2:], "--where", "subject_id = 'x'"]) == 2
    assert "is no study" in capsys.readouterr().err
    assert len(find_inputs([study], where="image_id LIKE '%im@1%'").sources) == 4


def test_training_prediction_and_evaluation(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = "image_id LIKE '%#2021_04_01_09_%' OR subject_id = 'P003'"
    run = tmp_path / "run"
    settings = ["train.epochs=1", "sampling.samples_per_epoch=8", "input.granularity={name: patch, size_px: 16}"]
    train = ["train", str(study), "-o", str(run), *(part for text in settings for part in ("--set", text))]
    assert command([*train, "--where", where]) == 0
    chosen = Run.open(run).study
    splits = pl.read_parquet(run / "splits.parquet")
    assert chosen.where == where and set(splits["image_id"]) == set(chosen) and len(chosen) == 5
    assert command([*train, "--where", "subject_id <> 'P001'"]) == 1  # another condition, another training
    assert "data.where was" in capsys.readouterr().err

    second = Run.open(run).images_of("validation", "fold_0")[0]
    condition = ["--images", "validation", "--where", f"image_id = '{second}'"]
    assert command(["predict", str(run), *condition]) == 0
    table = pl.read_parquet(run / "predictions" / "validation" / "predictions.parquet")
    assert table["image_id"].to_list() == [second]
    assert command(["predict", str(run), "--images", "validation"]) == 0
    assert command(["evaluate", str(run), *condition]) == 0
    scores = pl.read_parquet(run / "tables" / "validation" / "scores.parquet")
    assert set(scores["image_id"].drop_nulls()) - {""} == {second}
    assert command(["predict", str(run), "--where", "subject_id = 'P009'"]) == 2


def test_images_are_listed_with_the_annotations_that_are_meant(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["inspect", str(study), "--json", "--where", f"subject_id = '{SUBJECT}' AND label = 'red'"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 2 and all(name.endswith("@polygon#annotator1") for name in found["names"])
    assert all(Path(path).is_file() for path in found["paths"])
    assert command(["inspect", str(study), "--where", "subject_id = 'P009'"]) == 0
    assert "images: 0" in capsys.readouterr().out


def test_divisions_are_shown_for_the_images_that_are_left(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["split", str(study), "--json", "--where", "image_id LIKE '%#2021_04_01_%'"]) == 0
    sets = json.loads(capsys.readouterr().out)["sets"]
    assert sum(row["n_images"] for row in sets if row["fold"] == "fold_0") == 4
