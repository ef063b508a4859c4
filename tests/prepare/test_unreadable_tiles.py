"""`stroma tile` on slides of which some tiles are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile

from stroma.cli.main import run
from stroma.core.tables import read_table
from tests.prepare.test_broken_slides import jpeg_slide, with_other_data
from tests.prepare.test_tiles import contents, failures, tiles_of


def damaged_slide(path: Path, row: int = 2) -> Path:
    """The stored tile in column 1 and `row` of level 0, of 6 × 6, is no JPEG: x 256 to 511, y 512 to 767."""
    jpeg_slide(path)
    with tifffile.TiffFile(path) as tiff:
        offset, count = (values[row * 6 + 1] for values in (tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts))
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(bytes(count))
    return path


def command(folder: Path, *more: str) -> list[str]:
    size = ["--tile-px", "256", "--min-tissue", "0", "--tissue-max-dimension", "800"]
    return ["tile", str(folder / "in"), "-o", str(folder / "out"), *size, *more]


@pytest.mark.parametrize("more", [[], ["--preset", "histoprep"]])
def test_an_unreadable_tile_fails_the_slide_and_is_named(tmp_path: Path, more: list[str]) -> None:
    damaged_slide(tmp_path / "in" / "a.tiff")
    jpeg_slide(tmp_path / "in" / "b.tiff")
    assert run(command(tmp_path, "--save-images", *more)) == 3
    message = failures(tmp_path / "out")["a"]
    assert "x=256 y=512 w=256 h=256" in message and "--skip-unreadable" in message
    assert not list((tmp_path / "out").rglob("a.done.json"))


def test_unreadable_tiles_are_left_out_on_request_and_stay_named(tmp_path: Path) -> None:
    damaged_slide(tmp_path / "in" / "a.tiff")
    jpeg_slide(tmp_path / "in" / "b.tiff")
    arguments = command(tmp_path, "--save-images", "--skip-unreadable")
    assert run(arguments) == 3
    out = tmp_path / "out"
    assert list(failures(out)) == ["a x=256 y=512 w=256 h=256"]
    table = tiles_of(out, "a")
    assert len(table) == 35 and (256, 512) not in table.select("x", "y").rows()
    assert len(list((out / "images" / "a").iterdir())) == 35
    assert len(tiles_of(out, "b")) == 36
    assert read_table(out / "unreadable" / "a.parquet", format="unreadable/1")["region"].to_list() == [13]
    before = contents(out)
    assert run(arguments) == 3  # skipped as complete, and still named
    assert contents(out) == before


def test_coordinates_alone_are_read_when_a_sample_cannot_be(tmp_path: Path) -> None:
    damaged_slide(tmp_path / "in" / "a.tiff", row=1)  # holds the middle of the first tile, which is tried
    assert run(command(tmp_path, "--tile-px", "512")) == 1
    assert run(command(tmp_path, "--tile-px", "512", "--skip-unreadable")) == 3
    assert list(failures(tmp_path / "out")) == ["a x=0 y=0 w=512 h=512"]
    assert len(tiles_of(tmp_path / "out", "a")) == 8


def test_a_slide_without_any_readable_tile_fails(tmp_path: Path) -> None:
    with_other_data(jpeg_slide(tmp_path / "in" / "a.tiff"), level=0)
    assert run(command(tmp_path, "--skip-unreadable")) == 1
    assert run(command(tmp_path, "--skip-unreadable", "--save-images")) == 1
    assert "none of its 36 tiles can be read" in failures(tmp_path / "out")["a"]
    assert not (tmp_path / "out" / "tiles").exists()
