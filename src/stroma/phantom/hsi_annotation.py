"""Annotators of the hyperspectral phantom: they outline each organ a little inside its true border."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from stroma.phantom.shapes import Canvas, smooth_field
from stroma.study.labels import IGNORE

INSET = 0.008
"""Mean distance of an outline from the true border, in scene units."""
SMALLEST_AREA = 0.004
"""Organs that show less than this share of the picture are not annotated."""


def annotate(
    rng: Generator, canvas: Canvas, truth: NDArray[np.uint8], *, shift: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.uint8]:
    """Outline the organs of a scene as one annotator would.

    Outlines keep a varying distance from the true borders, so that mixed pixels stay unlabelled, and those of one
    annotator never overlap.

    Args:
        rng: Source of randomness: the annotator's hand.
        canvas: The picture.
        truth: (height, width) class indices, 255 elsewhere.
        shift: (right, down) by which all outlines are misplaced, in scene units.

    Returns:
        (height, width) class indices, 255 where not annotated.
    """
    result = np.full_like(truth, IGNORE)
    distance_px = INSET * canvas.height * np.clip(1 + 0.5 * smooth_field(rng, canvas, 0.08), 0.3, 2)
    for index in np.unique(truth[truth != IGNORE]):
        inside = ndimage.distance_transform_edt(truth == index) > np.maximum(distance_px, 1)
        inside = ndimage.binary_opening(inside, iterations=max(1, round(0.004 * canvas.height)))
        if inside.sum() >= SMALLEST_AREA * truth.size:
            result[inside] = index
    right, down = (round(value * canvas.height) for value in shift)
    return _moved(result, right, down)


def _moved(labels: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    height, width = labels.shape
    result = np.full_like(labels, IGNORE)
    source = labels[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    result[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)] = source
    return result
