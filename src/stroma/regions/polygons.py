"""Polygons to masks: which pixels of a window, at any resolution, lie inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.errors import UsageError

_PAINT_PIXELS = 1 << 21
_CROSSINGS = 1 << 21


def mask_from_polygons(
    polygons: Sequence[Any] | NDArray[np.object_],
    x: int,
    y: int,
    w: int,
    h: int,
    *,
    downsample: float = 1.0,
    values: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    background: int = 0,
    dtype: Any = np.uint8,
) -> NDArray[Any]:
    """Draw polygons into a mask of a window.

    A pixel belongs to a polygon if its centre lies inside: pixel (row, column) of the mask has its centre at
    (x + (column + 0.5) · downsample, y + (row + 0.5) · downsample). A centre on a left or top border counts,
    on a right or bottom border not, so that polygons with a common border never share a pixel or leave one
    out. Holes are holes; a part that a ring winds round twice is outside (even-odd rule).

    Args:
        polygons: Shapely polygons or multi-polygons in level-0 pixels.
        x: Left edge of the window in level-0 pixels.
        y: Its top edge.
        w: Its width in level-0 pixels.
        h: Its height in level-0 pixels.
        downsample: Level-0 pixels per pixel of the mask.
        values: Value of each polygon (default 1); a later polygon is drawn over an earlier one.
        background: Value of pixels in no polygon.
        dtype: Integer type of the mask.

    Returns:
        (round(h / downsample), round(w / downsample)).

    Raises:
        UsageError: the window is empty, or there are not as many values as polygons.
    """
    if w <= 0 or h <= 0 or downsample <= 0:
        raise UsageError(f"the window x={x} y={y} w={w} h={h} at a downsample of {downsample:g} is empty")
    shapes = np.asarray(polygons, dtype=object)
    numbers = np.ones(len(shapes), dtype=np.int64) if values is None else np.asarray(values)
    if len(numbers) != len(shapes):
        raise UsageError(f"there are {len(shapes)} polygons and {len(numbers)} values")
    mask = np.full((max(1, round(h / downsample)), max(1, round(w / downsample))), background, dtype=dtype)
    if not len(shapes):
        return mask
    near = np.flatnonzero(shapely.intersects(shapely.box(x, y, x + w, y + h), shapely.envelope(shapes)))
    edges, owner = ring_edges(shapes[near])
    edges = (edges - (x, y, x, y)) / downsample
    for part in _groups(edges, owner, mask.shape[0]):
        spans = _spans(edges[part], owner[part], *mask.shape)
        _draw(mask, spans, numbers[near])
    return mask


def ring_edges(shapes: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges (n, 4) as x0, y0, x1, y1 of all rings, and the index of the shape of each (ascending)."""
    parts, part_owner = shapely.get_parts(shapes, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    points, point_ring = shapely.get_coordinates(rings, return_index=True)
    same = point_ring[1:] == point_ring[:-1]
    edges = np.concatenate([points[:-1][same], points[1:][same]], axis=1)
    return edges, part_owner[ring_part[point_ring[1:][same]]]


def _groups(edges: NDArray[np.float64], owner: NDArray[np.int64], height: int) -> list[slice]:
    """Slices of edges of whole shapes with a bounded number of crossings, so that memory stays bounded."""
    if not len(edges):
        return []
    crossings = np.minimum(np.abs(edges[:, 3] - edges[:, 1]) + 1, height)
    group = (np.cumsum(crossings) // _CROSSINGS).astype(np.int64)
    starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    cuts = starts[np.concatenate([[True], group[starts][1:] != group[starts][:-1]])]
    bounds = [*cuts.tolist(), len(edges)]
    return [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _spans(
    edges: NDArray[np.float64], owner: NDArray[np.int64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Stretches of pixels inside: shape, row, first column and one past the last, ordered by shape."""
    x0, y0, x1, y1 = edges.T
    low = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    amount = high - low
    which = np.repeat(np.arange(len(edges)), amount)
    row = np.arange(len(which)) - np.repeat(np.cumsum(amount) - amount - low, amount)
    crossing = x0[which] + (row + 0.5 - y0[which]) * (x1[which] - x0[which]) / (y1[which] - y0[which])
    order = np.lexsort((crossing, row, owner[which]))
    begin, end = order[::2], order[1::2]
    first = np.clip(np.ceil(crossing[begin] - 0.5), 0, width).astype(np.int64)
    beyond = np.clip(np.ceil(crossing[end] - 0.5), 0, width).astype(np.int64)
    seen = beyond > first
    return owner[which[begin]][seen], row[begin][seen], first[seen], beyond[seen]


def _draw(
    mask: NDArray[Any],
    spans: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    numbers: NDArray[Any],
) -> None:
    """Set the pixels of the spans in order, so that later shapes lie over earlier ones."""
    shape, row, first, beyond = spans
    amount = beyond - first
    group = np.cumsum(amount) // _PAINT_PIXELS
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(amount)] if len(amount) else [0]
    flat = mask.reshape(-1)
    start = row * mask.shape[1] + first
    for a, b in zip(cuts[:-1], cuts[1:], strict=True):
        size = amount[a:b]
        index = np.arange(int(size.sum())) + np.repeat(start[a:b] - (np.cumsum(size) - size), size)
        flat[index] = np.repeat(numbers[shape[a:b]], size)
