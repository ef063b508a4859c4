"""A whole slide as one small RGB picture, read in pieces so that memory does not grow with the slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.images.image import Image, Level
from stroma.images.resize import resize_area

_WINDOW_ROWS, _WINDOW_COLUMNS = 1024, 16384
_LARGEST_PX = 20_000


@dataclass(frozen=True)
class Overview:
    """A small picture of a whole image.

    Attributes:
        rgb: (h, w, 3) uint8.
        downsample: Level-0 pixels per pixel of `rgb`, (vertical, horizontal). The last row and column may
            reach beyond the image by less than one pixel of `rgb`.
    """

    rgb: NDArray[np.uint8]
    downsample: tuple[float, float]

    def shrink(self, max_dimension: int) -> Overview:
        """Averaged down by the smallest whole factor so that no side exceeds `max_dimension`."""
        factor = -(-max(self.rgb.shape[:2]) // max_dimension)
        vertical, horizontal = self.downsample
        return Overview(block_mean(self.rgb, factor), (vertical * factor, horizontal * factor))


def read_overview(image: Image, max_dimension: int) -> Overview:
    """Read an image small enough to hold: both sides at most `max_dimension` pixels.

    The finest level of the pyramid that is small enough is read as it is. Where none is, the coarsest level is
    read in windows and averaged down by the smallest whole factor that suffices.

    Args:
        image: An RGB or one-channel image of 8 bits; one channel becomes gray.
        max_dimension: Largest allowed side in pixels.

    Raises:
        InvalidData: the image is neither.
        UnreadableImage: the file is damaged.
    """
    _check_picture(image)
    height, width, _ = image.shape
    level = next((i for i, entry in enumerate(image.levels) if _longest(entry) <= max_dimension), -1)
    entry = image.levels[level]
    factor = -(-_longest(entry) // max_dimension)
    rgb = np.empty((-(-entry.height // factor), -(-entry.width // factor), 3), dtype=np.uint8)
    rows, columns = (max(1, size // factor) for size in (_WINDOW_ROWS, _WINDOW_COLUMNS))
    for top in range(0, rgb.shape[0], rows):
        for left in range(0, rgb.shape[1], columns):
            window = _read_window(image, level, left * factor, top * factor, columns * factor, rows * factor)
            with stage("transform"):
                rgb[top : top + rows, left : left + columns] = block_mean(window, factor)
    return Overview(rgb, (height / entry.height * factor, width / entry.width * factor))


def read_overview_at(image: Image, downsample: float) -> Overview:
    """Read a whole image at a resolution, in windows from the coarsest level that is at least as fine.

    Args:
        image: An RGB or one-channel image of 8 bits; one channel becomes gray.
        downsample: Level-0 pixels per pixel; the sides of the result are rounded to whole pixels.

    Raises:
        InvalidData: the image is neither.
        UsageError: the result would have more than 20,000 pixels a side.
        UnreadableImage: the file is damaged.
    """
    _check_picture(image)
    height, width = scaled_size(image, downsample)
    if max(height, width) > _LARGEST_PX:
        coarse = max(image.shape[:2]) / _LARGEST_PX
        raise UsageError(
            f"would be {width:,} × {height:,} pixels at {downsample:g} level-0 pixels per pixel",
            where=image.path,
            next_step=f"Choose a coarser resolution: {coarse:.3g} or more level-0 pixels per pixel",
        )
    finer = image.levels[image.level_for(downsample)].downsample / downsample
    step = max(1, int(_WINDOW_ROWS // 4 * finer))
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, step):
        rgb[top : top + step] = read_scaled_rows(image, downsample, top, min(step, height - top))
    return Overview(rgb, (image.shape[0] / height, image.shape[1] / width))


def scaled_size(image: Image, downsample: float) -> tuple[int, int]:
    """(height, width) of a whole image at so many level-0 pixels per pixel."""
    height, width = (max(1, round(side / downsample)) for side in image.shape[:2])
    return height, width


def read_scaled_rows(image: Image, downsample: float, top: int, rows: int) -> NDArray[Any]:
    """Rows `top` to `top + rows` of a whole image of `scaled_size`, read in windows: (rows, width, channels)."""
    height, width = scaled_size(image, downsample)
    finer = image.levels[image.level_for(downsample)].downsample / downsample
    step = max(1, int(_WINDOW_COLUMNS * finer))
    y, h = _stretch(image.shape[0], height, top, rows)
    result = np.empty((rows, width, len(image.channels)), dtype=image.dtype)
    for left in range(0, width, step):
        columns = min(step, width - left)
        x, w = _stretch(image.shape[1], width, left, columns)
        window = image.read(x, y, w, h, downsample=downsample)
        with stage("transform"):
            result[:, left : left + columns] = resize_area(window, rows, columns)
    return result


def _stretch(size: int, pixels: int, first: int, count: int) -> tuple[int, int]:
    """First level-0 pixel and number of them that `count` of `pixels` pixels stand for, along a side of `size`."""
    start, stop = (round(edge * size / pixels) for edge in (first, first + count))
    return start, max(1, stop - start)


def _check_picture(image: Image) -> None:
    if len(image.channels) not in (1, 3) or image.dtype != np.uint8:
        raise InvalidData(
            f"has {len(image.channels)} channels of {image.dtype}; tissue is found on 8-bit RGB or gray",
            where=image.path,
        )


def _longest(level: Level) -> int:
    return max(level.height, level.width)


def _read_window(image: Image, level: int, x: int, y: int, w: int, h: int) -> NDArray[Any]:
    """Read a window given in pixels of `level`, cut at its edges.

    Exact: a level is never finer than level 0, so rounding to level-0 pixels and back gives the same pixels.
    """
    entry = image.levels[level]
    w, h = min(w, entry.width - x), min(h, entry.height - y)
    left, top, wide, high = (round(value * entry.downsample) for value in (x, y, w, h))
    return image.read(left, top, wide, high, level=level)


def block_mean(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average (H, W, C) uint8 over blocks of `factor` × `factor` pixels, rounded.

    Returns:
        (ceil(H / factor), ceil(W / factor), C) uint8. Blocks cut off at the right and bottom edge are the mean
        of the pixels they have.
    """
    if factor == 1:
        return image
    if factor & (factor - 1) == 0:  # a power of two: whole blocks are averaged by a faster kernel
        rows, columns = image.shape[0] // factor, image.shape[1] // factor
        result = np.empty(
            (-(-image.shape[0] // factor), -(-image.shape[1] // factor), image.shape[2]), dtype=np.uint8
        )
        if rows and columns:
            whole = image[: rows * factor, : columns * factor]
            result[:rows, :columns] = resize_area(whole, rows, columns)
        result[rows:] = _block_mean(image[rows * factor :], factor)
        result[:rows, columns:] = _block_mean(image[: rows * factor, columns * factor :], factor)
        return result
    return _block_mean(image, factor)


def _block_mean(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    height, width = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    if not height or not width:
        return np.zeros((height, width, image.shape[2]), dtype=np.uint8)
    sums = np.zeros((height, image.shape[1], image.shape[2]), dtype=np.uint32 if factor > 257 else np.uint16)
    for offset in range(factor):
        part = image[offset::factor]
        sums[: len(part)] += part
    blocks = np.zeros((height, width, image.shape[2]), dtype=np.uint32)
    for offset in range(factor):
        column = sums[:, offset::factor]
        blocks[:, : column.shape[1]] += column
    high, wide = (_block_sizes(size, factor) for size in image.shape[:2])
    count = (high[:, None] * wide[None, :])[..., None]
    result: NDArray[np.uint8] = ((blocks + count // 2) // count).astype(np.uint8)
    return result


def _block_sizes(size: int, factor: int) -> NDArray[np.uint32]:
    starts = np.arange(0, size, factor)
    return np.minimum(factor, size - starts).astype(np.uint32)
