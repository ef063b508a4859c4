"""Tile metrics: the values of HistoPrep 2.0.5, and what each stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from stroma.core.errors import UsageError
from stroma.slides.quality import (
    METRIC_COLUMNS,
    hsv,
    laplacian,
    mean_and_std,
    squared_gradient,
    tile_metrics,
    tile_quality,
)
from stroma.slides.tissue import gray

SLIDE = Path(__file__).parents[2].parent / "shared" / "data" / "slides_jpeg_histoprep" / "slide.jpeg"
needs_slide = pytest.mark.skipif(not SLIDE.is_file(), reason="the HistoPrep slides are not beside the checkout")


def blocks() -> NDArray[np.uint8]:
    """The synthetic picture of HistoPrep's own test: three dark blocks on white, in gray."""
    shades = np.full((100, 100), 255, dtype=np.uint8)
    shades[:20, :20], shades[50:60, 20:50], shades[80:, 80:] = 60, 100, 120
    return np.repeat(shades[:, :, None], 3, axis=2)


def waves() -> NDArray[np.uint8]:
    """Every hue, in no regular order."""
    y, x = np.mgrid[:90, :120]
    return np.stack([(x * y // 3) % 256, (2 * x + y * y // 5) % 256, 255 - (x + 3 * y) % 200], axis=2).astype(
        np.uint8
    )


def test_the_metrics_of_the_synthetic_picture_are_those_that_histoprep_states() -> None:
    found = tile_metrics(blocks(), 200)
    expected = {
        "background": 0.886,
        "white_pixels": 0.89,
        "black_pixels": 0.0,
        "gray_mean": 237.175,
        "gray_std": 51.692,
    }
    expected |= {"gray_q5": 60, "gray_q10": 60, "gray_q25": 60, "gray_q50": 100, "gray_q75": 120, "gray_q90": 120}
    assert {name: found[name] for name in expected} == expected
    assert found["gray_q95"] == 255
    assert int(found["laplacian_std"]) == 29
    assert found["saturation_mean"] == found["hue_mean"] == 0  # it is gray


def test_all_67_metrics_equal_histoprep_on_a_colourful_picture() -> None:
    expected = [  # computed by HistoPrep 2.0.5 with OpenCV 4.11, tissue threshold 120
        *(0.571, 0.0, 0.0, 81.59107208251953),
        *(127.367, 49.866, 115.34, 75.876, 127.562, 73.336, 157.906, 53.845),
        *(100.93, 44.978, 162.087, 61.973, 196.823, 42.515),
        *(35, 44, 61, 84, 104, 116, 120, 0, 8, 31, 76, 136, 204, 234, 6, 13, 32, 60, 90, 115, 131),
        *(70, 80, 104, 169, 207, 231, 241, 66, 89, 110, 121, 145, 165, 171),
        *(92, 122, 162, 201, 230, 249, 255, 92, 106, 136, 187, 218, 239, 247),
    ]
    found = tile_metrics(waves(), 120)
    assert tuple(found) == METRIC_COLUMNS
    assert len(found) == 67
    assert found["laplacian_std"] == pytest.approx(expected[3], rel=1e-6)  # HistoPrep sums in float32
    assert list(found.values())[4:] == expected[4:]
    assert [found["background"], found["black_pixels"], found["white_pixels"]] == expected[:3]


@needs_slide
def test_the_tiles_of_a_slide_have_the_metrics_of_histoprep() -> None:
    slide = np.asarray(Image.open(SLIDE).convert("RGB"))
    padded = np.pad(slide, ((0, 60), (0, 60), (0, 0)), constant_values=255)
    corners = [(y, x) for y in range(0, 2500, 256) for x in range(0, 2500, 256)]
    table = pl.DataFrame([tile_metrics(padded[y : y + 256, x : x + 256], 200) for y, x in corners])
    assert len(table) == 100
    first = table.row(0, named=True)
    assert (first["background"], first["red_mean"], first["gray_q50"]) == (0.188, 199.818, 159)
    assert first["laplacian_std"] == pytest.approx(23.4477, abs=5e-5)
    assert table.filter(pl.col("background") > 0.5).height == 27
    means, deviations = mean_and_std(table)
    np.testing.assert_allclose(means, (0.8448732, 0.7013531, 0.7794475), atol=5e-8)
    np.testing.assert_allclose(deviations, (0.1315838, 0.1708793, 0.1307278), atol=5e-8)


def test_quantiles_are_of_the_tissue_or_of_everything_where_there_is_hardly_any() -> None:
    tile = np.full((64, 64, 3), 240, dtype=np.uint8)
    tile[:8, :8] = 50
    assert tile_metrics(tile, 200)["gray_q50"] == 50
    tile[:] = 240
    tile[:3, :3] = 50
    assert tile_metrics(tile, 60)["gray_q50"] == 240


def test_a_white_and_a_black_tile_have_no_contrast() -> None:
    white, black = (tile_metrics(np.full((30, 40, 3), value, dtype=np.uint8), 200) for value in (255, 0))
    assert (white["background"], white["white_pixels"], white["black_pixels"]) == (1.0, 1.0, 0.0)
    assert (black["background"], black["white_pixels"], black["black_pixels"]) == (0.0, 0.0, 1.0)
    assert white["laplacian_std"] == black["laplacian_std"] == white["gray_std"] == 0.0


def test_a_tile_of_one_pixel_has_metrics() -> None:
    found = tile_metrics(np.array([[[200, 10, 10]]], dtype=np.uint8), 100)
    assert (found["red_q50"], found["hue_q5"], found["saturation_q95"], found["laplacian_std"]) == (200, 0, 242, 0.0)


def test_hue_is_in_half_degrees() -> None:
    colours = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (128, 128, 128)]
    found = hsv(np.array([colours], dtype=np.uint8))[0]
    assert found[:, 0].tolist() == [0, 30, 60, 90, 120, 150, 0]
    assert found[:, 1].tolist() == [255] * 6 + [0]
    assert found[:, 2].tolist() == [255] * 6 + [128]


def test_the_laplacian_mirrors_the_border_about_the_edge_pixel() -> None:
    image = np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]], dtype=np.uint8)
    assert laplacian(image).tolist() == [[0, 18, 0], [18, -36, 18], [0, 18, 0]]


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="a tile is"):
        tile_metrics(np.zeros(shape, dtype=np.uint8), 200)


