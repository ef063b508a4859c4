"""Smoothed spectra and their derivatives by the method of Savitzky and Golay."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import ConfigError

_BLOCK = 16_384  # spectra at a time


def savitzky_golay(
    pixels: NDArray[Any], window: int = 9, order: int = 2, derivative: int = 1, spacing: float = 1.0
) -> NDArray[np.float32]:
    """Fit a polynomial to a window around each channel and take its value or derivative there.

    A. Savitzky and M. J. E. Golay, Analytical Chemistry 36:1627, 1964. At both ends the polynomial of the first and
    last full window is taken, so that there are as many channels as before. A spectrum with a value that is not
    finite becomes all zero.

    Args:
        pixels: (..., C) spectra at evenly spaced wavelengths; left unchanged.
        window: Number of channels in the window, odd.
        order: Of the polynomial, below `window`.
        derivative: 0 smooths, 1 is the first derivative, 2 the second.
        spacing: Distance between channels: 1 gives derivatives per channel, the step in nm derivatives per nm.

    Returns:
        (..., C) float32.

    Raises:
        ConfigError: the window is even, longer than the spectra or not longer than the order, or the derivative is
            above the order.
    """
    matrix = savitzky_golay_matrix(pixels.shape[-1], window, order, derivative, spacing)
    spectra = pixels.reshape(-1, pixels.shape[-1])
    result = np.empty(spectra.shape, dtype=np.float32)
    for start in range(0, len(spectra), _BLOCK):
        block = spectra[start : start + _BLOCK].astype(np.float32, copy=False)
        out = result[start : start + _BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):
            np.matmul(block, matrix, out=out)
            out[~np.isfinite(out.sum(axis=1))] = 0
    return result.reshape(pixels.shape)


@lru_cache(maxsize=16)
def savitzky_golay_matrix(
    channels: int, window: int, order: int, derivative: int, spacing: float = 1.0
) -> NDArray[np.float32]:
    """The filter as a matrix (C, C) by which spectra are multiplied from the right.

    It is linear, and one product is faster than a convolution with its edges. Arguments and errors are those of
    `savitzky_golay`.
    """
    if window % 2 == 0 or window > channels or not 0 <= order < window or not 0 <= derivative <= order:
        raise ConfigError(
            f"'savitzky_golay' cannot fit order {order}, derivative {derivative} in a window of {window} "
            f"to {channels} channels",
            next_step="Choose an odd window, at most as long as the spectra, above the order; order ≥ derivative",
        )
    if not spacing > 0:
        raise ConfigError(f"the spacing of 'savitzky_golay' is {spacing:g}, not above 0")
    from scipy.signal import savgol_filter  # slow to import, and few images need it

    unit = np.eye(channels)
    matrix = savgol_filter(unit, window, order, deriv=derivative, delta=spacing, axis=1, mode="interp")
    return np.ascontiguousarray(matrix, dtype=np.float32)
