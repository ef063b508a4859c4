"""Lattices of even patches in a picture: where chips may be, which of them stand in rows, and their perspective."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EDGES = (3.0, 6.0, 12.0, 24.0)
"""Steepness, in grey levels per pixel, above which a pixel belongs to no patch; each is tried."""

_SMALLEST_SIDE_PX = 6
_MOST_PATCHES = 600
_FEWEST_IN_LATTICE = 8


@dataclass(frozen=True)
class Lattice:
    """Patches in rows and columns.

    Attributes:
        places: (n, 2) whole numbers: column and row of each patch.
        centres: (n, 2) x and y of its centre in pixels (the centre of the top-left pixel is 0, 0).
        sides: (n,) root of its area in pixels.
    """

    places: NDArray[np.int64]
    centres: NDArray[np.float64]
    sides: NDArray[np.float64]


def find_lattices(rgb: NDArray[np.uint8]) -> list[Lattice]:
    """Find patches of even colour that stand in rows and columns, turned and in perspective.

    Args:
        rgb: (h, w, 3).

    Returns:
        Lattices of at least 8 patches, of every steepness of edges that was tried.
    """
    steepness = np.max(
        [ndimage.gaussian_gradient_magnitude(rgb[:, :, i].astype(np.float32), 1.0) for i in range(3)], axis=0
    )
    found = []
    for limit in _EDGES:
        centres, sides = _patches(steepness < limit)
        left = np.ones(len(centres), dtype=bool)
        while left.sum() >= _FEWEST_IN_LATTICE:
            best = max((_grow(seed, centres, sides, left) for seed in _seeds(sides, left)), key=len, default={})
            if len(best) < _FEWEST_IN_LATTICE:
                break
            members = list(best)
            found.append(Lattice(np.array([best[i] for i in members]), centres[members], sides[members]))
            left[members] = False
    return found


def _patches(is_even: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (x, y) and sides of the connected areas that are about as full as a quadrilateral."""
    labels, count = ndimage.label(is_even)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    largest = is_even.size / 30
    kept = []
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None or not _SMALLEST_SIDE_PX**2 <= areas[index] <= largest:
            continue
        rows, columns = np.nonzero(labels[box] == index)
        spread = np.cov(np.stack([columns, rows]).astype(np.float64))
        variances = np.linalg.eigvalsh(spread)
        # a filled rectangle of sides a and b has the variances a²/12 and b²/12
        fullness = areas[index] / (12 * np.sqrt(max(variances[0] * variances[1], 1e-6)))
        if fullness > 0.85 and variances[1] < 5 * variances[0]:
            kept.append((columns.mean() + box[1].start, rows.mean() + box[0].start, np.sqrt(areas[index])))
    table = np.array(sorted(kept, key=lambda entry: -entry[2])[:_MOST_PATCHES]).reshape(-1, 3)
    return table[:, :2], table[:, 2]


def _seeds(sides: NDArray[np.float64], left: NDArray[np.bool_]) -> list[int]:
    """Patches to begin with: those with most others of a similar size first."""
    free = np.flatnonzero(left)
    ratio = np.log(sides[free][:, None] / sides[free][None])
    similar = (np.abs(ratio) < 0.3).sum(axis=1)
    return [int(i) for i in free[np.argsort(-similar, kind="stable")][:40]]


def _grow(
    seed: int, centres: NDArray[np.float64], sides: NDArray[np.float64], left: NDArray[np.bool_]
) -> dict[int, tuple[int, int]]:
    """Patches that are reached from `seed` by steps along two directions, with their column and row."""
    steps = _first_steps(seed, centres, sides, left)
    if steps is None:
        return {}
    placed = {seed: (0, 0)}
    taken = {(0, 0)}
    queue = deque([(seed, steps)])
    while queue:
        at, (along, down) = queue.popleft()
        column, row = placed[at]
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            step = sign * (along if axis == 0 else down)
            place = (column + sign, row) if axis == 0 else (column, row + sign)
            if place in taken:
                continue
            offsets = np.linalg.norm(centres - centres[at] - step, axis=1)
            offsets[~left] = np.inf
            near = int(offsets.argmin())
            is_alike = 0.6 < sides[near] / sides[at] < 1.6
            if offsets[near] > 0.25 * np.linalg.norm(step) or near in placed or not is_alike:
                continue
            seen = sign * (centres[near] - centres[at])
            new = (0.5 * (along + seen), down) if axis == 0 else (along, 0.5 * (down + seen))
            placed[near] = place
            taken.add(place)
            queue.append((near, new))
    return placed


def _first_steps(
    seed: int, centres: NDArray[np.float64], sides: NDArray[np.float64], left: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The steps to the nearest patch and to one across, so that (along, down) turns like (right, down)."""
    offsets = centres - centres[seed]
    lengths = np.linalg.norm(offsets, axis=1)
    alike = left & (np.abs(np.log(sides / sides[seed])) < 0.4)
    near = [int(i) for i in np.argsort(lengths, kind="stable") if alike[i] and 0 < lengths[i] < 2.6 * sides[seed]][:8]
    if not near:
        return None
    along = offsets[near[0]]
    for other in near[1:]:
        cosine = along @ offsets[other] / (lengths[near[0]] * lengths[other])
        if abs(cosine) < 0.4 and lengths[other] < 1.7 * lengths[near[0]]:
            down = offsets[other]
            return (along, down) if along[0] * down[1] - along[1] * down[0] > 0 else (along, -down)
    return None


def fit_homography(
    places: NDArray[np.floating], centres: NDArray[np.floating], *, worst: float = 0.2
) -> NDArray[np.float64]:
    """The perspective that maps places on a lattice to pixels (direct linear transform; Hartley & Zisserman, 2003).

    Points that lie further off than `worst` steps of the lattice are left out, and it is fitted again.

    Args:
        places: (n, 2), n ≥ 4 and not all in a line.
        centres: (n, 2) pixels.
        worst: In steps of the lattice.

    Returns:
        (3, 3) matrix; see `project`.
    """
    kept = np.ones(len(places), dtype=bool)
    matrix = _direct_linear(places, centres)
    for _ in range(4):
        step = np.linalg.norm(project(matrix, places + [0.5, 0]) - project(matrix, places - [0.5, 0]), axis=1)
        inside = np.linalg.norm(project(matrix, places) - centres, axis=1) < worst * step
        if inside.sum() < 6 or (inside == kept).all():
            break
        kept = inside
        matrix = _direct_linear(places[kept], centres[kept])
    return matrix


def project(matrix: NDArray[np.float64], places: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pixels (…, 2) of places (…, 2)."""
    points = np.concatenate([places, np.ones((*places.shape[:-1], 1))], axis=-1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(points[..., :2] / points[..., 2:])


def _direct_linear(places: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.float64]:
    (a, to_a), (b, to_b) = _normalised(places), _normalised(centres)
    one, none = np.ones(len(a)), np.zeros((len(a), 3))
    point = np.column_stack([a, one])
    rows = [np.hstack([point, none, -b[:, :1] * point]), np.hstack([none, point, -b[:, 1:] * point])]
    solution = np.linalg.svd(np.vstack(rows))[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(to_b) @ solution @ to_a
    return np.asarray(matrix / matrix[2, 2])


def _normalised(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points around 0 with a mean distance of √2, and the matrix that made them so."""
    centre = points.mean(axis=0)
    scale = np.sqrt(2) / max(float(np.linalg.norm(points - centre, axis=1).mean()), 1e-12)
    matrix = np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])
    return (points - centre) * scale, matrix