def test_a_threshold_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="outside 0 to 255"):
        tile_metrics(blocks(), 256)


def test_blur_lowers_both_measures_of_sharpness() -> None:
    from scipy.ndimage import gaussian_filter

    sharp = np.random.default_rng(0).integers(60, 160, (80, 80, 3)).astype(np.uint8)
    found = [tile_quality(gaussian_filter(sharp, (sigma, sigma, 0)), 200) for sigma in (0.0, 0.5, 1.0, 2.0)]
    for name in ("tenengrad", "laplacian_variance"):
        values = [float(entry[name] or 0) for entry in found]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.05 * values[0]


def test_sharpness_is_that_of_the_tissue_alone() -> None:
    tile = np.full((64, 64, 3), 255, dtype=np.uint8)
    tile[20:40, 20:40] = 100
    whole = tile_quality(tile[20:40, 20:40], 200)
    assert (whole["tenengrad"], whole["laplacian_variance"]) == (0.0, 0.0)
    assert tile_quality(np.full((9, 9, 3), 255, dtype=np.uint8), 200)["tenengrad"] is None
    wider = np.pad(tile, ((0, 200), (0, 0), (0, 0)), constant_values=255)
    assert tile_quality(wider, 200)["tenengrad"] == tile_quality(tile, 200)["tenengrad"]


def test_the_gradient_of_a_ramp_is_eight_times_its_slope_squared() -> None:
    ramp = np.repeat(3 * np.arange(20, dtype=np.uint8)[None, :], 10, axis=0)
    assert (squared_gradient(ramp)[1:-1, 1:-1] == (8 * 3) ** 2).all()
    assert (squared_gradient(ramp.T.copy())[1:-1, 1:-1] == (8 * 3) ** 2).all()


def test_sharpness_of_a_tall_tile_is_the_mean_over_all_of_it() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (101, 30, 3)).astype(np.uint8)
    expected = squared_gradient(gray(tile)).mean(dtype=np.float64)
    assert tile_quality(tile, 255)["tenengrad"] == pytest.approx(expected, rel=1e-12)


def test_quality_begins_with_the_metrics() -> None:
    found = tile_quality(waves(), 120)
    assert {name: found[name] for name in METRIC_COLUMNS} == tile_metrics(waves(), 120)
    assert list(found)[67:] == ["tenengrad", "laplacian_variance"]
