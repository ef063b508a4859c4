"""Masks of class indices from segmentations that people drew in MITK."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stroma.regions.nrrd import read_mitk_nrrd
from stroma.study.labels import IGNORE, LabelMapping

_NUMBER = re.compile(r"\d+_")
_EXTERIOR = ("Exterior", "unlabeled")


def read_mitk_mask(path: Path, labels: LabelMapping) -> tuple[NDArray[np.uint8], int]:
    """Read an NRRD file of MITK as one mask; a pixel that layers label differently counts as not annotated.

    Args:
        path: `<timestamp>#semantic#primary.nrrd`; a number before a name (`03_liver`) is left out.
        labels: The classes, by name.

    Returns:
        (h, w) class indices, `IGNORE` (255) where not annotated, and the number of pixels with several labels.

    Raises:
        InvalidData: a label outside the mapping, or values without a label.
        UnreadableImage: the file is damaged.
    """
    segmentation = read_mitk_nrrd(path)
    layers = []
    for layer, known in zip(segmentation.mask, segmentation.labels, strict=True):
        indices = np.full(layer.shape, IGNORE, dtype=np.uint8)
        for label in known:
            name = _NUMBER.sub("", label.name, count=1) if _NUMBER.match(label.name) else label.name
            inside = layer == label.value
            if label.value != 0 and name not in _EXTERIOR and inside.any():
                indices[inside] = labels.from_name(name, where=path)
        layers.append(indices)
    return collapse_layers(np.stack(layers))


def collapse_layers(layers: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """One mask from several.

    Args:
        layers: (layers, h, w) class indices, `IGNORE` where a layer says nothing.

    Returns:
        (h, w), `IGNORE` also where layers disagree, and the number of those pixels.
    """
    mask = layers[0].copy()
    conflict = np.zeros(mask.shape, dtype=bool)
    for layer in layers[1:]:
        conflict |= (mask != IGNORE) & (layer != IGNORE) & (mask != layer)
        mask = np.where(mask == IGNORE, layer, mask)
    mask[conflict] = IGNORE
    return mask, int(conflict.sum())
