"""Files of htc that were cut, altered, or hold other things than they should: an error of ours, nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import StromaError
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.htc.camera_log import read_camera_log
from stroma.study.htc.config import read_htc_config
from stroma.study.htc.label_mappings import mapping_from_htc
from stroma.study.htc.meta_table import read_meta_table
from stroma.study.htc.segmentations import read_segmentation
from stroma.study.htc.settings import DatasetSettings, camera_name
from stroma.study.htc.specs import read_data_spec
from stroma.study.labels import LabelMapping
from stroma.study.places import read_variables

SETTINGS = {
    "dataset_name": "tiny",
    "data_path_class": "a>DataPathMultiorgan",
    "shape": [4, 6, 3],
    "shape_names": ["height", "width", "channels"],
    "label_mapping": {"liver": 0, "spleen": 1, "unlabeled": 255},
    "last_valid_label_index": 1,
    "label_ordering": {"liver": "01"},
    "label_colors": {"liver": "#D0856D"},
    "annotation_name_default": "a#b",
    "camera_name_changes": {"c": {"change_date": "2021_01_01_00_00_00", "suffix_before": "a", "suffix_after": "b"}},
}
SPEC = [{"fold_name": "f", "train": {"image_names": ["P1#t@a#b"]}, "val": {"image_names": ["P2#t"]}}]


def use_settings(path: Path) -> None:
    settings = DatasetSettings.load(path)
    settings.labels()
    camera_name("c", None, settings)
    assert settings.default_annotations is not None
    assert settings.path_class is not None


def blosc(path: Path) -> None:
    write_htc_blosc(path, {"a#b": np.zeros((4, 6), np.uint8)})


def feather(path: Path) -> None:
    pl.DataFrame({"image_name": ["a", "b"], "x": [1, 2]}).write_ipc(path, compression="zstd")


FILES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "settings": (lambda path: path.write_text(json.dumps(SETTINGS)), use_settings),
    "spec": (lambda path: path.write_text(json.dumps(SPEC)), read_data_spec),
    "config": (lambda path: path.write_text('{"a/b": [1], "a": {"b_extends": [2]}, // x\n "c": 1}'), read_htc_config),
    "log": (lambda path: path.write_text('[Camera]\nCamID = "1"\nExposure = 3,5\n'), read_camera_log),
    "variables": (lambda path: path.write_text("export A=1\nB='x'\n"), read_variables),
    "blosc": (blosc, lambda path: read_segmentation(path, "a#b", LabelMapping.of(["liver"]))),
    "feather": (feather, read_meta_table),
}


@pytest.mark.parametrize("kind", sorted(FILES))
def test_altered_bytes_raise_errors_of_ours_only(tmp_path: Path, kind: str) -> None:
    write, read = FILES[kind]
    path = tmp_path / "file"
    write(path)
    whole = path.read_bytes()
    read(path)
    draw = random.Random(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(bytes(content[: draw.choice([len(content), draw.randrange(len(content))])]))
        try:
            read(path)
        except StromaError as error:
            assert str(error)
            refused += 1
    assert refused


WRONG: tuple[Any, ...] = (None, 3, -1, 1.5, True, "x", "", [], [1], {}, {"a": 1}, {"liver": None}, {"c": []}, [[1]])


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_values_of_other_types_in_settings(tmp_path: Path, key: str) -> None:
    for value in WRONG:
        path = tmp_path / "dataset_settings.json"
        path.write_text(json.dumps({**SETTINGS, key: value}))
        try:
            use_settings(path)
        except StromaError as error:
            assert key in str(error) or "label" in str(error)


def test_values_of_other_types_in_mappings() -> None:
    full = {"mapping_name_index": {"liver": 0}, "mapping_index_name": {"0": "liver"}, "last_valid_label_index": 0}
    for key in full:
        for value in WRONG:
            try:
                mapping_from_htc({**full, key: value})
            except StromaError as error:
                assert str(error)
