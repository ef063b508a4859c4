"""`stroma tissue`: masks and outlines that agree, and what is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image as Picture
from pydantic import ValidationError

from stroma.cli.main import run
from stroma.core.errors import OutputConflict
from stroma.images.open import open_image
from stroma.prepare.slide_tissue import find_tissue
from stroma.prepare.tissue import tissue
from stroma.prepare.tissue_options import TissueOptions
from stroma.regions.geojson import read_geojson
from stroma.regions.polygons import mask_from_polygons
from tests.harness.kill import kill_and_resume
from tests.prepare.test_tiles import HISTOPREP, OPENSLIDE, contents, failures, needs_data, slide


def options(*inputs: Path, output: Path, **more: Any) -> TissueOptions:
    return TissueOptions(inputs=inputs, output=output, **more)


def mask_of(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Picture.open(folder / "tissue" / f"{name}.png"))


def with_hole_and_speck(path: Path) -> Path:
    """A block of 40 × 40, in it a hole of 10 × 10, and a speck of 4 × 4."""
    pixels = np.full((60, 100, 3), 240, dtype=np.uint8)
    pixels[10:50, 20:60] = np.random.default_rng(0).integers(60, 140, (40, 40, 3))
    pixels[20:30, 30:40] = 240
    pixels[5:9, 80:84] = 90
    Picture.fromarray(pixels).save(path)
    return path


def test_mask_and_outlines_are_written_and_agree(tmp_path: Path) -> None:
    with_hole_and_speck(tmp_path / "ä b.png")
    result = tissue(options(tmp_path / "ä b.png", output=tmp_path / "out", sigma=0))
    assert result.exit_code == 0
    name = "%C3%A4%20b"
    assert sorted(contents(tmp_path / "out")) == [
        f"{name}.done.json",
        f"outlines/{name}.geojson",
        "sources.parquet",
        f"thumbnails/{name}.png",
        f"tissue/{name}.png",
    ]
    mask = mask_of(tmp_path / "out", name)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask == 255).sum() == 1600 - 100 + 16
    found = read_geojson(tmp_path / "out" / "outlines" / f"{name}.geojson")
    assert [entry.label for entry in found] == ["Tissue", "Tissue"]
    drawn = mask_from_polygons([entry.geometry for entry in found], 0, 0, 100, 60)
    np.testing.assert_array_equal(drawn * 255, mask)


def test_outlines_are_level_0_pixels_whatever_the_size_of_the_mask(tmp_path: Path) -> None:
    pixels = np.full((300, 600, 3), 240, dtype=np.uint8)
    pixels[60:120, 90:210] = np.random.default_rng(0).integers(60, 140, (60, 120, 3))
    Picture.fromarray(pixels).save(tmp_path / "s.png")
    tissue(options(tmp_path / "s.png", output=tmp_path / "out", sigma=0, tissue_max_dimension=200))
    assert mask_of(tmp_path / "out", "s").shape == (100, 200)
    found = read_geojson(tmp_path / "out" / "outlines" / "s.geojson")
    assert shapely.equals(found[0].geometry, shapely.box(90, 60, 210, 120))


@pytest.mark.parametrize(
    ("more", "area"),
    [
        ({"max_hole_px": 99}, 1516),
        ({"max_hole_px": 100}, 1616),
        ({"max_hole_um2": 25, "source_mpp": 0.5}, 1616),
        ({"fill_holes": True}, 1616),
        ({"fill_holes": True, "max_hole_px": 99}, 1516),
        ({"min_area_px": 17}, 1500),
        ({"min_area_um2": 4.1, "source_mpp": 0.5}, 1500),
    ],
)
def test_areas_limit_holes_and_pieces(tmp_path: Path, more: dict[str, Any], area: int) -> None:
    with_hole_and_speck(tmp_path / "s.png")
    tissue(options(tmp_path / "s.png", output=tmp_path / "out", sigma=0, **more))
    assert (mask_of(tmp_path / "out", "s") == 255).sum() == area


@pytest.mark.parametrize("more", [{"tissue_downsample": 2}, {"tissue_mpp": 1.0, "source_mpp": 0.5}])
def test_the_mask_can_have_a_resolution_instead_of_a_size(tmp_path: Path, more: dict[str, Any]) -> None:
    with_hole_and_speck(tmp_path / "s.png")
    assert tissue(options(tmp_path / "s.png", output=tmp_path / "out", sigma=0, **more)).exit_code == 0
    mask = mask_of(tmp_path / "out", "s")
    assert mask.shape == (30, 50)
    assert mask[5:25, 10:30].sum() == 255 * (400 - 25)
    found = read_geojson(tmp_path / "out" / "outlines" / "s.geojson")
    assert max(found, key=lambda one: one.geometry.area).geometry.bounds == (20, 10, 60, 50)  # level-0 pixels


def test_an_area_is_given_once() -> None:
    with pytest.raises(ValidationError, match="not both"):
        options(Path("s"), output=Path("o"), max_hole_px=1, max_hole_um2=1)


def test_an_area_in_um_needs_a_resolution(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tissue(options(tmp_path / "s.png", output=tmp_path / "out", min_area_um2=100))
    assert result.exit_code == 1
    assert "--source-mpp" in result.failed[0].message


def test_two_runs_and_two_workers_give_identical_bytes(tmp_path: Path) -> None:
    for seed in range(2):
        slide(tmp_path / "in" / f"{seed}.png", seed=seed)
    more = {"reject_ink": True, "reject_folds": True, "smooth_px": 2}
    for name, workers in (("one", 1), ("two", 2)):
        tissue(options(tmp_path / "in", output=tmp_path / name, workers=workers, **more))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert tissue(options(tmp_path / "in", output=tmp_path / "one", **more)).skipped == 2
    with pytest.raises(OutputConflict, match="smooth_px was 2, is 3"):
        tissue(options(tmp_path / "in", output=tmp_path / "one", **{**more, "smooth_px": 3}))


def test_slides_without_tissue_get_an_empty_mask_and_no_outlines(tmp_path: Path) -> None:
    Picture.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    result = tissue(options(tmp_path / "blank.png", output=tmp_path / "out"))
    assert any("no tissue found" in line for line in result.lines)
    assert not mask_of(tmp_path / "out", "blank").any()
    assert read_geojson(tmp_path / "out" / "outlines" / "blank.geojson") == []


@needs_data
def test_broken_slides_are_named_and_the_others_done(tmp_path: Path) -> None:
    assert run(["tissue", str(OPENSLIDE), "-o", str(tmp_path / "out")]) == 3
    assert sorted(failures(tmp_path / "out")) == ["unopenable", "unreadable"]


@needs_data
def test_ink_is_taken_out_of_the_tissue_in_memory_too(tmp_path: Path) -> None:
    with open_image(HISTOPREP / "slide_with_ink.jpeg") as image:
        plain = find_tissue(image, options(tmp_path, output=tmp_path))
        clean = find_tissue(image, options(tmp_path, output=tmp_path, reject_ink=True))
    blot = (slice(420, 460), slice(1890, 1960))  # of the picture at half the size
    assert plain.mask[blot].mean() > 0.9
    assert clean.mask[blot].mean() < 0.05
    assert clean.ink == pytest.approx(0.0073, abs=0.001)
    rest = np.ones_like(plain.mask)
    rest[:, 1750:2200] = False
    assert (plain.mask & rest).sum() == pytest.approx((clean.mask & rest).sum(), rel=0.05)


@pytest.mark.proof
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(4):
        slide(tmp_path / "in" / f"{seed}.png", 300, 400, seed)
    comparison = kill_and_resume(["tissue", str(tmp_path / "in")], tmp_path / "kills", kills=4)
    assert comparison.kills > 0
    assert comparison.differences == []
