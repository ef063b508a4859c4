"""Resizing by pixel areas: outer corners stay in place, pixel centres lie at +0.5."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Window = tuple[float, float, float, float]
_HALVINGS = frozenset(float(2**power) for power in range(11))
"""Factors at which Pillow's block mean is exact; at others, for example 3, it is up to 0.06 too low."""


def resize_area(array: NDArray[Any], height: int, width: int, window: Window | None = None) -> NDArray[Any]:
    """Resize by averaging over pixel areas where it shrinks, linearly where it enlarges.

    Args:
        array: (H, W, C) of integers or floats.
        height: Rows of the result.
        width: Columns of the result.
        window: Part of `array` to resize as (top, bottom, left, right), in pixels from its outer corner and not
            necessarily whole ones; by default all of it. Pixels beyond the window only serve interpolation.

    Returns:
        (height, width, C) of the same type; integers are rounded.
    """
    top, bottom, left, right = window or (0.0, float(array.shape[0]), 0.0, float(array.shape[1]))
    down, across = (bottom - top) / height, (right - left) / width
    if down == across == 1 and top == int(top) and left == int(left):
        return array[int(top) : int(bottom), int(left) : int(right)]
    halving = top == int(top) and left == int(left) and down in _HALVINGS and across in _HALVINGS
    if halving and array.dtype == np.uint8 and array.shape[2] in (1, 3):
        return _reduce_picture(array, (int(left), int(top), int(right), int(bottom)), int(across), int(down))
    result = _resize_rows(array, height, top, bottom)
    result = _resize_rows(np.ascontiguousarray(result.swapaxes(0, 1)), width, left, right).swapaxes(0, 1)
    if np.issubdtype(array.dtype, np.integer):
        info = np.iinfo(array.dtype)
        result = np.clip(np.floor(result + np.float32(0.5)), info.min, info.max)
    return np.ascontiguousarray(result, dtype=array.dtype)


def _reduce_picture(
    array: NDArray[np.uint8], box: tuple[int, int, int, int], across: int, down: int
) -> NDArray[np.uint8]:
    """Average whole blocks of 8-bit gray or RGB, halves rounded up."""
    picture = Pillow.fromarray(array[:, :, 0] if array.shape[2] == 1 else np.ascontiguousarray(array))
    return np.array(picture.reduce((across, down), box=box)).reshape(
        (box[3] - box[1]) // down, (box[2] - box[0]) // across, array.shape[2]
    )


def _resize_rows(array: NDArray[Any], size: int, start: float, stop: float) -> NDArray[np.float32]:
    """Resize rows start…stop of `array` to `size` rows, as float32."""
    step = (stop - start) / size
    if step == 1 and start == int(start):
        return array[int(start) : int(stop)].astype(np.float32)
    return _average_rows(array, size, start, step) if step >= 1 else _interpolate_rows(array, size, start, step)


def _average_rows(array: NDArray[Any], size: int, start: float, step: float) -> NDArray[np.float32]:
    """Row i of the result is the mean over start + i·step … start + (i + 1)·step."""
    if start == int(start) and step == int(step):
        first, factor = int(start), int(step)
        stop = first + size * factor
        sums = array[first:stop:factor].astype(np.float32)
        for offset in range(1, factor):
            sums += array[first + offset : stop : factor]
    else:
        sums = _weighted_sums(array.astype(np.float32, copy=False), start + np.arange(size + 1) * step)
    sums /= np.float32(step)
    return sums


def _weighted_sums(rows: NDArray[np.float32], edges: NDArray[Any]) -> NDArray[np.float32]:
    """Sums of `rows` between neighbouring edges, which are at least 1 apart; a cut row counts in part."""
    low = np.minimum(np.floor(edges).astype(int), len(rows) - 1)
    part = (edges - low).astype(np.float32)[:, None, None]
    is_open = low[-1] > low[-2]  # else the last stretch is the last row alone
    sums: NDArray[np.float32] = np.add.reduceat(rows, low if is_open else low[:-1], axis=0)[: len(edges) - 1]
    sums -= part[:-1] * rows[low[:-1]]
    sums[:-1] += part[1:-1] * rows[low[1:-1]]
    sums[-1] += (part[-1] if is_open else part[-1] - 1) * rows[low[-1]]
    return sums


def _interpolate_rows(array: NDArray[Any], size: int, start: float, step: float) -> NDArray[np.float32]:
    """Row i of the result lies at start + (i + 0.5)·step, between the centres of two rows; edges are repeated."""
    centres = start + (np.arange(size) + 0.5) * step - 0.5
    low = np.clip(np.floor(centres).astype(int), 0, len(array) - 1)
    high = np.minimum(low + 1, len(array) - 1)
    weight = np.clip(centres - low, 0, 1).astype(np.float32)[:, None, None]
    result: NDArray[np.float32] = array[low] * (1 - weight) + array[high] * weight
    return result
