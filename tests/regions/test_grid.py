"""Grids and coverage: raster order, level-0 boxes, exact area weights."""

from __future__ import annotations

import numpy as np
import pytest

from stroma.core.errors import UsageError
from stroma.regions.grid import TileSize, box_coverage, tile_grid, tile_size, tile_step


def test_boxes_come_in_raster_order_y_outer() -> None:
    grid = tile_grid(5, 4, 3)
    assert grid.dtype == np.int64
    assert grid.tolist() == [[0, 0, 3, 3], [3, 0, 3, 3], [0, 3, 3, 3], [3, 3, 3, 3]]


def test_keep_covers_every_pixel_of_the_image() -> None:
    covered = np.zeros((50, 70), dtype=bool)
    for x, y, w, h in tile_grid(70, 50, 16, 11):
        covered[y : y + h, x : x + w] = True
    assert covered.all()


def test_drop_keeps_only_boxes_inside() -> None:
    grid = tile_grid(110, 40, 40, 20, out_of_bounds="drop")
    assert grid[:, 0].tolist() == [0, 20, 40, 60]


def test_drop_last_is_what_histoprep_calls_in_bounds() -> None:
    """HistoPrep drops the last column only, so at an overlap of a half x=80 (to 120 of 110) stays."""
    grid = tile_grid(110, 40, 40, 20, out_of_bounds="drop-last")
    assert grid[:, 0].tolist() == [0, 20, 40, 60, 80]
    assert tile_grid(120, 40, 40, 40, out_of_bounds="drop-last")[:, 0].tolist() == [0, 40, 80]


def test_histoprep_reference_grid() -> None:
    """`get_tile_coordinates((16, 8), width=8, overlap=.5)` with HistoPrep's in-bounds default."""
    grid = tile_grid(8, 16, 8, tile_step(8, 0.5), out_of_bounds="drop-last")
    assert grid.tolist() == [[0, 0, 8, 8], [0, 4, 8, 8], [0, 8, 8, 8]]


def test_step_rounds_halves_to_even_and_is_at_least_one() -> None:
    assert tile_step(30, 0.25) == 22
    assert tile_step(10, 0) == 10
    assert tile_step(10, 0.999) == 1


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_overlap_outside_its_range_is_refused(overlap: float) -> None:
    with pytest.raises(UsageError, match="overlap"):
        tile_step(10, overlap)


def test_a_box_larger_than_the_image_is_one_padded_box_or_an_error_with_both_sizes() -> None:
    assert tile_grid(300, 250, 512).tolist() == [[0, 0, 512, 512]]
    with pytest.raises(UsageError, match=r"512 × 512 .* 300 wide × 250 high"):
        tile_grid(300, 250, 512, out_of_bounds="drop")


@pytest.mark.parametrize("sizes", [(0, 5, 3, 3), (5, 5, 0, 3), (5, 5, 3, 0), (5, -1, 3, 3)])
def test_empty_sizes_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="positive sizes"):
        tile_grid(*sizes)


def test_shifted_boxes_cover_the_image_and_lie_inside() -> None:
    grid = tile_grid(110, 90, 40, out_of_bounds="shift")
    assert np.unique(grid[:, 0]).tolist() == [0, 40, 70]
    assert np.unique(grid[:, 1]).tolist() == [0, 40, 50]
    assert np.unique(tile_grid(120, 40, 40, out_of_bounds="shift")[:, 0]).tolist() == [0, 40, 80]  # fits as it is
    assert np.unique(tile_grid(110, 40, 40, 20, out_of_bounds="shift")[:, 0]).tolist() == [0, 20, 40, 60, 70]
    with pytest.raises(UsageError, match="larger than the image"):
        tile_grid(110, 30, 40, out_of_bounds="shift")


