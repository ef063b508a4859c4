"""Thumbnails that show which tiles were taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from stroma.slides.overview import Overview

OUTLINE_COLOUR = (0, 90, 30)
"""Dark green: no stain of the field has it, and it shows on white as well as on haematoxylin and eosin."""


def draw_tiles(
    overview: Overview, boxes: NDArray[np.int64], *, colour: tuple[int, int, int] = OUTLINE_COLOUR
) -> NDArray[np.uint8]:
    """Draw the outlines of boxes, one pixel wide and inside each box, and pale out what no box covers.

    Args:
        overview: The picture to draw on.
        boxes: (n, 4): x, y, w, h in level-0 pixels. What lies outside the picture is cut off.
        colour: RGB, 0 to 255.

    Returns:
        A new (h, w, 3) uint8 array of the overview's size.
    """
    corners = _corners(overview, boxes)
    canvas = 255 - (255 - overview.rgb) // 2
    for top, bottom, left, right in corners:
        canvas[top:bottom, left:right] = overview.rgb[top:bottom, left:right]
    for top, bottom, left, right in corners:
        if bottom > top and right > left:
            _draw_outline(canvas, top, bottom - 1, left, right - 1, colour)
    return canvas


def draw_mask(
    overview: Overview,
    mask: NDArray[np.bool_],
    downsample: tuple[float, float],
    *,
    colour: tuple[int, int, int] = OUTLINE_COLOUR,
) -> NDArray[np.uint8]:
    """Draw the outlines of a mask, one pixel wide, and pale out what lies outside.

    Args:
        overview: The picture to draw on.
        mask: (H, W) bool, at least as fine as the picture.
        downsample: Level-0 pixels per pixel of the mask, (vertical, horizontal).
        colour: RGB, 0 to 255.

    Returns:
        A new (h, w, 3) uint8 array of the overview's size.
    """
    rows, columns = (
        np.minimum(((np.arange(size) + 0.5) * coarse / fine).astype(int), limit - 1)
        for size, coarse, fine, limit in zip(
            overview.rgb.shape[:2], overview.downsample, downsample, mask.shape, strict=True
        )
    )
    inside = mask[np.ix_(rows, columns)]
    canvas = np.where(inside[:, :, None], overview.rgb, 255 - (255 - overview.rgb) // 2)
    canvas[inside & ~ndimage.binary_erosion(inside, border_value=1)] = colour
    return canvas


def outline_boxes(
    overview: Overview, boxes: NDArray[np.int64], names: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Draw boxes as HistoPrep does: red outlines one pixel wide, the first box blue, nothing paled out.

    Args:
        overview: The picture to draw on.
        boxes: (n, 4): x, y, w, h in level-0 pixels.
        names: Of the boxes, `spot_<number>`; the numbers are written into them in black.

    Returns:
        A new (h, w, 3) uint8 array of the overview's size.
    """
    canvas = overview.rgb.copy()
    for number, (top, bottom, left, right) in reversed(list(enumerate(_corners(overview, boxes)))):
        if bottom > top and right > left:
            _draw_outline(canvas, top, bottom - 1, left, right - 1, (255, 0, 0) if number else (0, 0, 255))
    if names is None:
        return canvas
    picture = Picture.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for name, (top, bottom, left, right) in zip(names, _corners(overview, boxes), strict=True):
        size = max(8.0, (bottom - top) / 3)
        centre = ((left + right) / 2, (top + bottom) / 2)
        pen.text(centre, name.removeprefix("spot_"), fill=(0, 0, 0), anchor="mm", font=ImageFont.load_default(size))
    return np.asarray(picture)


def _corners(overview: Overview, boxes: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Top, bottom, left and right of boxes in pixels of the overview, not above or left of it."""
    vertical, horizontal = overview.downsample
    x, y, w, h = boxes.T.astype(np.float64)
    edges = np.stack([y / vertical, (y + h) / vertical, x / horizontal, (x + w) / horizontal], axis=1)
    return [(a, b, c, d) for a, b, c, d in np.maximum(np.rint(edges).astype(int), 0).tolist()]


def _draw_outline(
    canvas: NDArray[np.uint8], top: int, bottom: int, left: int, right: int, colour: tuple[int, int, int]
) -> None:
    for row in (top, bottom):
        canvas[row : row + 1, left : right + 1] = colour
    for column in (left, right):
        canvas[top : bottom + 1, column : column + 1] = colour
