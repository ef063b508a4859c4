"""Tissue microarrays: which piece of tissue is which core of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_MOST_CORES = 1000
_MOST_ROWS = 60


@dataclass(frozen=True)
class Core:
    """One core of a tissue microarray.

    Attributes:
        name: `spot_<number>` as HistoPrep calls it; numbers count the places of the grid, also empty ones, row by
            row from 1. Several pieces in one place are `spot_<number>-1`, `spot_<number>-2`, from left to right.
        row, column: Place in the grid, from 0.
        x, y, w, h: Bounding box in pixels of the mask.
    """

    name: str
    row: int
    column: int
    x: int
    y: int
    w: int
    h: int


def find_cores(
    mask: NDArray[np.bool_],
    *,
    min_area_px: float = 10,
    min_relative_area: float = 0.2,
    max_relative_area: float = 2.0,
) -> list[Core]:
    """Find the cores of a tissue microarray and number them, as HistoPrep does.

    Holes are filled; pieces smaller than `min_area_px`, and then those whose area is not between the two multiples of
    the median area, are left out. The array may be rotated: the commonest direction between two cores, apart from
    multiples of 45°, is taken for its rotation. Rows and columns are clusters of the turned centres (Ward 1963), as
    many as give the best silhouette (Rousseeuw 1987).

    Args:
        mask: (H, W) bool, tissue.
        min_area_px: Smallest area of a core in pixels of the mask.
        min_relative_area: Smallest area relative to the median.
        max_relative_area: Largest area relative to the median.

    Returns:
        The cores, by row and column; empty when there are none or over 1,000 pieces, which no array has.
    """
    labels, _ = ndimage.label(ndimage.binary_fill_holes(mask), structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = areas[areas >= max(1.0, min_area_px)]
    if not len(large):
        return []
    median = np.median(large)
    low, high = max(1.0, min_area_px, min_relative_area * median), max_relative_area * median
    kept = np.flatnonzero((areas >= low) & (areas <= high))
    if not 0 < len(kept) <= _MOST_CORES:
        return []
    objects = ndimage.find_objects(labels)
    boxes = np.array([_box(objects[index - 1]) for index in kept])
    centres = _turned(boxes[:, :2] + boxes[:, 2:] // 2)
    columns, rows = (_clusters(centres[:, axis]) for axis in (0, 1))
    return _numbered(boxes, rows, columns, centres[:, 0])


def _box(place: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = place
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start


def _turned(centres: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centres (n, 2) as x, y, turned so that rows are level, rotations of up to 22.5° undone."""
    difference = centres[:, None, :] - centres[None, :, :]
    degrees = np.degrees(np.arctan2(difference[..., 1], difference[..., 0])).ravel()
    beside = np.sign(degrees) * np.round(np.abs(degrees) / 45) * 45
    values, counts = np.unique(np.round(degrees - beside), return_counts=True)
    angle = np.radians(values[np.argmax(counts)])
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned: NDArray[np.float64] = centres @ matrix
    return turned


def _clusters(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the cluster of each value, 0 for the smallest."""
    if len(values) <= 2:
        return np.zeros(len(values), dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage  # for microarrays alone; to import them takes a second
    from sklearn.metrics import silhouette_score

    points = values[:, None]
    tree = linkage(points, method="ward")
    best, labels = -2.0, np.zeros(len(values), dtype=np.int64)
    for count in range(2, min(len(values), _MOST_ROWS + 1)):
        candidate = fcluster(tree, count, criterion="maxclust")
        if len(np.unique(candidate)) != count:
            continue
        score = float(silhouette_score(points, candidate))
        if score > best:
            best, labels = score, candidate
    means = {label: values[labels == label].mean() for label in np.unique(labels)}
    order = {label: rank for rank, label in enumerate(sorted(means, key=lambda label: float(means[label])))}
    return np.array([order[label] for label in labels], dtype=np.int64)


def _numbered(
    boxes: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], across: NDArray[np.float64]
) -> list[Core]:
    width = int(columns.max()) + 1
    places: dict[tuple[int, int], list[int]] = {}
    for index in np.argsort(across, kind="stable").tolist():
        places.setdefault((int(rows[index]), int(columns[index])), []).append(index)
    cores = []
    for (row, column), members in sorted(places.items()):
        number = row * width + column + 1
        for position, index in enumerate(members, start=1):
            name = f"spot_{number}" + (f"-{position}" if len(members) > 1 else "")
            cores.append(Core(name, row, column, *boxes[index].tolist()))
    return cores
