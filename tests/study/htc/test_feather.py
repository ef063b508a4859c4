"""Feather tables: read, damaged, and such that polars never comes back from."""

import threading

import polars as pl
import pytest

from stroma.core.errors import InvalidData, MissingFile
from stroma.study.htc import feather
from stroma.study.htc.feather import read_feather

TABLE = pl.DataFrame({"image_name": ["P1#x", "P2#y"], "angle": [0, 25]})


def test_a_table_is_read(tmp_path):
    TABLE.write_ipc(tmp_path / "a [1]@meta.feather")
    assert read_feather(tmp_path / "a [1]@meta.feather").equals(TABLE)


def test_what_is_missing_or_damaged_is_told(tmp_path):
    path = tmp_path / "a.feather"
    with pytest.raises(MissingFile):
        read_feather(path)
    TABLE.write_ipc(path)
    for content in (b"", b"ARROW1", path.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(InvalidData, match=r"a\.feather.*no readable Feather file"):
            read_feather(path)


def test_reading_that_does_not_end_is_left(tmp_path, monkeypatch):
    TABLE.write_ipc(tmp_path / "a.feather")
    ended = threading.Event()
    monkeypatch.setattr(feather, "_SECONDS", 0.05)
    monkeypatch.setattr(feather.pl, "read_ipc", lambda content: ended.wait())
    with pytest.raises(InvalidData, match="reading it does not end"):
        read_feather(tmp_path / "a.feather")
    ended.set()
