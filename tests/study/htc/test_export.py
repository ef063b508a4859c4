from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from stroma.images.htc_blosc import read_htc_blosc
from stroma.study.datasets import open_dataset
from stroma.study.htc.export import write_htc_masks, write_htc_meta_table

from ..conftest import SurgeryTree, surgery  # noqa: F401

FIRST = "P001#2021_04_15_09_22_01"


def test_masks_have_the_indices_of_the_data_set(surgery: SurgeryTree, tmp_path: Path) -> None:  # noqa: F811
    study = open_dataset(surgery.root, cache=tmp_path / "cache")
    assert study.labels.names == ("colon", "liver", "spleen")  # the data set says liver 0, spleen 1, colon 2
    paths = write_htc_masks(study, tmp_path / "intermediates")
    assert len(paths) == 6
    content = read_htc_blosc(tmp_path / "intermediates" / "segmentations" / f"{FIRST}.blosc")
    assert isinstance(content, dict)
    assert sorted(content) == ["polygon#annotator1", "polygon#annotator2"]
    np.testing.assert_array_equal(content["polygon#annotator1"][0], [0, 0, 255, 255, 255, 255])
    np.testing.assert_array_equal(content["polygon#annotator2"][0], [255, 255, 2, 2, 2, 2])


def test_masks_and_table_come_back_the_same(surgery: SurgeryTree, tmp_path: Path) -> None:  # noqa: F811
    before = open_dataset(surgery.root, cache=tmp_path / "cache")
    masks = {image_id: before[image_id].masks() for image_id in before}
    write_htc_masks(before, surgery.root / "intermediates")
    table = pl.read_ipc(write_htc_meta_table(before, surgery.root / "intermediates"))
    assert table["image_name"].to_list() == list(before)
    assert table["path"][0] == "subjects/P001/2021_04_15_09_22_01"
    assert table["annotation_name"].to_list()[:2] == [
        ["polygon#annotator1", "polygon#annotator2"],
        ["polygon#annotator1"],
    ]
    assert not {"angle", "situs", "image_labels"} & set(table.columns)  # htc reads them in the meta files
    for picture in surgery.subjects.rglob("*#binary.png"):
        picture.unlink()
    after = open_dataset(surgery.root, cache=tmp_path / "other")
    assert set(after.annotations["kind"]) == {"mask-htc"}
    for image_id, expected in masks.items():
        found = after[image_id].masks()
        assert list(found) == list(expected)
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name].labels, mask.labels)
