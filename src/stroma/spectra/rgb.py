"""Hyperspectral cubes as sRGB pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stroma.core.errors import InvalidData

VISIBLE_NM = (380.0, 780.0)
_BLUE_FROM_NM = 450.0

# IEC 61966-2-1: linear sRGB from CIE XYZ (D65 white)
_XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_D65_XYZ = np.array([0.9505, 1.0000, 1.0890])
_BLOCK = 65_536  # spectra at a time


def colour_matching(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    """CIE 1931 2° colour matching functions x̄, ȳ, z̄.

    The multi-lobe fit of C. Wyman, P.-P. Sloan and P. Shirley, Journal of Computer Graphics Techniques 2(2):1,
    2013, equation 4; it is off by at most about 0.02 from the tabulated functions.

    Args:
        wavelengths_nm: (C,).

    Returns:
        (C, 3).
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    x = (
        1.056 * _lobe(nm, 599.8, 37.9, 31.0)
        + 0.362 * _lobe(nm, 442.0, 16.0, 26.7)
        - 0.065 * _lobe(nm, 501.1, 20.4, 26.2)
    )
    y = 0.821 * _lobe(nm, 568.8, 46.9, 40.5) + 0.286 * _lobe(nm, 530.9, 16.3, 31.1)
    z = 1.217 * _lobe(nm, 437.0, 11.8, 36.0) + 0.681 * _lobe(nm, 459.0, 26.0, 13.8)
    return np.stack([x, y, z], axis=-1)


def _lobe(nm: NDArray[np.float64], centre: float, left: float, right: float) -> NDArray[np.float64]:
    """A Gaussian with its own width on either side of its centre."""
    result: NDArray[np.float64] = np.exp(-0.5 * ((nm - centre) / np.where(nm < centre, left, right)) ** 2)
    return result


def spectrum_to_linear_srgb(wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    """Weights (C, 3) from reflectance to linear sRGB under an even light; a white surface becomes (1, 1, 1).

    Each colour matching function is integrated by the trapezoidal rule over the wavelengths there are, and scaled
    so that white stays white. A cube that begins above 450 nm (Tivita: 500) has hardly any blue, so blue is guessed:
    half of it is the tail of z̄ above 500 nm, half the reflectance from 540 to 580 nm, where blood absorbs about as
    strongly as it does in the blue. Surfaces that differ only below 500 nm look the same.

    Args:
        wavelengths_nm: (C,), ascending.

    Raises:
        InvalidData: fewer than three wavelengths are visible, or they do not ascend.
    """
    nm = np.asarray(wavelengths_nm, dtype=np.float64)
    visible = (nm >= VISIBLE_NM[0]) & (nm <= VISIBLE_NM[1])
    if visible.sum() < 3 or np.any(np.diff(nm) <= 0):
        raise InvalidData(
            f"a picture needs three or more ascending wavelengths within {VISIBLE_NM[0]:g}-{VISIBLE_NM[1]:g} nm, "
            f"there are {int(visible.sum())}",
            next_step="Show a single channel instead",
        )
    widths = np.gradient(nm)
    widths[[0, -1]] /= 2
    weights = colour_matching(nm) * widths[:, None]
    sums = weights.sum(axis=0)
    if np.any(sums <= 1e-3):
        raise InvalidData(
            f"wavelengths from {nm[0]:g} to {nm[-1]:g} nm do not reach all three colour matching functions",
            next_step="Show a single channel instead",
        )
    weights /= sums
    like_blue = widths * ((nm >= 540) & (nm <= 580))
    if nm[0] > _BLUE_FROM_NM and like_blue.any():
        weights[:, 2] = (weights[:, 2] + like_blue / like_blue.sum()) / 2
    result: NDArray[np.float64] = (weights * _D65_XYZ) @ _XYZ_TO_SRGB.T
    return result


def hsi_to_rgb(cube: NDArray[Any], wavelengths_nm: ArrayLike, *, gain: float = 1.0) -> NDArray[np.uint8]:
    """Picture of a cube as a person would see it under white light; see `spectrum_to_linear_srgb` for its limits.

    Args:
        cube: (..., C) reflectance, 1 = white reference; values outside 0-1 and not finite ones are clipped.
        wavelengths_nm: (C,), ascending.
        gain: Exposure: reflectance is multiplied by it before the sRGB curve.

    Returns:
        (..., 3) uint8 sRGB.

    Raises:
        InvalidData: the wavelengths do not cover the visible range.
    """
    weights = (gain * spectrum_to_linear_srgb(wavelengths_nm)).astype(np.float32)
    spectra = cube.reshape(-1, cube.shape[-1])
    result = np.empty((len(spectra), 3), dtype=np.uint8)
    for start in range(0, len(spectra), _BLOCK):
        linear = np.nan_to_num(spectra[start : start + _BLOCK].astype(np.float32) @ weights)
        result[start : start + _BLOCK] = np.rint(255 * srgb_curve(np.clip(linear, 0, 1)))
    return result.reshape(*cube.shape[:-1], 3)


def srgb_curve(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sRGB transfer curve of values 0-1 (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
