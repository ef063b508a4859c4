"""Damaged slides in a cohort: named, the others go on, and nothing is left that looks complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from stroma.cli.main import run
from stroma.core.tables import read_table
from stroma.slides.pyramid import write_pyramid
from tests.prepare.test_tiles import slide

VERBS = {
    "tile": ["tile", "--tile-px", "256", "--min-tissue", "0"],
    "images": ["tile", "--tile-px", "256", "--min-tissue", "0", "--save-images"],
    "histoprep": ["tile", "--tile-px", "256", "--min-tissue", "0", "--preset", "histoprep"],
    "small": ["tile", "--tile-px", "256", "--min-tissue", "0", "--tissue-max-dimension", "800"],
    "tissue": ["tissue"],
    "convert": ["slide", "convert"],
}


def jpeg_slide(path: Path, seed: int = 0) -> Path:
    """1,500 × 1,500 px, two levels of JPEG tiles."""
    pixels = np.full((1500, 1500, 3), 240, dtype=np.uint8)
    pixels[100:1300, 200:1400] = np.random.default_rng(seed).integers(90, 110, (1200, 1200, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_pyramid(path, lambda top, rows: pixels[top : top + rows], 1500, 1500)


def with_other_data(path: Path, level: int) -> None:
    """Overwrite the JPEG data of all tiles of a level with zeros, as a wrong compression tag would have it."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("r+b") as handle:
        for offset, count in places:
            handle.seek(offset)
            handle.write(bytes(count))


def cohort(folder: Path) -> Path:
    jpeg_slide(folder / "good.tiff")
    with_other_data(jpeg_slide(folder / "no jpeg.tiff"), level=0)
    with_other_data(jpeg_slide(folder / "no small level.tiff"), level=1)
    whole = jpeg_slide(folder / "cut.tiff").read_bytes()
    (folder / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.svs").touch()
    (folder / "text.svs").write_text("not a slide")
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_damaged_slides_are_named_and_the_others_done(tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out"
    assert run([*VERBS[verb], str(cohort(tmp_path / "in")), "-o", str(out)]) == 3
    failed = dict(read_table(out / "failures.parquet").select("item", "message").iter_rows())
    expected = {"cut", "empty", "text", "no jpeg"} | ({"no small level"} if verb == "small" else set())
    assert set(failed) == expected
    assert all("in/" in message for message in failed.values())
    done = {path.name.removesuffix(".done.json").replace("%20", " ") for path in out.glob("*.done.json")}
    assert done == {"good", "no jpeg", "no small level"} - expected
    for name in expected - {"text"}:
        stem = name.replace(" ", "%20")
        assert not (out / "tiles" / f"{stem}.parquet").exists()
        assert not (out / stem / "metadata.parquet").exists()
        assert not (out / f"{stem}.tiff").exists()
    assert not list(out.rglob(".tmp-*"))


def test_a_cohort_in_which_all_slides_fail_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    assert run(["tile", str(tmp_path / "a.svs"), "-o", str(tmp_path / "out")]) == 1
    assert not list((tmp_path / "out").glob("*.done.json"))


def test_coordinates_alone_notice_a_damaged_level_0(tmp_path: Path) -> None:
    with_other_data(jpeg_slide(tmp_path / "in" / "no jpeg.tiff"), level=0)
    slide(tmp_path / "in" / "good.png")
    arguments = ["tile", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--tissue-max-dimension", "800"]
    assert run([*arguments, "--min-tissue", "0"]) == 3
    assert read_table(tmp_path / "out" / "failures.parquet")["item"].to_list() == ["no jpeg"]
