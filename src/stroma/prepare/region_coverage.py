"""How much of each tile regions cover, band by band, so that no mask of a whole slide is held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.regions.grid import box_coverage

Fractions = dict[str, NDArray[np.float64]]
"""Class → fraction of each tile that its regions cover, 0-1; the empty name stands for all classes together."""

SAMPLES = 128
"""Rows that a tile is sampled with where outlines are drawn."""


@dataclass(frozen=True)
class Part:
    """A piece of a mask: where it begins, (x, y), and level-0 pixels per pixel, (vertical, horizontal)."""

    mask: NDArray[np.bool_]
    place: tuple[float, float]
    downsample: tuple[float, float]


def by_bands(boxes: NDArray[np.int64], parts: Callable[[int, int, int, int], Mapping[str, Part]]) -> Fractions:
    """Coverage of boxes, band by band of boxes of one row.

    Args:
        boxes: (n, 4): x, y, w, h in level-0 pixels.
        parts: Gives the masks by class in a window x, y, w, h.
    """
    result: Fractions = {"": np.zeros(len(boxes))}
    with stage("transform"):
        for members, (x, y, w, h) in _bands(boxes):
            for label, part in parts(x, y, w, h).items():
                if part.mask.any():
                    moved = boxes[members].astype(np.float64) - (*part.place, 0, 0)
                    fractions = box_coverage(part.mask, moved, part.downsample)
                    result.setdefault(label, np.zeros(len(boxes)))[members] = fractions
                result.setdefault(label, np.zeros(len(boxes)))
    return result


def class_parts(
    values: NDArray[np.int64] | NDArray[np.uint8],
    names: Mapping[int, str],
    place: tuple[float, float],
    downsample: tuple[float, float],
) -> dict[str, Part]:
    """The masks of the classes in an array of values; values without a name are outside.

    Args:
        values: (h, w) of any integers.
        names: Value → class; several values may stand for one.
        place: Where the array begins, (x, y) in level-0 pixels.
        downsample: Level-0 pixels per pixel, (vertical, horizontal).
    """
    present = [value for value in np.unique(values).tolist() if value in names]
    masks: dict[str, NDArray[np.bool_]] = {"": np.zeros(values.shape, dtype=bool)}
    for value in present:
        inside = values == value
        for name in ("", names[value]):
            masks[name] = masks[name] | inside if name in masks else inside
    return {name: Part(mask, place, downsample) for name, mask in masks.items()}


def wanted(name: str, classes: Collection[str]) -> bool:
    """Whether regions of a class count; all do when none is named."""
    return not classes or name in classes


def _bands(boxes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], tuple[int, int, int, int]]]:
    """Indices of the boxes of one row and the window around them."""
    rows, owner = np.unique(boxes[:, [1, 3]], axis=0, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1) if len(boxes) else []:
        y, h = rows[owner[members[0]]].tolist()
        left, right = int(boxes[members, 0].min()), int((boxes[members, 0] + boxes[members, 2]).max())
        yield members, (left, y, right - left, h)
