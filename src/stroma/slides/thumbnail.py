"""Thumbnails that show which tiles were taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    vertical, horizontal = overview.downsample
    x, y, w, h = boxes.T.astype(np.float64)
    edges = np.stack([y / vertical, (y + h) / vertical, x / horizontal, (x + w) / horizontal], axis=1)
    corners = np.maximum(np.rint(edges).astype(int), 0).tolist()
    canvas = 255 - (255 - overview.rgb) // 2
    for top, bottom, left, right in corners:
        canvas[top:bottom, left:right] = overview.rgb[top:bottom, left:right]
    for top, bottom, left, right in corners:
        if bottom > top and right > left:
            _draw_outline(canvas, top, bottom - 1, left, right - 1, colour)
    return canvas


def _draw_outline(
    canvas: NDArray[np.uint8], top: int, bottom: int, left: int, right: int, colour: tuple[int, int, int]
) -> None:
    for row in (top, bottom):
        canvas[row : row + 1, left : right + 1] = colour
    for column in (left, right):
        canvas[top : bottom + 1, column : column + 1] = colour
