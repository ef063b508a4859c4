"""Data sets are read only: what is derived goes to the cache and the output, whatever the verb."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stroma.cli.main import run as command
from stroma.study.datasets import open_dataset
from stroma.study.study import open_study
from tests.tiny import NAMES, cube_study

SETTINGS = {
    "dataset_name": "tiny",
    "shape": [24, 32, 10],
    "label_mapping": {**{name: index for index, name in enumerate(NAMES)}, "unlabeled": 255},
    "last_valid_label_index": 2,
}


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Path]:
    """A data set of htc without study.yaml, in which no file can be written."""
    root = tmp_path / "Daten #1, a+b"
    cube_study(root).unlink()
    (root / "data" / "dataset_settings.json").write_text(json.dumps(SETTINGS))
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    yield root
    for path in folders:
        path.chmod(0o755)


def state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """What would show that anything was written: root may write in spite of permissions."""
    paths = [root, *root.rglob("*")]
    return {str(path): (*_times(path), path.read_bytes() if path.is_file() else b"") for path in paths}


def _times(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size if path.is_file() else 0, found.st_mtime_ns


def test_no_verb_writes_into_a_data_set(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, out, name = tmp_path / "cache", tmp_path / "out", str(dataset)
    monkeypatch.setenv("PATH_Tivita_tiny", f"{dataset}:shortcut=tiny")
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "not used"))
    monkeypatch.chdir(tmp_path)
    before = state(dataset)
    small = ["--set", "train.epochs=1", "--set", "sampling.samples_per_epoch=8"]
    small += ["--set", "input.granularity={name: patch, size_px: 16}"]
    for arguments in (
        ["info", "--open", "--cache", str(cache)],
        ["inspect", name],
        ["check", "tiny", "-o", str(out / "check"), "--cache", str(cache)],
        ["prepare", name, "-o", str(out / "stores"), "--cache", str(cache)],
        ["train", "tiny", "-o", str(out / "run"), "--cache", str(cache), *small],
        ["predict", str(out / "run"), "--images", "validation"],
        ["evaluate", str(out / "run"), "--images", "validation"],
        ["report", str(out / "run")],
        ["init", name, "-o", str(out / "study" / "study.yaml")],
        ["check", str(out / "study" / "study.yaml")],
    ):
        assert command(arguments) == 0, (arguments, capsys.readouterr().err)
    assert state(dataset) == before
    assert [path.name for path in cache.glob("*/*.parquet")] and not (tmp_path / "not used").exists()


def test_a_data_set_is_opened_by_folder_and_by_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH_Tivita_tiny", f"{dataset}:shortcut=tiny")
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    by_folder, by_name = open_study(dataset), open_study("tiny")
    assert by_folder.path == by_name.path == open_dataset("tiny").path
    assert by_folder.path.is_relative_to(tmp_path / "cache")
    assert list(by_folder) == list(by_name) and len(by_name) == 4
    np.testing.assert_array_equal(by_name.mask(list(by_name)[0]), by_folder.mask(list(by_name)[0]))
    assert open_study("tiny", "subject_id = 'P001'").where == "subject_id = 'P001'"
    assert os.environ["PATH_STROMA_CACHE"] == str(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert command(["check", str(dataset), "--cache", str(tmp_path / "cache")]) == 1
