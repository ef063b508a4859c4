"""Normalisation of spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096  # spectra at a time: a block of 100 channels stays in the processor's cache


def l1(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Divide each spectrum by the sum of its absolute values.

    A spectrum that is zero, or has a value that is not finite, has no such form: it becomes all zero. These are
    the only ones that do, so `zero_spectra(l1(pixels))` reports where they were.

    Args:
        pixels: (..., C) of any real type; left unchanged.

    Returns:
        (..., C) float32, C-contiguous; the absolute values of a spectrum sum to 1, or to 0.
    """
    spectra = pixels.reshape(-1, pixels.shape[-1])
    result = np.empty(spectra.shape, dtype=np.float32)
    for start in range(0, len(spectra), _BLOCK):
        block = spectra[start : start + _BLOCK].astype(np.float32, copy=False)
        total = np.abs(block).sum(axis=1, dtype=np.float32)
        without = ~(np.isfinite(total) & (total > 0))
        total[without] = 1
        out = result[start : start + _BLOCK]
        np.divide(block, total[:, None], out=out)
        out[without] = 0
    return result.reshape(pixels.shape)


def zero_spectra(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each spectrum of (..., C) is all zero, as (...): pixels without a measurement."""
    return np.asarray(~pixels.any(axis=-1))
