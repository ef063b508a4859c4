"""Masks to polygons along the borders of their pixels, so that drawing them again gives the same mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.errors import UsageError

_STEP_Y = np.array([-1, 0, 1, 0])
_STEP_X = np.array([0, 1, 0, -1])
_CORNER_Y = np.array([0, 0, 1, 1])
_CORNER_X = np.array([0, 1, 1, 0])


def polygons_from_mask(
    mask: NDArray[Any], *, x: float = 0.0, y: float = 0.0, downsample: float = 1.0, simplify_px: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Outline every object of a mask.

    An object is a set of pixels of one value that are connected by their sides; where two parts touch only
    at a corner they are two polygons. Outlines follow the borders of pixels: pixel (row, column) is the
    square from (column, row) to (column + 1, row + 1), its centre lies at +0.5, and `mask_from_polygons`
    gives the same mask back.

    Args:
        mask: (H, W) integers or booleans; 0 is background.
        x: Where the left edge of the mask lies, in level-0 pixels.
        y: Where its top edge lies.
        downsample: Level-0 pixels per pixel of the mask.
        simplify_px: Drop corners that move the outline by at most this many pixels of the mask (Douglas and
            Peucker 1973); 0 keeps it exact.

    Returns:
        The values (n,) and the shapely polygons (n,) in level-0 pixels, holes included, ordered by value, then
        by the first pixel in raster order. All polygons are valid in the sense of the OGC.

    Raises:
        UsageError: the mask has not two axes.
    """
    if mask.ndim != 2:
        raise UsageError(f"a mask of shape {mask.shape} has no outlines: two axes are needed")
    if not mask.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object)
    padded = np.pad(mask.astype(np.int64) if mask.dtype == bool else mask, 1)
    from skimage.measure import label  # takes a quarter of a second

    components = label(padded, connectivity=1, background=0)
    corners, ring, owner = _rings(components)
    polygons = _assemble(corners - 1.0, ring, owner)
    if simplify_px > 0:
        polygons = shapely.simplify(polygons, simplify_px, preserve_topology=True)
    values, first = _component_values(padded, components)
    order = np.lexsort((first, values))
    placed = shapely.transform(polygons[order], lambda points: points * downsample + (x, y))
    return values[order], placed


