"""Normalisation of spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import ConfigError, InvalidData
from stroma.core.threads import in_threads

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
    return _divided(pixels, _absolute_sums)


def l1_in_place(spectra: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `l1`, in the place of the spectra: a cube that was just read needs no second one.

    Args:
        spectra: (..., C) float32, C-contiguous; their values are replaced.

    Returns:
        `spectra`.

    Raises:
        InvalidData: another type or order.
    """
    if spectra.dtype != np.float32 or not spectra.flags.c_contiguous:
        raise InvalidData(
            f"spectra of {spectra.dtype} cannot be replaced", next_step="Use l1, which returns new ones"
        )
    _divided(spectra, _absolute_sums, out=spectra)
    return spectra


def _absolute_sums(block: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.abs(block).sum(axis=1, dtype=np.float32)
    return result


def l2(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Divide each spectrum by its Euclidean length; see `l1` for spectra that have no such form.

    Args:
        pixels: (..., C) of any real type; left unchanged.

    Returns:
        (..., C) float32; the squares of a spectrum sum to 1, or to 0.
    """
    return _divided(pixels, lambda block: np.sqrt(np.einsum("ij,ij->i", block, block)))


def snv(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Standard normal variate: each spectrum minus its own mean, divided by its own standard deviation (n - 1).

    R. J. Barnes, M. S. Dhanoa and S. J. Lister, Applied Spectroscopy 43:772, 1989. It removes an offset (gloss) and
    a factor (distance, angle) of each pixel. A spectrum without variation, or with a value that is not finite, has
    no such form: it becomes all zero.

    Args:
        pixels: (..., C) of any real type, two channels or more; left unchanged.

    Returns:
        (..., C) float32.

    Raises:
        ConfigError: a single channel.
    """
    if pixels.shape[-1] < 2:
        raise ConfigError("'snv' needs spectra of two or more channels", next_step="Leave the step out")

    def spread(block: NDArray[np.float32]) -> NDArray[np.float32]:
        block -= block.mean(axis=1, dtype=np.float64).astype(np.float32)[:, None]
        result: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", block, block) / np.float32(block.shape[1] - 1))
        return result

    return _divided(pixels, spread, own=True)


def absorbance(pixels: NDArray[Any], floor: float = 1e-3, base: float = 10.0) -> NDArray[np.float32]:
    """Apparent absorbance of reflectance: -log(R), as if light had gone through a cuvette.

    Reflectance at or below `floor`, also negative values that noise leaves in dark pixels, counts as `floor`, so that
    absorbance ends at -log(floor): 3 for 0.001. Reflectance above 1 (gloss) has negative absorbance. A spectrum that
    is zero, or has a value that is not finite, was not measured: it becomes all zero.

    Args:
        pixels: (..., C) reflectance, 1 = white reference; left unchanged.
        floor: Smallest reflectance, above 0.
        base: Of the logarithm: 10, or 2.718281828 for the natural one.

    Returns:
        (..., C) float32.

    Raises:
        ConfigError: `floor` or `base` gives no logarithm.
    """
    if not floor > 0 or not base > 1:
        raise ConfigError(f"'absorbance' has floor {floor:g} and base {base:g}, where more than 0 and 1 are needed")
    factor = np.float32(-1 / np.log(base))

    def logarithm(block: NDArray[np.float32]) -> NDArray[np.float32]:
        np.log(np.maximum(block, np.float32(floor)), out=block)
        block *= factor
        return np.ones(len(block), dtype=np.float32)

    return _divided(pixels, logarithm, own=True)


def _divided(
    pixels: NDArray[Any],
    divisor: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    *,
    own: bool = False,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Divide each spectrum by what `divisor` says of it, block by block; spectra without a form become zero.

    Args:
        pixels: (..., C).
        divisor: (n, C) → (n,); 0 or not finite where there is no form. With `own` it may change its block.
        own: Give it a copy.
        out: Where the result goes, C-contiguous; it may be `pixels`.
    """
    spectra = pixels.reshape(-1, pixels.shape[-1])
    result = np.empty(spectra.shape, dtype=np.float32) if out is None else out.reshape(spectra.shape)

    def divide(number: int) -> None:
        start = number * _BLOCK
        block = spectra[start : start + _BLOCK].astype(np.float32, copy=own)
        without = ~measured(block) if own else None
        with np.errstate(invalid="ignore", over="ignore"):
            total = divisor(block)
        unusable = ~(np.isfinite(total) & (total > 0))
        without = unusable if without is None else without | unusable
        total[without] = 1
        divided = result[start : start + _BLOCK]
        with np.errstate(invalid="ignore"):
            np.divide(block, total[:, None], out=divided)
        divided[without] = 0

    in_threads(divide, -(-len(spectra) // _BLOCK))
    return result.reshape(pixels.shape)


def measured(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each spectrum of (..., C) is finite and not all zero, as (...)."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.abs(pixels).sum(axis=-1, dtype=np.float32)
    return np.asarray(np.isfinite(total) & (total > 0))


def zero_spectra(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each spectrum of (..., C) is all zero, as (...): pixels without a measurement."""
    return np.asarray(~pixels.any(axis=-1))
