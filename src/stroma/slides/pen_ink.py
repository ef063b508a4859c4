"""Marks of pens on a slide, by the light they absorb."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.errors import UsageError

_ROWS = 256
_SMALLEST_PX = 5
_GROWTH_PX = 12


def ink_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find blue, green, red, yellow and black ink on stained tissue and glass.

    Haematoxylin, eosin and DAB have the optical densities (0.65, 0.70, 0.29), (0.07, 0.99, 0.11) and (0.27, 0.57,
    0.78) in red, green and blue (Ruifrok and Johnston 2001), so no mixture of them absorbs red more than green, or
    green and blue alike while it lets red pass. With the densities r, g, b of a pixel, ink is

    * blue or green: r > 0.4 and r > 1.3 g;
    * red: g > 0.7, b > 0.95 g and r < 0.25 g;
    * yellow: b > 0.7, g < 0.35 b and r < 0.35 b;
    * black: r, g, b > 0.5, and the largest is at most 1.2 times the smallest (nuclei stay above 1.2).

    For all but black, whose drops are small, the picture is averaged over 3 × 3 pixels first. Spots of less than 5
    pixels are dropped. What is left grows
    by up to 12 pixels over its rim: pixels of the same kind that absorb less, and tissue under blue or green ink,
    where r > 0.6 and r > 0.95 g.

    Args:
        rgb: (H, W, 3) uint8, a picture of the slide at about 10 to 50 µm a pixel.

    Returns:
        (H, W) bool, True on ink.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UsageError(f"ink is found on (H, W, 3) uint8 images, not on {rgb.shape} {rgb.dtype}")
    core, rim = np.zeros(rgb.shape[:2], dtype=bool), np.zeros(rgb.shape[:2], dtype=bool)
    for start in range(0, len(rgb), _ROWS):  # in strips: densities take four bytes a value
        first, last = max(0, start - 1), min(len(rgb), start + _ROWS + 1)
        density = optical_density(ndimage.uniform_filter(rgb[first:last], size=(3, 3, 1), mode="nearest"))
        inner = density[start - first : start - first + min(_ROWS, len(rgb) - start)]
        strip = slice(start, start + len(inner))
        core[strip] = _is_coloured_ink(inner) | _is_black(optical_density(rgb[strip]))
        rim[strip] = _is_rim(inner)
    spots, _ = ndimage.label(core, structure=np.ones((3, 3)))
    areas = np.bincount(spots.ravel())
    areas[0] = 0
    core &= (areas >= _SMALLEST_PX)[spots]
    if not core.any():
        return core
    grown: NDArray[np.bool_] = ndimage.binary_dilation(core, np.ones((3, 3)), iterations=_GROWTH_PX, mask=rim | core)
    return grown


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """−log10(value / 255) of (…, 3) uint8; 0 counts as 1."""
    table = -np.log10(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)
    result: NDArray[np.float32] = table[rgb]
    return result


def _is_coloured_ink(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    r, g, b = (density[..., i] for i in range(3))
    blue_or_green = (r > 0.4) & (r > 1.3 * g)
    red = (g > 0.7) & (b > 0.95 * g) & (r < 0.25 * g)
    yellow = (b > 0.7) & (g < 0.35 * b) & (r < 0.35 * b)
    return np.asarray(blue_or_green | red | yellow)


def _is_black(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    smallest, largest = density.min(axis=-1), density.max(axis=-1)
    return np.asarray((smallest > 0.5) & (largest <= 1.2 * smallest))


def _is_rim(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    r, g, b = (density[..., i] for i in range(3))
    blue_or_green = ((r > 0.1) & (r > 1.1 * g)) | ((r > 0.6) & (r > 0.95 * g))
    red = (g > 0.35) & (b > 0.9 * g) & (r < 0.4 * g)
    yellow = (b > 0.2) & (g < 0.4 * b)
    black = (density.min(axis=-1) > 0.25) & (density.max(axis=-1) <= 1.3 * density.min(axis=-1))
    return np.asarray(blue_or_green | red | yellow | black)
