"""The colour scale of Tivita parameter pictures, forwards and backwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TIVITA_COLOURS = np.array(
    [
        (0, 0, 101),
        (0, 0, 175),
        (0, 0, 253),
        (0, 124, 130),
        (0, 253, 1),
        (124, 255, 0),
        (251, 255, 0),
        (255, 130, 0),
        (255, 4, 0),
        (179, 0, 0),
        (102, 0, 0),
    ],
    dtype=np.float64,
)
"""RGB, 0-255, at the values 0.0, 0.1, …, 1.0; linear between them."""

LOOKUP_ERROR = 0.0007
"""Largest error of a value read back from its colour in 8 bits: half a grey level where the scale is steepest."""

_CHUNK_COLOURS = 65_536


def tivita_colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours of values.

    Args:
        values: Any shape, 0-1; others are clipped, NaN is black.

    Returns:
        (*shape, 3) uint8 RGB.
    """
    stops = np.linspace(0, 1, len(TIVITA_COLOURS))
    known = np.nan_to_num(np.clip(values, 0, 1))
    colours = np.stack([np.interp(known, stops, TIVITA_COLOURS[:, i]) for i in range(3)], axis=-1)
    colours[np.isnan(values)] = 0
    result: NDArray[np.uint8] = np.rint(colours).astype(np.uint8)
    return result


def tivita_values(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values of colours: the nearest point of the scale, which is a line through RGB space.

    Args:
        rgb: (*shape, 3) uint8.

    Returns:
        Values (*shape) float32, 0-1, within `LOOKUP_ERROR` of what was coloured, and the distance (*shape)
        float32 of each colour from the scale in grey levels: above about 1 it was altered (scaled down,
        compressed as JPEG), far above it is no colour of the scale (text, background, frame).
    """
    packed = (rgb.astype(np.uint32) * np.array([65_536, 256, 1], dtype=np.uint32)).sum(axis=-1, dtype=np.uint32)
    unique, inverse = np.unique(packed, return_inverse=True)
    values, distances = np.empty(len(unique), np.float32), np.empty(len(unique), np.float32)
    for start in range(0, len(unique), _CHUNK_COLOURS):
        part = unique[start : start + _CHUNK_COLOURS]
        colours = np.stack([part >> 16, part >> 8 & 255, part & 255], axis=-1).astype(np.float64)
        values[start : start + len(part)], distances[start : start + len(part)] = _nearest(colours)
    return values[inverse].reshape(packed.shape), distances[inverse].reshape(packed.shape)


def _nearest(colours: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project (n, 3) colours on every stretch of the scale; value and distance of the nearest point."""
    starts, steps = TIVITA_COLOURS[:-1], np.diff(TIVITA_COLOURS, axis=0)
    along = ((colours[:, None] - starts) * steps).sum(axis=2) / (steps**2).sum(axis=1)
    along = np.clip(along, 0, 1)
    distances = np.linalg.norm(starts + along[:, :, None] * steps - colours[:, None], axis=2)
    best = distances.argmin(axis=1)
    rows = np.arange(len(colours))
    return (best + along[rows, best]) / len(steps), distances[rows, best]
