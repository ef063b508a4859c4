"""Restricting a study to the images that fulfil a condition."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stroma.core.errors import ConfigError, UsageError
from stroma.study.study import Study, open_study

from .conftest import SurgeryTree, write_study

FIRST = "P001#2021_04_15_09_22_01"


def test_a_restricted_study_has_only_the_images_that_fulfil_the_condition(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml, "subject_id <> 'P002'")
    assert {recording.subject_id for recording in study.select()} == {"P001", "P003"}
    assert set(study.annotations["image_id"]) == set(study)
    assert FIRST in study and "P002#2021_04_15_09_22_01" not in study
    with pytest.raises(UsageError, match="no image 'P002#2021_04_15_09_22_01' in the study"):
        study["P002#2021_04_15_09_22_01"]
    again = study.filtered("subject_id = 'P002' OR image_id LIKE '%_02'")
    assert list(again) == ["P001#2021_04_15_09_22_02", "P003#2021_04_15_09_22_02"]  # both conditions hold
    assert len(open_study(surgery_yaml)) == 6  # what is stored stays whole


def test_a_condition_on_the_annotator_decides_whose_masks_are_read(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml, "annotator = 'annotator2'")
    assert list(study) == [FIRST]
    assert study.annotated_mask(FIRST).annotator == "annotator2"
    assert study[FIRST].annotation_names == ("polygon#annotator2",)
    assert open_study(surgery_yaml).annotated_mask(FIRST).annotator == "annotator1"


def test_annotations_keep_the_labels_that_the_condition_does_not_name(
    surgery: SurgeryTree, surgery_yaml: Path
) -> None:
    import numpy as np

    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01"
    right = np.zeros((4, 6), bool)
    right[:, 4:] = True
    surgery.annotate(folder, "spleen", right)
    study = open_study(surgery_yaml, "label = 'spleen'")
    assert list(study) == [FIRST]
    assert study[FIRST].labels() == ["liver", "spleen"]


def test_a_condition_may_choose_another_layer_than_study_yaml(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    folder = surgery.subjects / "P003" / "2021_04_15_09_22_01"
    mask = folder / "annotations" / f"{folder.name}#polygon#annotator1#liver#binary.png"
    mask.rename(mask.with_name(mask.name.replace("polygon", "semantic")))
    config = {"layer": "polygon", "labels": {"names": ["liver"], "ignore": [255]}}
    path = write_study(surgery.root / "s.yaml", name="s", root=".", layout="heiporspectral", **config)
    assert open_study(path, "layer = 'semantic'").layer == "semantic"
    assert open_study(path).layer == "polygon"


def test_splits_hold_only_images_that_are_left(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    whole = open_study(surgery_yaml).splits()
    assert set(open_study(surgery_yaml, "image_id LIKE '%_01'").splits().table["image_id"]) == {
        f"P00{i}#2021_04_15_09_22_01" for i in (1, 2, 3)
    }
    whole.save(surgery.root / "splits.parquet")
    drawn = {
        "name": "s",
        "root": ".",
        "layout": "heiporspectral",
        "splits": {"from": "file", "file": "splits.parquet"},
    }
    path = write_study(surgery.root / "s.yaml", **drawn)
    left = open_study(path, "subject_id <> 'P002'").splits().table
    assert set(left["image_id"]) == {name for name in open_study(path) if "P002" not in name}
    assert len(left) == len(whole.table.filter(whole.table["image_id"].str.contains("P002").not_()))
    named = {**drawn, "splits": {"folds": 2, "test_subjects": ["P001"]}}
    other = write_study(surgery.root / "t.yaml", **named)
    assert open_study(other, "subject_id <> 'P001'").splits().ids("test") == []


def test_a_condition_that_nothing_fulfils_is_told(surgery_yaml: Path) -> None:
    with pytest.raises(UsageError, match="no image fulfils the condition situs > 7"):
        open_study(surgery_yaml, "situs > 7")
    with pytest.raises(UsageError, match="Did you mean 'situs'"):
        open_study(surgery_yaml, "situss > 7")


def test_masks_of_many_labels_say_why_no_label_is_found(tmp_path: Path) -> None:
    from tests.tiny import picture_study

    with pytest.raises(UsageError, match="ask for a column of the catalog"):
        open_study(picture_study(tmp_path), "label = 'red'")


def test_a_restricted_study_travels_and_refreshes(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml, "subject_id = 'P002'")
    copy: Study = pickle.loads(pickle.dumps(study))  # noqa: S301 - our own bytes
    assert list(copy) == list(study) and copy.where == "subject_id = 'P002'"
    surgery.image("P002", "2021_04_15_09_22_09")
    surgery.image("P003", "2021_04_15_09_22_09")
    study.refresh()
    assert len(study) == 3 and {recording.subject_id for recording in study.select()} == {"P002"}


def test_an_unknown_layer_is_still_an_error(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    path = write_study(surgery.root / "s.yaml", name="s", root=".", layout="heiporspectral", layer="semantic")
    with pytest.raises(ConfigError, match="no annotations of the layer 'semantic'"):
        _ = open_study(path).layer
