"""Tissue masks: HistoPrep's values on its own slides, and what each step means."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stroma.core.errors import UsageError
from stroma.regions.grid import OutOfBounds, box_coverage, tile_grid, tile_step
from stroma.slides.tissue import clean_mask, gaussian_blur, gray, otsu_threshold, tissue_mask

SLIDES = Path(__file__).parents[2].parent / "shared" / "data" / "slides_jpeg_histoprep"
needs_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="the HistoPrep slides are not beside the checkout")


def histoprep_level(name: str, level: int) -> NDArray[np.uint8]:
    """A level of HistoPrep's Pillow backend: floor(size / 2^level), nearest neighbour."""
    picture = Image.open(SLIDES / name).convert("RGB")
    size = (picture.width >> level, picture.height >> level)
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST) if level else picture)


@needs_slides
@pytest.mark.parametrize(
    ("name", "level", "options", "expected"),
    [
        ("slide.jpeg", 0, {"sigma": 0.0}, (200, 3744453)),
        ("slide.jpeg", 2, {"sigma": 0.0}, (200, 234408)),
        ("slide.jpeg", 0, {}, (204, 4064371)),
        ("slide.jpeg", 2, {}, (211, 281022)),
        ("slide.jpeg", 2, {"sigma": 0.0, "multiplier": 1.0}, (190, 204069)),
        ("slide_with_ink.jpeg", 1, {"sigma": 0.0}, (218, 372665)),
        ("slide_with_ink.jpeg", 3, {"sigma": 0.0}, (218, 23276)),
        ("slide_with_ink.jpeg", 0, {}, (221, 1574173)),
        ("tma_spots.jpeg", 0, {"sigma": 0.0}, (208, 319241)),
        ("tma_spots.jpeg", 2, {"sigma": 0.0}, (208, 19915)),
        ("tma_spots.jpeg", 0, {}, (210, 329788)),
    ],
)
def test_threshold_and_area_equal_histoprep(
    name: str, level: int, options: dict[str, float], expected: tuple[int, int]
) -> None:
    threshold, mask = tissue_mask(histoprep_level(name, level), **options)  # type: ignore[arg-type]
    assert (threshold, int(mask.sum())) == expected


@needs_slides
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"multiplier": 1.0}, (200, 184158)),
        ({"multiplier": 1.05}, (210, 192803)),
        ({"threshold": 210}, (210, 192803)),
    ],
)
def test_crop_of_the_coarsest_level_equals_histoprep(options: dict[str, float], expected: tuple[int, int]) -> None:
    threshold, mask = tissue_mask(histoprep_level("slide.jpeg", 2)[:500, :500], **options)  # type: ignore[arg-type]
    assert (threshold, int(mask.sum())) == expected


@needs_slides
@pytest.mark.parametrize(
    ("name", "level", "counts"),
    [("slide.jpeg", 2, [91, 93, 24, 63, 16, 15]), ("slide_with_ink.jpeg", 3, [31, 53, 19, 16, 9, 8])],
)
def test_numbers_of_tiles_equal_histoprep(name: str, level: int, counts: list[int]) -> None:
    """(width, overlap, largest background, in bounds) of six calls with the mask of the coarsest level."""
    _, mask = tissue_mask(histoprep_level(name, level), sigma=0)
    with Image.open(SLIDES / name) as picture:
        width, height = picture.size
    calls: list[tuple[int, float, float, OutOfBounds]] = [
        (224, 0, 0.5, "keep"), (256, 0, 0.95, "keep"), (512, 0, 0.95, "keep"),
        (512, 0.5, 0.5, "keep"), (512, 0, 0.95, "drop-last"), (640, 0, 0.75, "keep"),
    ]  # fmt: skip
    found = []
    for size, overlap, background, bounds in calls:
        grid = tile_grid(width, height, size, tile_step(size, overlap), out_of_bounds=bounds)
        covered = box_coverage(mask, grid, (height / mask.shape[0], width / mask.shape[1]))
        found.append(int((1 - covered <= background + 1e-9).sum()))
    assert found == counts


@needs_slides
def test_backgrounds_of_tiles_equal_histoprep() -> None:
    _, mask = tissue_mask(histoprep_level("slide.jpeg", 2), sigma=0)
    grid = tile_grid(2500, 2500, 1000, out_of_bounds="drop")
    background = 1 - box_coverage(mask, grid, (4, 4))
    np.testing.assert_allclose(background, [0.3456, 0.297744, 0.435136, 0.29896], atol=1e-9)


def two_tone(dark: int = 100, bright: int = 230) -> NDArray[np.uint8]:
    rgb = np.full((40, 60, 3), bright, dtype=np.uint8)
    rgb[10:30, 20:40] = dark
    return rgb


def test_dark_square_is_the_tissue() -> None:
    threshold, mask = tissue_mask(two_tone(), sigma=0)
    assert threshold == 105  # Otsu's threshold is the darker value itself, 100, times 1.05
    assert mask.dtype == np.bool_
    assert mask.sum() == 400
    assert mask[10:30, 20:40].all()


