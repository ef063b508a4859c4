"""Folds of tissue, where a section lies on itself: twice as thick, so dark and saturated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.errors import UsageError
from stroma.slides.pen_ink import optical_density

_SIGMA_PX = 3.0
_SMALLEST_PX = 200
_DENSER = 1.7
_DEVIATIONS = 3.0


def fold_mask(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find folds in tissue.

    As Palokangas et al. (2007) and Kothari et al. (2013) do, by the saturation minus the intensity of a pixel,
    which light and thick tissue differ in most. Their thresholds are learned from the slide; here a fold is tissue
    in which that difference lies three robust standard deviations (1.4826 times the median absolute deviation)
    above the median of the tissue, and whose optical density is at least 1.7 times the median, since two layers
    have twice the density of one. Both are averaged with a Gaussian of 3 pixels first, so that single nuclei do not
    count, and folds of less than 200 pixels are dropped.

    Args:
        rgb: (H, W, 3) uint8, a picture of the slide at about 10 to 50 µm a pixel.
        tissue: (H, W) bool.

    Returns:
        (H, W) bool, a part of `tissue`.

    Raises:
        UsageError: the two differ in size.
    """
    if rgb.shape != (*tissue.shape, 3) or rgb.dtype != np.uint8:
        raise UsageError(f"folds are found on uint8 RGB and tissue of one size, not {rgb.shape} and {tissue.shape}")
    if not tissue.any():
        return np.zeros_like(tissue)
    largest, smallest = (channel.astype(np.float32) for channel in (rgb.max(axis=2), rgb.min(axis=2)))
    saturation, intensity = 1 - smallest / np.maximum(largest, 1), rgb.mean(axis=2, dtype=np.float32) / 255
    difference = _mean_over_tissue(saturation - intensity, tissue)
    density = _mean_over_tissue(optical_density(rgb).mean(axis=2), tissue)
    median = np.median(difference[tissue])
    spread = 1.4826 * np.median(np.abs(difference[tissue] - median))
    folded = tissue & (difference > median + _DEVIATIONS * spread)
    folded &= density > _DENSER * np.median(density[tissue])
    parts, _ = ndimage.label(folded, structure=np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray((areas >= _SMALLEST_PX)[parts])


def _mean_over_tissue(values: NDArray[np.floating[Any]], tissue: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Gaussian mean over pixels of tissue only, so that its edges are not mixed with glass."""
    weights = ndimage.gaussian_filter(tissue.astype(np.float32), _SIGMA_PX)
    sums = ndimage.gaussian_filter(np.where(tissue, values, np.float32(0)), _SIGMA_PX)
    result: NDArray[np.float32] = sums / np.maximum(weights, 1e-6)
    return result
