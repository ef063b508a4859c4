"""Specular highlights: pixels in which the lamp is seen mirrored rather than the tissue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ABOVE_REFLECTANCE = 0.6
"""Above this in every band it is a highlight: tissue with blood is dark in at least one (540 to 580 nm)."""

ABOVE_LIGHTNESS = 90.0
"""CIE L* above which a pixel of a picture is a highlight."""


def specular_highlights(pixels: NDArray[Any], above: float = ABOVE_REFLECTANCE) -> NDArray[np.bool_]:
    """Whether each spectrum is a highlight: no band of it is dark.

    A mirrored lamp adds the same to all bands, so that even the bands that blood absorbs are bright. White cloth and
    gauze look the same.

    Args:
        pixels: (..., C) reflectance, 1 = white reference (not normalised).
        above: Smallest reflectance of a highlight.

    Returns:
        (...) bool; False where a value is not a number.
    """
    return np.asarray(pixels.min(axis=-1) > above)


def zero_highlights(pixels: NDArray[np.float32], above: float = ABOVE_REFLECTANCE) -> NDArray[np.float32]:
    """Set the spectra of `specular_highlights` to zero, as if they had not been measured: a preparation step.

    It has to come before steps that normalise.
    """
    highlights = specular_highlights(pixels, above)
    result = pixels.astype(np.float32)
    result[highlights] = 0
    return result


def bright_pixels(rgb: NDArray[np.uint8], above: float = ABOVE_LIGHTNESS) -> NDArray[np.bool_]:
    """Highlights of a picture: pixels whose CIE 1976 lightness L* (0-100) is above a threshold.

    Args:
        rgb: (..., 3) uint8 sRGB.
        above: L* from 0 (black) to 100 (white).

    Returns:
        (...) bool.
    """
    return np.asarray(lightness(rgb) > above)


def lightness(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE 1976 lightness L* (0-100) of (..., 3) uint8 sRGB (IEC 61966-2-1, white of D65), as (...) float32."""
    steps = np.arange(256) / 255.0
    linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4).astype(np.float32)
    luminance = linear[rgb] @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    curved = np.where(luminance > (6 / 29) ** 3, np.cbrt(luminance), luminance * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.asarray(116 * curved - 16, dtype=np.float32)