def test_boxes_need_not_be_square() -> None:
    grid = tile_grid(10, 6, (2, 5))  # (height, width), as all sizes
    assert grid.tolist() == [[x, y, 5, 2] for y in (0, 2, 4) for x in (0, 5)]
    assert tile_grid(10, 6, (2, 5), (4, 5)).tolist() == [[x, y, 5, 2] for y in (0, 4) for x in (0, 5)]


def test_tile_size_is_a_whole_number_of_level_0_pixels_and_its_downsample_says_so() -> None:
    assert tile_size(512, 512, 2) == TileSize(1024, 1024, 512, 512, 2.0)
    size = tile_size(512, 512, 0.5 / 0.499)  # 513.03 level-0 pixels
    assert (size.width, size.downsample) == (513, 513 / 512)
    assert tile_size(300, 400).width == 400


@pytest.mark.parametrize("target", [0.1, 0.25, 0.5, 1.0, 3.7])
@pytest.mark.parametrize("own", [0.2528, 0.499, 0.5, 1.3])
@pytest.mark.parametrize("height", [224, 448])
def test_reading_a_tile_at_its_downsample_gives_exactly_its_pixels(target: float, own: float, height: int) -> None:
    try:
        size = tile_size(height, 224, target / own)
    except UsageError:
        assert target < own  # enlarged tiles that are not square may be impossible
        return
    assert (round(size.height / size.downsample), round(size.width / size.downsample)) == (height, 224)
    assert abs(size.width - 224 * target / own) <= 0.5


def test_tile_size_refuses_what_has_no_size() -> None:
    for sides in ((0, 8), (8, 0)):
        with pytest.raises(UsageError, match="is empty"):
            tile_size(*sides)
    with pytest.raises(UsageError, match="smaller than a level-0 pixel"):
        tile_size(2, 2, 0.1)
    with pytest.raises(UsageError, match="no resolution"):
        tile_size(2, 2, -0.1)
    with pytest.raises(UsageError, match="whole level-0 pixels"):
        tile_size(101, 100, 0.1)


def test_coverage_counts_mask_pixels() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[1:3, 1:3] = True
    boxes = np.array([[0, 0, 4, 4], [1, 1, 2, 2], [0, 0, 2, 2], [3, 3, 1, 1]])
    assert box_coverage(mask, boxes, (1, 1)).tolist() == [0.25, 1.0, 0.25, 0.0]


def test_coverage_weights_partial_mask_pixels_by_area() -> None:
    """A mask pixel of 4 × 4; the box takes 3 of its columns and 1 of its rows, and nothing else that is tissue."""
    mask = np.zeros((3, 3), dtype=bool)
    mask[1, 1] = True
    boxes = np.array([[5, 7, 6, 2]])
    assert box_coverage(mask, boxes, (4, 4)).tolist() == [pytest.approx(3 * 1 / 12)]


def test_coverage_counts_what_lies_outside_as_not_tissue() -> None:
    boxes = np.array([[0, 0, 20, 10], [20, 20, 5, 5], [-5, 0, 10, 10]])
    assert box_coverage(np.ones((5, 5), dtype=bool), boxes, (2, 2)).tolist() == [0.5, 0.0, 0.5]


def test_coverage_equals_painting_the_mask_at_level_0() -> None:
    """Oracle: draw every mask pixel at 6-fold level-0 resolution with a ratio of 7/6 horizontally, 5/6 vertically."""
    rng = np.random.default_rng(3)
    mask = rng.random((30, 24)) < 0.4
    painted = np.repeat(np.repeat(mask, 5, axis=0), 7, axis=1)  # in sixths of a level-0 pixel
    boxes = tile_grid(28, 25, 6, 4)
    expected = [painted[6 * y : 6 * (y + h), 6 * x : 6 * (x + w)].sum() / (36 * w * h) for x, y, w, h in boxes]
    np.testing.assert_allclose(box_coverage(mask, boxes, (5 / 6, 7 / 6)), expected, atol=1e-12)
