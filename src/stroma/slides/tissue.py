"""Where tissue is on a slide: a threshold on a blurred overview, as HistoPrep sets it, and clean-up of the mask."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.errors import UsageError

TissueMethod = Literal["otsu", "saturation"]

_ROWS = 256
_STRIP = 64
_GRAY_WEIGHTS = np.array([9798, 19235, 3735], dtype=np.float32) / 2**15


def tissue_mask(
    rgb: NDArray[np.uint8],
    *,
    threshold: int | None = None,
    multiplier: float = 1.05,
    sigma: float = 1.0,
    method: TissueMethod = "otsu",
) -> tuple[int, NDArray[np.bool_]]:
    """Separate tissue from the bright, colourless background of a slide.

    A pixel is tissue where its blurred brightness is at most the threshold. Without a given threshold that is
    Otsu's (1979) over the pixels that are neither black nor white (scanners fill unscanned areas with these),
    times `multiplier`, rounded and kept in 0 to 255. Pure white has no tissue.

    Args:
        rgb: (H, W, 3) uint8.
        threshold: Fixed threshold, 0 to 255, instead of Otsu's.
        multiplier: Factor on Otsu's threshold; above 1 takes in paler tissue.
        sigma: Standard deviation of the Gaussian blur in pixels of `rgb`; 0 for none.
        method: What counts as brightness. `otsu`: gray after ITU-R BT.601. `saturation`: 255 − the saturation
            of HSV, which passes over gray smears and shadows.

    Returns:
        (threshold, mask): the threshold used and a bool array (H, W), True on tissue.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8, or a parameter is out of its range.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UsageError(f"tissue is found on (H, W, 3) uint8 images, not on {rgb.shape} {rgb.dtype}")
    if threshold is not None and not 0 <= threshold <= 255:
        raise UsageError(f"the tissue threshold {threshold} is outside 0 to 255")
    if sigma < 0:
        raise UsageError(f"the blur's sigma {sigma} is negative")
    shades = gray(rgb)
    brightness = shades if method == "otsu" else _unsaturated(rgb)
    if sigma > 0:
        brightness = gaussian_blur(brightness, sigma)
    if threshold is None:
        filled = brightness if method == "otsu" else shades
        counts = _histogram(brightness, (filled != 0) & (filled != 255))
        threshold = min(255, max(0, int(otsu_threshold(counts) * max(0.0, multiplier) + 0.5)))
    return threshold, brightness <= threshold


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray of (H, W, 3) uint8 after ITU-R BT.601 (0.299 R + 0.587 G + 0.114 B) in 15-bit fixed point, as OpenCV.

    Products and sums of 15 + 8 bit are exact in float32.
    """
    result = np.empty(rgb.shape[:2], dtype=np.uint8)
    for start in range(0, len(rgb), _STRIP):
        strip = slice(start, start + _STRIP)
        result[strip] = rgb[strip].astype(np.float32) @ _GRAY_WEIGHTS + np.float32(0.5)
    return result


def _unsaturated(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 − saturation of HSV (255 · (max − min) / max), rounded; 255 for black."""
    result = np.empty(rgb.shape[:2], dtype=np.uint8)
    for start in range(0, len(rgb), _ROWS):
        block = rgb[start : start + _ROWS]
        largest, smallest = block.max(axis=2).astype(np.uint32), block.min(axis=2).astype(np.uint32)
        twice = 2 * np.maximum(largest, 1)
        saturation = (510 * (largest - smallest) + twice // 2) // twice
        result[start : start + _ROWS] = 255 - saturation
    return result


def _histogram(values: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of pixels of each value; in strips, since NumPy counts in eight bytes a pixel."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(values), _ROWS):
        strip = slice(start, start + _ROWS)
        counts += np.bincount(values[strip][where[strip]], minlength=256)
    return counts


def gaussian_blur(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Gaussian blur of (H, W) uint8, equal to OpenCV's `GaussianBlur` bit by bit.

    The kernel is int(3.5 sigma + 0.5) pixels wide (the next odd number), its weights are multiples of 1/256
    whose rounding errors are carried inwards, the border is mirrored without repeating the edge pixel.
    """
    kernel = _blur_kernel(sigma)
    height = len(image)
    reach = len(kernel) // 2
    mirrored = np.pad(np.arange(height), reach, mode="reflect")
    result = np.empty_like(image)
    for start in range(0, height, _STRIP):
        stop = min(height, start + _STRIP)
        rows = image[mirrored[start : stop + 2 * reach]]
        strip = np.pad(rows, ((0, 0), (reach, reach)), mode="reflect").astype(np.float32)
        both = _weighted(_weighted(strip, kernel).T, kernel).T
        result[start:stop] = (both + np.float32(1 << 15)) * np.float32(2**-16)
    return result


def _weighted(padded: NDArray[np.float32], kernel: NDArray[np.int64]) -> NDArray[np.float32]:
    """Correlate rows with a symmetric kernel; whole numbers below 2^24, which float32 holds exactly."""
    reach = len(kernel) // 2
    length = len(padded) - 2 * reach
    result: NDArray[np.float32] = padded[reach : reach + length] * np.float32(kernel[reach])
    for i in range(reach):
        pair = padded[i : i + length] + padded[2 * reach - i : 2 * reach - i + length]
        pair *= np.float32(kernel[i])
        result += pair
    return result


def _blur_kernel(sigma: float) -> NDArray[np.int64]:
    size = int(3.5 * sigma + 0.5) | 1
    weights = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    weights *= 256 / weights.sum()
    kernel = np.zeros(size, dtype=np.int64)
    carried = 0.0
    for i in range(size // 2):
        wanted = weights[i] + carried
        kernel[i] = kernel[-1 - i] = round(wanted)
        carried = wanted - round(wanted)
    kernel[size // 2] = 256 - kernel.sum()
    return kernel


def otsu_threshold(counts: NDArray[np.integer[Any]]) -> int:
    """The threshold that maximises the variance between the two classes (Otsu 1979).

    Args:
        counts: Number of pixels of each value, index = value.

    Returns:
        The largest value of the darker class; the smallest such threshold when several are equal, 0 when
        there are fewer than two values.
    """
    number = np.cumsum(counts, dtype=np.int64)
    total = np.cumsum(counts * np.arange(len(counts)), dtype=np.int64)
    n, s = int(number[-1]), int(total[-1])
    split = (number > 0) & (number < n)
    if not split.any():
        return 0
    difference = n * total.astype(np.float64) - number.astype(np.float64) * s
    weight = np.where(split, number.astype(np.float64) * (n - number), 1.0)
    return int(np.argmax(np.where(split, difference * difference / weight, -1.0)))


def smooth_mask(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Smooth outlines: close gaps, then remove threads, that are narrower than a disc.

    Args:
        mask: (H, W) bool.
        radius_px: Radius of the disc in pixels of the mask; 0 changes nothing.

    Returns:
        A new bool array (H, W): the mask, closed and then opened (Serra 1982) by the disc. What lies beyond the
        edge counts as the pixel at the edge.
    """
    if radius_px == 0 or not mask.any():
        return mask.copy()
    padded = np.pad(mask, radius_px + 1, mode="edge")
    closed = ~_dilate(~_dilate(padded, radius_px), radius_px)
    smooth = _dilate(~_dilate(~closed, radius_px), radius_px)
    inner = slice(radius_px + 1, -radius_px - 1)
    result: NDArray[np.bool_] = smooth[inner, inner]
    return result


def _dilate(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Pixels at most `radius_px` from the mask: its rows, widened as the disc is there, laid over each other."""
    result = np.zeros_like(mask)
    height = len(mask)
    half_widths = [math.isqrt(radius_px**2 - row**2) for row in range(radius_px + 1)]
    for half_width in set(half_widths):
        wide = ndimage.maximum_filter1d(mask.view(np.uint8), 2 * half_width + 1, axis=1, mode="nearest").view(bool)
        for row in range(-min(radius_px, height - 1), min(radius_px, height - 1) + 1):
            if half_widths[abs(row)] == half_width:
                result[max(0, row) : height + min(0, row)] |= wide[max(0, -row) : height + min(0, -row)]
    return result


def clean_mask(mask: NDArray[np.bool_], *, min_area_px: float = 0, max_hole_px: float = 0) -> NDArray[np.bool_]:
    """Remove specks and fill holes.

    Specks are 8-connected, holes are 4-connected and do not touch the border. Holes are filled first, so a
    ring counts with what it encloses.

    Args:
        mask: (H, W) bool.
        min_area_px: Tissue smaller than this many pixels of the mask is removed.
        max_hole_px: Holes of up to this many pixels are filled; `math.inf` fills all.

    Returns:
        A new bool array (H, W).
    """
    result = mask.copy()
    if max_hole_px > 0:
        holes, areas = _components(~mask, connectivity=1)
        for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
            areas[edge] = 0
        result |= ((areas > 0) & (areas <= max_hole_px))[holes]
    if min_area_px > 0:
        specks, areas = _components(result, connectivity=2)
        result &= (areas >= min_area_px)[specks]
    return result


def _components(mask: NDArray[np.bool_], *, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels of the connected parts, 0 outside, and the area of each label (0 for label 0)."""
    labels: NDArray[np.int32]
    labels, _ = ndimage.label(mask, structure=ndimage.generate_binary_structure(2, connectivity))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return labels, areas
