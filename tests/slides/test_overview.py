"""Overviews: the level that is small enough, or windows averaged down; downsamples stay exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.images.image import Box, Image, Level
from stroma.slides import overview as overview_module
from stroma.slides.overview import Overview, block_mean, read_overview, read_overview_at
from stroma.slides.thumbnail import OUTLINE_COLOUR, draw_tiles


class ArraySlide(Image):
    """A slide in memory that remembers the largest region it was asked for."""

    def __init__(self, levels: list[NDArray[Any]], path: Path = Path("slide")) -> None:
        self.path = path
        self.arrays = levels
        self.levels = tuple(
            Level(a.shape[0], a.shape[1], (levels[0].shape[0] / a.shape[0] + levels[0].shape[1] / a.shape[1]) / 2)
            for a in levels
        )
        self.channels = tuple(f"channel {i}" for i in range(levels[0].shape[2]))
        self.dtype = levels[0].dtype
        self.asked: list[tuple[int, Box]] = []

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        self.asked.append((level, box))
        return np.ascontiguousarray(self.arrays[level][box.y : box.y + box.h, box.x : box.x + box.w])


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_finest_level_that_is_small_enough_is_read_unchanged() -> None:
    levels = [noise(301, 403), noise(150, 201, seed=1), noise(75, 100, seed=2)]
    result = read_overview(ArraySlide(levels), 250)
    np.testing.assert_array_equal(result.rgb, levels[1])
    assert result.downsample == (301 / 150, 403 / 201)


def test_level_0_itself_is_read_when_it_is_small() -> None:
    slide = ArraySlide([noise(40, 60)])
    result = read_overview(slide, 60)
    np.testing.assert_array_equal(result.rgb, slide.arrays[0])
    assert result.downsample == (1.0, 1.0)


def test_a_slide_without_a_small_level_is_averaged_down() -> None:
    """Every block is the rounded mean of its own pixels, also the incomplete ones at the edges."""
    pixels = noise(33, 50)
    result = read_overview(ArraySlide([pixels]), 20)
    assert result.rgb.shape == (11, 17, 3)
    assert result.downsample == (3.0, 3.0)
    for row, column in [(0, 0), (4, 7), (10, 16), (10, 3)]:
        block = pixels[3 * row : 3 * row + 3, 3 * column : 3 * column + 3].reshape(-1, 3).astype(float)
        np.testing.assert_allclose(result.rgb[row, column], block.mean(axis=0), atol=0.5)


def test_coarsest_level_is_averaged_when_none_is_small_enough() -> None:
    levels = [noise(404, 404), noise(101, 101, seed=1)]
    result = read_overview(ArraySlide(levels), 60)
    np.testing.assert_array_equal(result.rgb, block_mean(levels[1], 2))
    assert result.downsample == (8.0, 8.0)


def test_windows_do_not_change_the_result_and_bound_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(300, 257)
    whole = read_overview(ArraySlide([pixels]), 50).rgb
    monkeypatch.setattr(overview_module, "_WINDOW_ROWS", 40)
    monkeypatch.setattr(overview_module, "_WINDOW_COLUMNS", 64)
    slide = ArraySlide([pixels])
    np.testing.assert_array_equal(read_overview(slide, 50).rgb, whole)
    assert max(box.w * box.h for _, box in slide.asked) <= 40 * 64


def test_windows_of_a_level_with_an_odd_downsample_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in real SVS files, the level is 4.0167 times smaller one way and 4.0075 the other."""
    levels = [noise(241, 533), noise(60, 133, seed=1)]
    monkeypatch.setattr(overview_module, "_WINDOW_ROWS", 7)
    monkeypatch.setattr(overview_module, "_WINDOW_COLUMNS", 11)
    np.testing.assert_array_equal(read_overview(ArraySlide(levels), 140).rgb, levels[1])


def test_one_channel_becomes_gray_and_others_are_refused() -> None:
    result = read_overview(ArraySlide([noise(5, 6, 1)]), 10)
    assert result.rgb.shape == (5, 6, 3)
    assert (result.rgb == result.rgb[..., :1]).all()
    with pytest.raises(InvalidData, match="4 channels of uint8"):
        read_overview(ArraySlide([noise(5, 6, 4)]), 10)
    with pytest.raises(InvalidData, match="3 channels of uint16"):
        read_overview(ArraySlide([noise(5, 6).astype(np.uint16)]), 10)


def test_block_mean_rounds_and_does_not_overflow() -> None:
    white = np.full((600, 600, 3), 255, dtype=np.uint8)
    assert (block_mean(white, 300) == 255).all()
    assert block_mean(np.array([[[0], [1]], [[0], [1]]], dtype=np.uint8), 2).tolist() == [[[1]]]


def test_shrinking_keeps_the_place_of_things() -> None:
    small = Overview(noise(100, 70), (2.0, 2.5)).shrink(30)
    assert small.rgb.shape == (25, 18, 3)
    assert small.downsample == (8.0, 10.0)


def test_outlines_are_drawn_inside_their_boxes_and_the_rest_is_paled() -> None:
    black = Overview(np.zeros((10, 12, 3), dtype=np.uint8), (4.0, 4.0))
    drawn = draw_tiles(black, np.array([[8, 4, 16, 20]]))  # columns 2 to 5, rows 1 to 5 of the picture
    outline = (drawn == OUTLINE_COLOUR).all(axis=2)
    expected = np.zeros((10, 12), dtype=bool)
    expected[1:6, 2:6] = True
    assert (drawn[~expected] == 128).all()
    expected[2:5, 3:5] = False
    np.testing.assert_array_equal(outline, expected)
    assert (drawn[2:5, 3:5] == 0).all()
    assert (black.rgb == 0).all()


def test_boxes_beyond_the_picture_are_cut_off() -> None:
    drawn = draw_tiles(Overview(np.zeros((4, 4, 3), dtype=np.uint8), (1.0, 1.0)), np.array([[2, 2, 10, 10]]))
    assert (drawn == OUTLINE_COLOUR).all(axis=2).sum() == 3
    assert draw_tiles(Overview(drawn, (1.0, 1.0)), np.zeros((0, 4), dtype=np.int64)).shape == (4, 4, 3)


def test_an_overview_at_a_resolution_does_not_depend_on_the_windows_it_is_read_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = noise(300, 258)
    whole = read_overview_at(ArraySlide([pixels]), 3)
    np.testing.assert_array_equal(whole.rgb, block_mean(pixels, 3))
    assert whole.downsample == (3.0, 3.0)
    monkeypatch.setattr(overview_module, "_WINDOW_ROWS", 96)
    monkeypatch.setattr(overview_module, "_WINDOW_COLUMNS", 60)
    slide = ArraySlide([pixels])
    np.testing.assert_array_equal(read_overview_at(slide, 3).rgb, whole.rgb)
    assert max(box.h for _, box in slide.asked) <= 96 // 4
    assert max(box.w for _, box in slide.asked) <= 60


def test_an_overview_too_large_to_hold_names_the_resolution_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_module, "_LARGEST_PX", 100)
    with pytest.raises(UsageError, match="would be 129 × 150 pixels.* 3 or more level-0 pixels per pixel"):
        read_overview_at(ArraySlide([noise(300, 258)]), 2)
