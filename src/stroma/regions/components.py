"""Connected areas of a label map, and joining those that are too small to a neighbour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def connected_areas(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Number the 4-connected areas of equal labels from 0 in raster order of their first pixels, (H, W) int32."""
    from skimage.measure import label

    areas: NDArray[np.int32] = label(labels, connectivity=1, background=-1).astype(np.int32)
    areas -= 1
    return areas


def join_small(labels: NDArray[np.integer], *, minimum_px: int) -> NDArray[np.int32]:
    """Join each 4-connected area below `minimum_px` to the neighbour it shares most border with.

    The smallest areas are joined first, and of equal ones the first in raster order; what has grown to `minimum_px`
    stays. So equal inputs give equal results, and every area of the result is connected.

    Args:
        labels: (H, W), not negative.
        minimum_px: Pixels an area needs to stay.

    Returns:
        (H, W) int32, numbered from 0 in raster order.
    """
    areas = connected_areas(labels)
    size = np.bincount(areas.ravel())
    is_small = size < minimum_px
    if not is_small.any() or len(size) == 1:
        return areas
    area, neighbour, length = _borders(areas, is_small)
    beside_small = np.zeros(len(size), dtype=np.bool_)
    beside_small[area[is_small[neighbour]]] = True
    start = np.arange(len(size))
    alone = ~beside_small[area]  # all neighbours are large and stay, so the longest border is known at once
    order = np.lexsort((neighbour[alone], -length[alone], area[alone]))
    joined, first = np.unique(area[alone][order], return_index=True)
    start[joined] = neighbour[alone][order][first]
    parent = start.tolist()
    small = np.flatnonzero(is_small & beside_small)
    borders: dict[int, dict[int, int]] = {index: {} for index in small.tolist()}
    for one, other, edges in zip(*(part[~alone].tolist() for part in (area, neighbour, length)), strict=True):
        borders[one][other] = edges
    sizes = size.tolist()
    for index in small[np.argsort(size[small], kind="stable")].tolist():
        root = index
        while parent[root] != root:
            root = parent[root]
        if sizes[root] >= minimum_px:
            continue
        shared: dict[int, int] = {}
        for other, edges in borders[root].items():
            while parent[other] != other:
                other = parent[other]
            if other != root:
                shared[other] = shared.get(other, 0) + edges
        if not shared:
            continue
        target = min(shared, key=lambda key: (-shared[key], key)) if len(shared) > 1 else next(iter(shared))
        parent[root] = target
        sizes[target] += sizes[root]
        if sizes[target] < minimum_px or target in borders:
            borders[target] = shared_borders(borders.get(target, {}), shared)
    roots = np.array(parent)
    while (roots != roots[roots]).any():
        roots = roots[roots]
    found, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    number = np.empty(len(found), dtype=np.int32)
    number[np.argsort(first)] = np.arange(len(found), dtype=np.int32)
    return number[inverse][areas]


def shared_borders(one: dict[int, int], other: dict[int, int]) -> dict[int, int]:
    """Lengths of border by neighbour of two areas together."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}


def _borders(
    areas: NDArray[np.int32], wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Borders of wanted areas: area, neighbour, and the number of pixel edges they share, sorted by both."""
    pairs = []
    for one, other in ((areas[:, :-1], areas[:, 1:]), (areas[:-1], areas[1:])):
        differ = one != other
        a, b = one[differ].astype(np.int64), other[differ].astype(np.int64)
        pairs += [np.stack([a, b])[:, wanted[a]], np.stack([b, a])[:, wanted[b]]]
    both = np.concatenate(pairs, axis=1)
    count = int(areas.max()) + 1
    keys, lengths = np.unique(both[0] * count + both[1], return_counts=True)
    area, neighbour = np.divmod(keys, count)
    return area, neighbour, lengths
