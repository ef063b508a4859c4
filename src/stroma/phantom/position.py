"""Randomness as a function of position: the same number at the same place, whatever is computed around it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def salt(*parts: object) -> np.uint64:
    """A 64-bit number from names and numbers, the same on every machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def uniform(column: NDArray[np.int64], row: NDArray[np.int64], key: np.uint64) -> Field:
    """Numbers in [0, 1) for lattice points, by the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = column.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = mixed ^ (row.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)) ^ key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def lattice(x: Field, y: Field, step: float, margin: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns (1, n) and rows (m, 1) of the lattice of width `step` around the points, `margin` more on each side."""
    column = np.arange(int(np.floor(x.min() / step)) - margin, int(np.floor(x.max() / step)) + margin + 1)
    row = np.arange(int(np.floor(y.min() / step)) - margin, int(np.floor(y.max() / step)) + margin + 1)
    return column[None, :], row[:, None]


def value_noise(x: Field, y: Field, step: float, key: np.uint64) -> Field:
    """Smooth noise in [0, 1) with features of size `step`: random values on a lattice, blended between.

    Args:
        x: Positions; `x` and `y` are broadcast against each other.
        y: Positions.
        step: Width of the lattice, in the unit of the positions.
        key: Which noise.
    """
    if x.size == 0 or y.size == 0:
        return np.zeros(np.broadcast_shapes(x.shape, y.shape))
    columns, rows = lattice(x, y, step, 1)
    values = uniform(columns, rows, key)
    i, j = np.floor(x / step).astype(np.int64), np.floor(y / step).astype(np.int64)
    u, v = x / step - i, y / step - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = i - columns[0, 0], j - rows[0, 0]
    top = values[j, i] * (1 - u) + values[j, i + 1] * u
    bottom = values[j + 1, i] * (1 - u) + values[j + 1, i + 1] * u
    return np.asarray(top * (1 - v) + bottom * v)


def organic_noise(x: Field, y: Field, step: float, key: np.uint64) -> Field:
    """Like `value_noise`, but without the traces of one lattice: two that are turned against each other."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for turn in (0.5, 1.7):
        cos, sin = np.cos(turn), np.sin(turn)
        total = total + value_noise(x * cos - y * sin, x * sin + y * cos, step, key + np.uint64(10 * turn))
    return np.asarray(0.5 + (total - 1.0) / np.sqrt(2))


def smoothstep(value: Field, low: float | Field, high: float | Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def texture(key: np.uint64, size: int, radius_px: float) -> NDArray[np.float32]:
    """A (size, size) noise texture that can be laid side by side: mean 0, standard deviation 1.

    White noise filtered with a Gaussian of `radius_px`; 0 leaves it white.
    """
    noise = np.random.default_rng(int(key)).standard_normal((size, size))
    if radius_px > 0:
        frequency = np.fft.fftfreq(size)
        squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
        noise = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-2 * (np.pi * radius_px) ** 2 * squared)).real
    return np.asarray((noise - noise.mean()) / noise.std(), dtype=np.float32)
