"""sources.parquet: paths survive moving images and results together."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.prepare.sources import read_sources, sources_path, write_sources

PROVENANCE = Provenance("tiles/1", {"tile_px": 512})


def make(root: Path) -> Path:
    slides = root / "Präparate #1, a+b"
    slides.mkdir(parents=True)
    (slides / "ä @ 2.svs").touch()
    (slides / "b.svs").touch()
    write_sources(
        root / "out" / "tiles",
        [("b", "patient 2", slides / "b.svs"), ("a", "a", slides / "ä @ 2.svs")],
        PROVENANCE,
    )
    return root / "out" / "tiles"


def test_rows_come_back_sorted_with_absolute_paths(tmp_path: Path) -> None:
    folder = make(tmp_path)
    table = read_sources(folder)
    assert table["image_id"].to_list() == ["a", "b"]
    assert table["subject_id"].to_list() == ["a", "patient 2"]
    assert [Path(p) for p in table["path"]] == [
        tmp_path / "Präparate #1, a+b" / "ä @ 2.svs",
        tmp_path / "Präparate #1, a+b" / "b.svs",
    ]


def test_stored_path_is_relative_with_slashes(tmp_path: Path) -> None:
    stored = pl.read_parquet(sources_path(make(tmp_path)))["path"].to_list()
    assert stored == ["../../Präparate #1, a+b/ä @ 2.svs", "../../Präparate #1, a+b/b.svs"]


def test_images_and_results_moved_together_still_find_each_other(tmp_path: Path) -> None:
    make(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    assert all(Path(p).exists() for p in read_sources(tmp_path / "after" / "out" / "tiles")["path"])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_linked_result_folder_reads_the_same_as_the_real_one(tmp_path: Path) -> None:
    folder = make(tmp_path / "deep" / "down")
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    assert read_sources(link).equals(read_sources(folder))


def test_the_order_of_rows_does_not_change_the_bytes(tmp_path: Path) -> None:
    rows = [("b", "b", tmp_path / "b.png"), ("a", "a", tmp_path / "a.png")]
    one = write_sources(tmp_path / "one", rows, PROVENANCE).read_bytes()
    two = write_sources(tmp_path / "two", rows[::-1], PROVENANCE).read_bytes()
    assert one == two


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    write_sources(tmp_path, [], PROVENANCE)
    assert read_sources(tmp_path).schema == {"image_id": pl.String(), "subject_id": pl.String(), "path": pl.String()}


def test_two_equal_ids_are_refused_naming_both(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"'a'.*a\.svs and a\.tiff"):
        write_sources(tmp_path, [("a", "a", tmp_path / "a.svs"), ("a", "a", tmp_path / "a.tiff")], PROVENANCE)


def test_a_folder_without_the_table_and_a_foreign_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"sources\.parquet"):
        read_sources(tmp_path)
    write_table(pl.DataFrame({"image_id": ["a"]}), sources_path(tmp_path), Provenance("tiles/1"))
    with pytest.raises(InvalidData, match="'sources' file was expected"):
        read_sources(tmp_path)
