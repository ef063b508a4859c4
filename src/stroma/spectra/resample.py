"""Spectra as another sensor would have seen them: resampling along the wavelengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError

_REACH_FWHM = 1.0
"""A band must have measured bands within this many of its widths on both sides, or it would be a guess."""


def resample_spectra(
    spectra: NDArray[np.floating],
    from_nm: NDArray[np.floating] | Sequence[float],
    to_nm: NDArray[np.floating] | Sequence[float],
    *,
    fwhm_nm: float | Sequence[float] | NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Resample spectra to the bands of another sensor.

    Args:
        spectra: (…, C) values at `from_nm`.
        from_nm: (C,) centre wavelengths in nm, increasing.
        to_nm: (D,) centre wavelengths of the other sensor in nm.
        fwhm_nm: Full width at half maximum of the other sensor's bands, one or (D,) nm. None interpolates
            linearly, which suits sensors of like resolution; a width averages over the band, near the ends of
            the range over the part of it that was measured.

    Returns:
        (…, D) float32. A spectrum that is the same everywhere stays the same.

    Raises:
        UsageError: a band lies outside of what was measured; nothing is extrapolated.
        InvalidData: wavelengths that do not increase, or not as many as channels.
    """
    weights = resampling_weights(from_nm, to_nm, fwhm_nm=fwhm_nm)
    if spectra.shape[-1:] != weights.shape[1:]:
        raise InvalidData(f"spectra of shape {spectra.shape} do not have {weights.shape[1]} channels")
    result: NDArray[np.float32] = (spectra.astype(np.float32, copy=False) @ weights.T.astype(np.float32)).astype(
        np.float32, copy=False
    )
    return result


def resampling_weights(
    from_nm: NDArray[np.floating] | Sequence[float],
    to_nm: NDArray[np.floating] | Sequence[float],
    *,
    fwhm_nm: float | Sequence[float] | NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """The matrix (D, C) by which `resample_spectra` multiplies; its rows sum to 1.

    With a width, a row is the Gaussian response exp(-4 ln 2 (Δ/FWHM)²) at the measured wavelengths, each weighted
    by the distance to its neighbours (trapezoidal rule).

    Raises:
        UsageError, InvalidData: see `resample_spectra`.
    """
    source, target = _checked(from_nm, "from_nm"), np.asarray(to_nm, dtype=np.float64).ravel()
    if not len(target) or not np.isfinite(target).all():
        raise InvalidData("the wavelengths 'to_nm' are empty or not finite")
    outside = target[(target < source[0]) | (target > source[-1])]
    if outside.size:
        raise UsageError(
            f"a band at {outside[0]:g} nm cannot be had from {source[0]:g} to {source[-1]:g} nm",
            next_step="Leave it out: nothing is extrapolated",
        )
    if fwhm_nm is None:
        return _linear(source, target)
    widths = np.broadcast_to(np.asarray(fwhm_nm, dtype=np.float64), target.shape)
    if not (np.isfinite(widths) & (widths > 0)).all():
        raise InvalidData("a width 'fwhm_nm' is not positive and finite")
    gaps = np.abs(source[None, :] - target[:, None]).min(axis=1)
    if (gaps > widths * _REACH_FWHM).any():
        worst = int(np.argmax(gaps / widths))
        raise UsageError(
            f"no band was measured within {widths[worst]:g} nm of {target[worst]:g} nm",
            next_step="Interpolate linearly: fwhm_nm=None",
        )
    response = np.exp(-4 * np.log(2) * ((source[None, :] - target[:, None]) / widths[:, None]) ** 2)
    weighted: NDArray[np.float64] = response * _spacing(source)
    weighted /= weighted.sum(axis=1, keepdims=True)
    return weighted


def _linear(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.interp(target, source, unit) for unit in np.eye(len(source))], axis=1)


def _spacing(source: NDArray[np.float64]) -> NDArray[Any]:
    """How much of the axis each wavelength stands for."""
    if len(source) == 1:
        return np.ones(1)
    steps = np.diff(source)
    return np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]]) / 2


def _checked(values: NDArray[np.floating] | Sequence[float], name: str) -> NDArray[np.float64]:
    result = np.asarray(values, dtype=np.float64).ravel()
    if not len(result) or not np.isfinite(result).all() or (np.diff(result) <= 0).any():
        raise InvalidData(f"the wavelengths '{name}' are empty, not finite or do not increase")
    return result
