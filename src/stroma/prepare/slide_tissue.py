"""The tissue of one slide, as the options say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UsageError
from stroma.images.image import Image
from stroma.prepare.tissue_options import TissueSettings
from stroma.slides.folds import fold_mask
from stroma.slides.overview import Overview, block_mean, read_overview, read_overview_at
from stroma.slides.pen_ink import ink_mask
from stroma.slides.tissue import clean_mask, smooth_mask, tissue_mask

_INK_MAX_DIMENSION = 2048
_FOLD_MAX_DIMENSION = 1024  # folds are far larger than clusters of nuclei, which are as dark


@dataclass(frozen=True)
class Tissue:
    """Tissue that was found on a slide.

    Attributes:
        overview: The picture it was found in.
        mask: (h, w) bool of the overview's size.
        threshold: 0-255; brightness up to it is tissue.
        ink: Fraction of the slide that pen marks cover; 0 when they were not looked for.
        folds: The same of folds.
    """

    overview: Overview
    mask: NDArray[np.bool_]
    threshold: int
    ink: float = 0.0
    folds: float = 0.0

    @property
    def fraction(self) -> float:
        """Fraction of the slide that is tissue, 0-1."""
        return float(self.mask.mean())


def find_tissue(image: Image, options: TissueSettings) -> Tissue:
    """Find the tissue on a slide.

    Pen marks are set to white before the threshold is chosen, so that they do not shift it, and folds are taken
    out afterwards. Then outlines are smoothed, holes filled, and small pieces dropped, in this order.

    Raises:
        UsageError: an area in µm² for a slide of unknown resolution.
        InvalidData: the image is neither RGB nor gray of 8 bits.
        UnreadableImage: the file is damaged.
    """
    max_hole, min_area = _area_limits(image, options)
    overview = tissue_overview(image, options)
    rgb, ink, folds = overview.rgb, 0.0, 0.0
    with stage("transform"):
        if options.reject_ink:
            marks = _on_smaller(overview, _INK_MAX_DIMENSION, ink_mask)
            ink = float(marks.mean())
            rgb = np.where(marks[:, :, None], np.uint8(255), rgb)
        threshold, mask = tissue_mask(
            rgb,
            threshold=options.threshold,
            multiplier=options.multiplier,
            sigma=options.sigma,
            method=options.tissue_method,
        )
        if options.reject_ink:
            mask &= ~marks  # the blur carries tissue into their edges
        if options.reject_folds:
            folded = _on_smaller(Overview(rgb, overview.downsample), _FOLD_MAX_DIMENSION, fold_mask, mask) & mask
            folds = float(folded.mean())
            mask &= ~folded
        mask = smooth_mask(mask, options.smooth_px)
        pixel_area = math.prod(overview.downsample)
        mask = clean_mask(mask, min_area_px=min_area / pixel_area, max_hole_px=max_hole / pixel_area)
    return Tissue(overview, mask, threshold, ink, folds)


def tissue_overview(image: Image, options: TissueSettings) -> Overview:
    """The small picture in which tissue is looked for."""
    downsample = options.tissue_downsample
    if options.tissue_mpp is not None:
        downsample = options.tissue_mpp / known_mpp(image, "--tissue-mpp")
    if downsample is None:
        return read_overview(image, options.tissue_max_dimension)
    return read_overview_at(image, downsample)


def _on_smaller(
    overview: Overview,
    max_dimension: int,
    find: Callable[..., NDArray[np.bool_]],
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Call `find(rgb)` or `find(rgb, mask)` on a picture of at most `max_dimension`; its mask at full size."""
    height, width = overview.rgb.shape[:2]
    factor = -(-max(height, width) // max_dimension)
    small = overview.shrink(max_dimension).rgb
    if mask is None:
        found = find(small)
    else:
        covered = block_mean(np.where(mask, np.uint8(255), np.uint8(0))[:, :, None], factor)[:, :, 0]
        found = find(small, covered >= 128)
    return found.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]


def _area_limits(image: Image, options: TissueSettings) -> tuple[float, float]:
    """Largest hole to fill and smallest piece to keep, in level-0 pixels."""
    has_hole_limit = options.max_hole_um2 is not None or options.max_hole_px is not None
    max_hole = _area("--max-hole", image, options.max_hole_um2, options.max_hole_px)
    if options.fill_holes and not has_hole_limit:
        max_hole = math.inf
    return max_hole, _area("--min-area", image, options.min_area_um2, options.min_area_px)


def _area(flag: str, image: Image, um2: float | None, px: float | None) -> float:
    if um2 is None:
        return px or 0.0
    return um2 / known_mpp(image, f"{flag}-um2") ** 2


_IN_PIXELS = {
    "--mpp": "say --downsample 2 instead: level-0 pixels per pixel, whatever their size",
    "--tile-um": "give the tiles in pixels with --tile-px",
    "--tissue-mpp": "say --tissue-downsample 16 instead",
    "--max-hole-um2": "give the area in level-0 pixels with --max-hole-px",
    "--min-area-um2": "give the area in level-0 pixels with --min-area-px",
}


def known_mpp(image: Image, flag: str) -> float:
    """µm per level-0 pixel.

    Raises:
        UsageError: the file does not state it, and nobody gave it.
    """
    if image.mpp is None:
        raise UsageError(
            f"{flag} needs the size of a pixel, and the file does not state it",
            where=image.path,
            next_step=f"Give it with --source-mpp 0.5, or {_IN_PIXELS.get(flag, f'leave out {flag}')}",
        )
    return image.mpp