def test_filled_areas_do_not_shift_the_threshold() -> None:
    """Scanners fill unscanned areas with pure white or black; both are left out of Otsu's histogram."""
    rgb = two_tone()
    filled = np.concatenate([rgb, np.full_like(rgb, 255), np.zeros_like(rgb)])
    assert tissue_mask(filled, sigma=0)[0] == tissue_mask(rgb, sigma=0)[0]


def test_white_image_has_no_tissue() -> None:
    threshold, mask = tissue_mask(np.full((20, 20, 3), 255, dtype=np.uint8))
    assert threshold == 0
    assert not mask.any()


def test_threshold_is_inclusive_and_clamped() -> None:
    rgb = np.full((4, 4, 3), 120, dtype=np.uint8)
    assert tissue_mask(rgb, threshold=120)[1].all()
    assert not tissue_mask(rgb, threshold=119)[1].any()
    assert tissue_mask(two_tone(200, 250), multiplier=2)[0] == 255
    assert tissue_mask(two_tone(), multiplier=-1)[0] == 0


def test_saturation_ignores_gray_shadows_and_finds_pink() -> None:
    rgb = np.full((30, 30, 3), 240, dtype=np.uint8)
    rgb[:10] = 60  # a gray shadow
    rgb[20:] = (220, 150, 200)  # eosin
    by_gray, by_saturation = (tissue_mask(rgb, sigma=0, method=m)[1] for m in ("otsu", "saturation"))
    assert by_gray[:10].all()
    assert not by_saturation[:20].any()
    assert by_saturation[20:].all()


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), "B")]
)
def test_only_8_bit_rgb_is_accepted(bad: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"\(H, W, 3\) uint8"):
        tissue_mask(bad)


def test_parameters_out_of_range_are_named() -> None:
    with pytest.raises(UsageError, match="256"):
        tissue_mask(two_tone(), threshold=256)
    with pytest.raises(UsageError, match="negative"):
        tissue_mask(two_tone(), sigma=-1)


def test_gray_weights_are_bt601() -> None:
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [7, 7, 7]]], dtype=np.uint8)
    assert gray(primaries).tolist() == [[76, 150, 29, 255, 7]]


def test_blur_kernel_is_opencvs_fixed_point_kernel() -> None:
    """The response to a point is the kernel: OpenCV 5.0.0 gives these for a 255 point at sigma 1 and 0.5."""
    point = np.zeros((9, 9), dtype=np.uint8)
    point[4, 4] = 255
    weights = np.array([14, 62, 104, 62, 14])
    np.testing.assert_array_equal(
        gaussian_blur(point, 1.0)[2:7, 2:7], (255 * np.outer(weights, weights) + (1 << 15)) >> 16
    )
    assert gaussian_blur(point, 0.5)[3:6, 4].tolist() == [21, 159, 21]
    assert (gaussian_blur(np.full((5, 5), 255, np.uint8), 3.0) == 255).all()


def test_otsu_takes_the_first_of_equal_thresholds() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[50, 200]] = 10
    assert otsu_threshold(counts) == 50
    assert otsu_threshold(np.zeros(256, dtype=np.int64)) == 0
    assert otsu_threshold(np.array([0, 1, 1, 0])) == 1  # the least variance there is


def test_clean_mask_removes_specks_and_fills_holes() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False  # a hole of 4
    mask[8, 8] = False  # a hole of 1
    mask[15, 15] = mask[16, 16] = True  # a speck of 2, diagonal
    before = mask.copy()
    assert clean_mask(mask).sum() == 97
    assert clean_mask(mask, max_hole_px=1).sum() == 98
    assert clean_mask(mask, max_hole_px=math.inf).sum() == 102
    assert clean_mask(mask, min_area_px=2).sum() == 97
    assert clean_mask(mask, min_area_px=3, max_hole_px=math.inf).sum() == 100
    np.testing.assert_array_equal(mask, before)


def test_background_that_touches_the_border_is_no_hole() -> None:
    mask = np.ones((6, 6), dtype=bool)
    mask[0, 2:4] = mask[1, 2] = False
    np.testing.assert_array_equal(clean_mask(mask, max_hole_px=math.inf), mask)


def test_a_ring_counts_with_what_it_encloses() -> None:
    ring = np.zeros((9, 9), dtype=bool)
    ring[2:7, 2:7] = True
    ring[3:6, 3:6] = False
    assert clean_mask(ring, min_area_px=25, max_hole_px=math.inf).sum() == 25
    assert not clean_mask(ring, min_area_px=25).any()


def test_cleaning_an_empty_mask_gives_an_empty_mask() -> None:
    assert not clean_mask(np.zeros((5, 5), bool), min_area_px=3, max_hole_px=9).any()
    assert clean_mask(np.ones((5, 5), bool), min_area_px=3, max_hole_px=9).all()
