"""Grids of boxes over an image, and how much of each box a coarser mask covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UsageError

OutOfBounds = Literal["keep", "drop", "shift", "drop-last"]

_MAX_BOXES = 20_000_000


@dataclass(frozen=True)
class TileSize:
    """A tile in level-0 pixels and in the pixels that are read.

    Attributes:
        height, width: In level-0 pixels.
        height_px, width_px: Pixels that reading it gives.
        downsample: Level-0 pixels per pixel read: exactly width / width_px.
    """

    height: int
    width: int
    height_px: int
    width_px: int
    downsample: float


def tile_size(height_px: int, width_px: int, downsample: float = 1.0) -> TileSize:
    """The whole level-0 pixels of a tile that is read with `height_px` × `width_px` pixels.

    The width, width_px · downsample, is rounded to the nearest integer (halves to even). So that a tile still has
    exactly the pixels asked for, the downsample in the result absorbs the rounding: it is width / width_px, at most
    half a level-0 pixel per width away from what was asked for.

    Args:
        height_px: Height of the tile in pixels that are read.
        width_px: Width of the tile in pixels that are read.
        downsample: Level-0 pixels per pixel: target resolution / that of the image, both in µm per pixel.

    Raises:
        UsageError: a size or downsample that is not positive, a downsample so fine that a tile would be smaller than
            a pixel, or sides that no whole level-0 pixels give.
    """
    if min(height_px, width_px) < 1:
        raise UsageError(f"a tile of {height_px} × {width_px} pixels is empty")
    if not (math.isfinite(downsample) and downsample > 0):
        raise UsageError(f"{downsample:g} level-0 pixels per pixel is no resolution")
    width = round(width_px * downsample)
    if width < 1 or round(height_px * downsample) < 1:
        raise UsageError(f"a tile of {height_px} × {width_px} px at {downsample:g} × is smaller than a level-0 pixel")
    exact = width / width_px
    height = round(height_px * exact)
    if round(height / exact) != height_px:
        raise UsageError(
            f"tiles of {height_px} × {width_px} px cannot be made of whole level-0 pixels {exact:g} times as large",
            next_step="Choose a coarser resolution, or sides that are multiples of each other",
        )
    return TileSize(height, width, height_px, width_px, exact)


def tile_step(size: int, overlap: float) -> int:
    """Distance of neighbouring tiles in level-0 pixels: size − round(size · overlap), at least 1.

    Args:
        size: Edge of a tile in level-0 pixels.
        overlap: Fraction of a tile that its neighbour shares, 0 to below 1.

    Raises:
        UsageError: `overlap` is outside its range.
    """
    if not 0 <= overlap < 1:
        raise UsageError(f"the overlap {overlap:g} is outside 0 to below 1")
    return max(size - round(size * overlap), 1)


def tile_grid(
    width: int,
    height: int,
    size: int | tuple[int, int],
    step: int | tuple[int, int] | None = None,
    *,
    out_of_bounds: OutOfBounds = "keep",
) -> NDArray[np.int64]:
    """Boxes over an image in raster order (left to right, then top to bottom), from its top-left corner.

    Args:
        width: Width of the image in level-0 pixels.
        height: Height of the image in level-0 pixels.
        size: (height, width) of a box in level-0 pixels, or the edge of a square one.
        step: Distance of neighbouring boxes, down and across, see `tile_step`; default `size`, no overlap.
        out_of_bounds: What happens to boxes that reach beyond the right or bottom edge. `keep` keeps every box
            that begins inside, so the boxes cover the image; an image smaller than a box gets one. `drop` keeps
            only boxes that lie inside. `shift` moves the first that reaches beyond back to the edge, where it
            overlaps its neighbour more, and drops the rest, so the boxes cover the image and lie inside.
            `drop-last` is what HistoPrep calls in bounds: the last column and row go if they reach beyond, so with
            an overlap of half a box or more others that do stay.

    Returns:
        Array (n, 4) of int64: x, y, w, h.

    Raises:
        UsageError: a size or step that is not positive, a box larger than the image that may not reach beyond, or
            more than 20 million boxes.
    """
    h, w = (size, size) if isinstance(size, int) else size
    down, across = (h, w) if step is None else (step, step) if isinstance(step, int) else step
    if min(width, height, h, w, down, across) < 1:
        raise UsageError(
            f"a grid needs positive sizes: image {width} × {height}, tile {w} × {h}, step {across} × {down}"
        )
    if out_of_bounds != "keep" and (w > width or h > height):
        raise UsageError(
            f"a tile of {w} × {h} level-0 pixels is larger than the image, {width} wide × {height} high",
            next_step="Use smaller tiles, or keep tiles that reach beyond the image",
        )
    x, y = _starts(width, w, across, out_of_bounds), _starts(height, h, down, out_of_bounds)
    if len(x) * len(y) > _MAX_BOXES:
        raise UsageError(
            f"the grid would have {len(x) * len(y):,} tiles", next_step="Use larger tiles or less overlap"
        )
    rows, columns = np.meshgrid(y, x, indexing="ij")
    boxes = [columns.ravel(), rows.ravel(), np.full(rows.size, w), np.full(rows.size, h)]
    return np.stack(boxes, axis=1).astype(np.int64)


def _starts(length: int, size: int, step: int, out_of_bounds: OutOfBounds) -> NDArray[np.int64]:
    starts = np.arange(0, length, step, dtype=np.int64)
    beyond = starts + size > length
    if out_of_bounds == "drop":
        return starts[~beyond]
    if out_of_bounds == "shift" and beyond.any():
        inside = starts[~beyond]
        return inside if inside[-1] + size == length else np.append(inside, length - size)
    if out_of_bounds == "drop-last" and beyond[-1]:
        return starts[:-1]
    return starts


def box_coverage(
    mask: NDArray[np.bool_], boxes: NDArray[np.int64] | NDArray[np.float64], downsample: tuple[float, float]
) -> NDArray[np.float64]:
    """Fraction of each box that the mask covers, weighted by area.

    A mask pixel stands for `downsample` level-0 pixels and counts with the part of it that lies in the box, for
    any, also non-integer, downsample. What lies outside the mask is not covered, so a box that reaches beyond
    the image is judged on its whole area. Computed from an integral image, which is bilinear inside a mask
    pixel, and which is made only for the rows and columns that boxes begin or end in.

    Args:
        mask: (H, W) bool.
        boxes: (n, 4): x, y, w, h in level-0 pixels.
        downsample: Level-0 pixels per mask pixel, (vertical, horizontal).

    Returns:
        (n,) fractions, 0 to 1.
    """
    x, y, w, h = boxes.T.astype(np.float64)
    vertical, horizontal = downsample
    top, bottom = _corners(y / vertical, mask.shape[0]), _corners((y + h) / vertical, mask.shape[0])
    left, right = _corners(x / horizontal, mask.shape[1]), _corners((x + w) / horizontal, mask.shape[1])
    rows, columns = _needed(top, bottom, mask.shape[0]), _needed(left, right, mask.shape[1])
    integral = _integral(mask, rows, columns)

    def at(corner_y: _Corners, corner_x: _Corners) -> NDArray[np.float64]:
        """The integral image at fractional corners."""
        row, column = np.searchsorted(rows, corner_y.pixel), np.searchsorted(columns, corner_x.pixel)
        down, across = corner_y.part, corner_x.part
        upper = integral[row, column] * (1 - across) + integral[row, column + 1] * across
        lower = integral[row + 1, column] * (1 - across) + integral[row + 1, column + 1] * across
        result: NDArray[np.float64] = upper * (1 - down) + lower * down
        return result

    covered = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    fractions: NDArray[np.float64] = np.clip(covered * (vertical * horizontal) / (w * h), 0.0, 1.0)
    return fractions


@dataclass(frozen=True)
class _Corners:
    """Positions along an axis of a mask, those outside moved to the edge: the pixel, and the part of it before."""

    pixel: NDArray[np.int64]
    part: NDArray[np.float64]


def _corners(positions: NDArray[np.float64], size: int) -> _Corners:
    inside = np.clip(positions, 0, size)
    pixel = np.minimum(inside.astype(np.int64), size - 1)
    return _Corners(pixel, inside - pixel)


def _needed(first: _Corners, second: _Corners, size: int) -> NDArray[np.int64]:
    """Ascending edges of the pixels of both, with 0 and `size`."""
    edges = [first.pixel, first.pixel + 1, second.pixel, second.pixel + 1, np.array([0, size])]
    return np.unique(np.concatenate(edges)).astype(np.int64)


def _integral(mask: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of covered pixels above each of `rows` and left of each of `columns`."""
    bands = np.stack([mask[a:b].sum(axis=0, dtype=np.uint32) for a, b in pairwise(rows.tolist())])
    blocks = np.stack([bands[:, a:b].sum(axis=1, dtype=np.int64) for a, b in pairwise(columns.tolist())], axis=1)
    integral = np.zeros((len(rows), len(columns)), dtype=np.int64)
    integral[1:, 1:] = blocks.cumsum(axis=0).cumsum(axis=1)
    return integral
