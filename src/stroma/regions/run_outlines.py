"""Run lengths to polygons, object by object, without the mask of the whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.regions.outlines import polygons_from_mask
from stroma.regions.rle import Runs


def polygons_from_runs(runs: Runs) -> NDArray[np.object_]:
    """Outline the objects of an image given as runs.

    Objects are pixels connected by their sides; outlines follow the borders of pixels (see `polygons_from_mask`).
    Memory grows with the runs and with the largest object, not with the image.

    Returns:
        Shapely polygons (n,) in pixels of the image, ordered by their first column, then row.
    """
    column, low, high = _by_column(runs)
    if not len(column):
        return np.zeros(0, dtype=object)
    component = _components(column, low, high, runs.height)
    order = np.argsort(component, kind="stable")
    cuts = np.flatnonzero(np.diff(component[order])) + 1
    groups = np.split(order, cuts)
    groups.sort(key=lambda members: int(members[0]))
    result = np.empty(len(groups), dtype=object)
    for index, members in enumerate(groups):
        result[index] = _outline(column[members], low[members], high[members])
    return result


def _by_column(runs: Runs) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Column, first row and one past the last of every stretch, runs over several columns cut in parts."""
    first, last = runs.starts // runs.height, (runs.ends - 1) // runs.height
    amount = last - first + 1
    which = np.repeat(np.arange(len(runs)), amount)
    column = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(amount) - amount, amount)
    top = column * runs.height
    low = np.maximum(runs.starts[which] - top, 0)
    high = np.minimum(runs.ends[which] - top, runs.height)
    return column, low, high


def _components(
    column: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], height: int
) -> NDArray[np.int64]:
    """The component of each stretch: those in neighbouring columns that share a row are connected."""
    begin, end = column * (height + 1) + low, column * (height + 1) + high
    first = np.searchsorted(end, begin + height + 1, side="right")
    beyond = np.searchsorted(begin, end + height + 1, side="left")
    amount = np.maximum(beyond - first, 0)
    one = np.repeat(np.arange(len(column)), amount)
    other = np.arange(len(one)) - np.repeat(np.cumsum(amount) - amount - first, amount)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(len(column), len(column)))
    found: NDArray[np.int64] = connected_components(links, directed=False)[1]
    return found


def _outline(column: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]) -> Any:
    left, top = int(column.min()), int(low.min())
    mask = np.zeros((int(high.max()) - top, int(column.max()) - left + 1), dtype=np.int8)
    flat = np.zeros((mask.shape[0] + 1, mask.shape[1]), dtype=np.int8)
    np.add.at(flat, (low - top, column - left), 1)
    np.add.at(flat, (high - top, column - left), -1)
    np.cumsum(flat[:-1], axis=0, out=mask)
    return polygons_from_mask(mask, x=left, y=top)[1][0]