def _component_values(
    padded: NDArray[Any], components: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Value and first pixel of the components 1, 2, …."""
    flat = components.ravel()
    first = np.full(int(flat.max()) + 1, len(flat), dtype=np.int64)
    inside = np.flatnonzero(flat)
    np.minimum.at(first, flat[inside], inside)
    return padded.ravel()[first[1:]].astype(np.int64), first[1:]


def _rings(
    components: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Trace the borders of labelled components.

    A border edge is a pixel and one of its sides (0 top, 1 right, 2 bottom, 3 left), walked with the inside
    on the right hand, so that outer rings have a positive area when y points down, and holes a negative one.

    Returns:
        Corners (n, 2) as x, y; the index of the ring of each (ascending); the component of each ring.
    """
    height, width = components.shape
    sides = np.zeros((height, width, 4), dtype=bool)
    lower, right = components[1:] != components[:-1], components[:, 1:] != components[:, :-1]
    sides[1:, :, 0], sides[:-1, :, 2] = lower, lower
    sides[:, 1:, 3], sides[:, :-1, 1] = right, right
    sides &= (components > 0)[..., None]
    keys = np.flatnonzero(sides)
    following = np.searchsorted(keys, _next_edges(keys, sides.ravel(), width))
    leader, position = _order_cycles(following)
    order = np.lexsort((position, leader))
    pixel, side = np.divmod(keys[order], 4)
    row, column = np.divmod(pixel, width)
    corners = np.stack([column + _CORNER_X[side], row + _CORNER_Y[side]], axis=1)
    ring = np.unique(leader[order], return_inverse=True)[1]
    owner = components.ravel()[pixel[np.searchsorted(ring, np.arange(ring[-1] + 1))]]
    corners, ring, owner = _split_at_repeats(corners, ring, owner)
    bend = _is_bend(corners, ring)
    return corners[bend].astype(np.float64), ring[bend], owner


def _next_edges(keys: NDArray[np.int64], is_edge: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    """The edge that follows each one: right round the same pixel if it can, else straight on, else left."""
    pixel, side = np.divmod(keys, 4)
    turned = (side + 1) % 4
    ahead = pixel + _STEP_Y[turned] * width + _STEP_X[turned]
    outer = ahead + _STEP_Y[side] * width + _STEP_X[side]
    around, straight, left = pixel * 4 + turned, ahead * 4 + side, outer * 4 + (side - 1) % 4
    return np.asarray(np.where(is_edge[around], around, np.where(is_edge[straight], straight, left)))


def _order_cycles(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest member of the cycle of each element, and the steps from it, by doubling pointers."""
    count = len(following)
    leader, pointer = np.arange(count), following
    while True:
        smaller = np.minimum(leader, leader[pointer])
        if np.array_equal(smaller, leader):
            break
        leader, pointer = smaller, pointer[pointer]
    last = following == leader
    remaining = np.where(last, 0, 1)
    pointer = np.where(last, np.arange(count), following)
    while not last[pointer].all():
        remaining = remaining + remaining[pointer]
        pointer = pointer[pointer]
    remaining = remaining + remaining[pointer]
    return leader, -remaining


def _split_at_repeats(
    corners: NDArray[np.int64], ring: NDArray[np.int64], owner: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut rings that pass a corner twice (an object touching itself) into rings that do not."""
    ids = np.column_stack([ring, corners])
    repeated = np.unique(ids, axis=0, return_counts=True)
    touching = np.unique(repeated[0][repeated[1] > 1][:, 0])
    if not len(touching):
        return corners, ring, owner
    simple = ~np.isin(ring, touching)
    parts, rings, owners = (
        [corners[simple]],
        [np.unique(ring[simple], return_inverse=True)[1]],
        [np.delete(owner, touching)],
    )
    count = len(owners[0])
    begins, ends = (np.searchsorted(ring, touching, side) for side in ("left", "right"))  # `ring` ascends
    for index, begin, end in zip(touching.tolist(), begins.tolist(), ends.tolist(), strict=True):
        for loop in _loops(corners[begin:end]):
            parts.append(loop)
            rings.append(np.full(len(loop), count))
            owners.append(owner[index : index + 1])
            count += 1
    return np.concatenate(parts), np.concatenate(rings), np.concatenate(owners)


def _loops(corners: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The simple loops of a closed walk."""
    loops: list[NDArray[np.int64]] = []
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for x, y in corners.tolist():
        if (x, y) in place:
            start = place[(x, y)]
            loops.append(np.array(path[start:]))
            for point in path[start:]:
                del place[point]
            del path[start:]
        place[(x, y)] = len(path)
        path.append((x, y))
    loops.append(np.array(path))
    return loops


def _is_bend(corners: NDArray[np.int64], ring: NDArray[np.int64]) -> NDArray[np.bool_]:
    """False for corners that lie on a straight line between their neighbours on the ring."""
    first = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
    last = np.concatenate([first[1:], [len(ring)]]) - 1
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    before[first], after[last] = corners[last], corners[first]
    into, out = corners - before, after - corners
    return np.asarray(into[:, 0] * out[:, 1] != into[:, 1] * out[:, 0])


def _assemble(corners: NDArray[np.float64], ring: NDArray[np.int64], owner: NDArray[np.int64]) -> NDArray[np.object_]:
    """One polygon per component, in the order of the components."""
    last = np.concatenate([ring[1:] != ring[:-1], [True]])
    first = np.concatenate([[True], last[:-1]])
    closing = np.insert(np.arange(len(ring)), np.flatnonzero(last) + 1, np.flatnonzero(first))
    closed, index = corners[closing], ring[closing]
    rings = shapely.linearrings(closed, indices=index)
    x, y = corners[:, 0], corners[:, 1]
    end = np.arange(len(ring)) + 1
    end[last] = np.flatnonzero(first)
    doubled = np.bincount(ring, weights=x * y[end] - x[end] * y)
    outer = np.flatnonzero(doubled > 0)
    holes = np.flatnonzero(doubled <= 0)
    shells = rings[outer[np.argsort(owner[outer], kind="stable")]]
    if not len(holes):
        return np.asarray(shapely.polygons(shells))
    holes = holes[np.argsort(owner[holes], kind="stable")]
    polygons = np.asarray(shapely.polygons(shells))
    owners, starts = np.unique(owner[holes], return_index=True)
    for component, group in zip(owners.tolist(), np.split(rings[holes], starts[1:]), strict=True):
        polygons[component - 1] = shapely.Polygon(shells[component - 1], list(group))
    return polygons
