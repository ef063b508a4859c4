"""Whose annotations are taken is known, printed and stored."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from stroma.cli.main import run as command
from stroma.study.study import open_study
from stroma.study.taken import annotations_taken, describe_taken
from tests.tiny import cube_study

from .conftest import write_study

FIRST = "P001#2021_04_15_09_22_01"


def test_it_is_what_masks_are_read_of(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml)
    taken = annotations_taken(study, study)
    assert taken["image_id"].to_list() == list(study)
    for image_id, layer, annotator in taken.iter_rows():
        mask = study.annotated_mask(image_id)
        assert (mask.layer, mask.annotator) == (layer, annotator)
    assert describe_taken(taken) == ["annotated by annotator1 (6 images)"]


def test_the_order_in_study_yaml_decides(surgery_yaml: Path) -> None:
    path = surgery_yaml.with_name("other.yaml")
    labels = {"names": ["liver", "colon"], "ignore": [255]}
    preferred = ["annotator2", "annotator1"]
    write_study(path, name="s", root=".", layout="heiporspectral", labels=labels, annotators=preferred)
    study = open_study(path)
    taken = annotations_taken(study, study)
    assert taken.filter(image_id=FIRST)["annotator"].to_list() == ["annotator2"]
    assert describe_taken(taken) == ["annotated by annotator1 (5 images), annotator2 (1 image)"]
    assert describe_taken(annotations_taken(study, study, "annotator2")) == ["annotated by annotator2 (1 image)"]
    assert describe_taken(annotations_taken(study, [])) == []


def test_train_and_evaluate_print_it_and_the_run_stores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, run = cube_study(tmp_path, subjects=4), tmp_path / "run"
    mask = next(tmp_path.glob("data/subjects/P001/*/annotations/*annotator1#red*"))
    mask.with_name(mask.name.replace("annotator1", "annotator0")).write_bytes(mask.read_bytes())
    settings = ["train.epochs=1", "sampling.samples_per_epoch=8", "input.granularity={name: patch, size_px: 16}"]
    options = [part for text in settings for part in ("--set", text)]
    assert command(["train", str(study), "-o", str(run), *options, "--fold", "fold_0"]) == 0
    said = capsys.readouterr().out
    table = pl.read_parquet(run / "annotated_by.parquet")
    assert dict(table.select("image_id", "annotator").iter_rows())["P001#2021_04_01_09_22_01"] == "annotator0"
    assert "annotated by annotator1 (3 images), annotator0 (1 image)" in said
    assert command(["predict", str(run), "--images", "validation"]) == 0
    assert command(["evaluate", str(run), "--images", "validation"]) == 0
    assert "annotated by" in capsys.readouterr().out
