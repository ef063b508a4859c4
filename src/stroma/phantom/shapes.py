"""Smooth random fields and shapes in scene units, the same scene at every resolution.

A scene is 1 unit high and `width / height` units wide, origin at the outer corner of the top-left pixel. Random
numbers are drawn per scene, never per pixel: a larger picture of the same seed shows the same scene in more detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Map = NDArray[np.float32]

# Mean over phases of the sum of squared weights of a cubic B-spline: the variance that it leaves of white noise.
_SPLINE_VARIANCE = 151 / 315


@dataclass(frozen=True)
class Canvas:
    """The pixels of a picture.

    Attributes:
        height: Pixels.
        width: Pixels.
    """

    height: int
    width: int

    @property
    def aspect(self) -> float:
        """Width of the scene; its height is 1."""
        return self.width / self.height

    @cached_property
    def x(self) -> Map:
        """(1, width) horizontal positions of the pixel centres."""
        return _centres(self.width, self.height)[None]

    @cached_property
    def y(self) -> Map:
        """(height, 1) vertical positions of the pixel centres."""
        return _centres(self.height, self.height)[:, None]


def _centres(count: int, height: int) -> Map:
    return np.asarray((np.arange(count) + 0.5) / height, dtype=np.float32)


def smooth_field(rng: Generator, canvas: Canvas, size: float) -> Map:
    """A stationary random field of mean 0 and variance about 1, made of cubic B-splines with random weights.

    Args:
        rng: Source of randomness; the number of draws depends on `size` and the aspect alone.
        canvas: Where to evaluate it.
        size: Distance between knots, about half a wave, in scene units.

    Returns:
        (height, width).
    """
    weights = rng.standard_normal((int(np.ceil(1 / size)) + 3, int(np.ceil(canvas.aspect / size)) + 3))
    rows = _spline_basis(canvas.y[:, 0] / size, weights.shape[0])
    columns = _spline_basis(canvas.x[0] / size, weights.shape[1])
    return (rows @ weights.astype(np.float32) @ columns.T) / np.float32(_SPLINE_VARIANCE)


def _spline_basis(position: Map, knots: int) -> Map:
    """(n, knots) values of the uniform cubic B-splines that begin at knot i - 3."""
    distance = np.abs(position[:, None] + 1 - np.arange(knots, dtype=np.float32))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


@dataclass(frozen=True)
class Shape:
    """An object lying in the scene.

    Attributes:
        depth: (height, width) distance to its outline, positive inside, in scene units (approximate).
        height: (height, width) 0 at the outline to 1 at the top of its bulge; 0 outside.
        along: (height, width) position along its axis in scene units (tubes), or direction in radians (blobs).
        across: (height, width) position across its axis, -1 to 1 (tubes), or radius 0-1 (blobs).
    """

    depth: Map
    height: Map
    along: Map
    across: Map


def blob(
    rng: Generator,
    canvas: Canvas,
    *,
    centre: tuple[float, float],
    radius: float,
    elongation: float = 1.0,
    wobble: float = 0.12,
    bend: float = 0.0,
) -> Shape:
    """A rounded organ: an ellipse at a random angle whose radius varies with the direction.

    Args:
        rng: Source of randomness.
        canvas: Where to draw it.
        centre: (x, y) in scene units.
        radius: Geometric mean of its half axes.
        elongation: Long over short axis.
        wobble: Relative variation of the radius with the direction.
        bend: Curvature of the long axis, 0 straight to about 1 for a bean.
    """
    angle = rng.uniform(0, np.pi)
    dx, dy = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    long = (np.cos(angle) * dx + np.sin(angle) * dy) / (radius * np.sqrt(elongation))
    short = (-np.sin(angle) * dx + np.cos(angle) * dy) / (radius / np.sqrt(elongation))
    short = short + np.float32(bend) * (long**2 - 0.4)
    direction = np.arctan2(short, long)
    outline = np.ones_like(direction)
    for order in range(2, 6):
        phase, amplitude = rng.uniform(0, 2 * np.pi), rng.normal(0, wobble / order)
        outline += np.float32(amplitude) * np.cos(order * direction + np.float32(phase))
    ratio = np.hypot(long, short) / np.clip(outline, 0.4, None)
    height = np.sqrt(np.clip(1 - ratio**2, 0, None))
    return Shape(radius * (1 - ratio), height, direction, np.minimum(ratio, 1))


def tube(
    canvas: Canvas,
    points: NDArray[np.float64],
    *,
    radius: float,
    bulge_period: float = 0.0,
    bulge: float = 0.0,
) -> Shape:
    """A tube of a given radius around a smooth line.

    Args:
        canvas: Where to draw it.
        points: (n, 2) x, y of the line in scene units, closely spaced; see `smooth_line`.
        radius: In scene units.
        bulge_period: Length of a segment between two constrictions, 0 for none.
        bulge: Relative depth of the constrictions.
    """
    steps = np.diff(points, axis=0)
    length = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
    pixels = np.stack(np.broadcast_arrays(canvas.x, canvas.y), axis=-1).reshape(-1, 2)
    _, nearest = cKDTree(points).query(pixels, distance_upper_bound=1.5 * radius)
    outside = nearest == len(points)
    nearest[outside] = 0
    tangents = np.gradient(points, axis=0)
    tangents /= np.maximum(np.hypot(*tangents.T), 1e-9)[:, None]
    offset, tangent = pixels - points[nearest], tangents[nearest]
    # between two points of the line, as far as half a step: without it the surface would show the points
    ahead = np.clip((offset * tangent).sum(axis=1), -steps.max() / 2, steps.max() / 2)
    offset -= ahead[:, None] * tangent
    side = np.sign(tangent[:, 0] * offset[:, 1] - tangent[:, 1] * offset[:, 0])
    shape = (canvas.height, canvas.width)
    along = (length[nearest] + ahead).astype(np.float32).reshape(shape)
    distance = np.where(outside, 1.5 * radius, np.hypot(*offset.T)).astype(np.float32).reshape(shape)
    local = np.full(shape, radius, dtype=np.float32)
    if bulge_period:
        local *= 1 - np.float32(bulge) * (1 - np.abs(np.sin(np.pi * along / np.float32(bulge_period))))
    across = np.clip(distance / local, 0, 1) * side.astype(np.float32).reshape(shape)
    return Shape(local - distance, np.sqrt(1 - across**2), along, across)


def smooth_line(waypoints: NDArray[np.float64], spacing: float = 0.001) -> NDArray[np.float64]:
    """A Catmull-Rom spline through waypoints.

    E. Catmull and R. Rom, Computer Aided Geometric Design, 1974.

    Args:
        waypoints: (n, 2), n at least 2.
        spacing: About the distance between the points returned.

    Returns:
        (m, 2) points from the first to the last waypoint.
    """
    padded = np.concatenate([2 * waypoints[:1] - waypoints[1:2], waypoints, 2 * waypoints[-1:] - waypoints[-2:-1]])
    pieces = []
    for p0, p1, p2, p3 in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        count = max(2, int(np.hypot(*(p2 - p1)) / spacing))
        t = np.linspace(0, 1, count, endpoint=False)[:, None]
        pieces.append(
            0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
        )
    return np.concatenate([*pieces, waypoints[-1:]])


def lobules(rng: Generator, canvas: Canvas, size: float) -> tuple[Map, Map]:
    """A tissue of rounded cells: Voronoi cells of a jittered grid.

    Args:
        rng: Source of randomness.
        canvas: Where to draw them.
        size: Mean distance of neighbours in scene units.

    Returns:
        Height of the cell (height, width), 0 on the border between cells to about 1 in the middle, and a
        random number of the cell, mean 0 and variance 1.
    """
    rows, columns = int(np.ceil(1 / size)) + 2, int(np.ceil(canvas.aspect / size)) + 2
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) - 0.5
    centres = (grid + rng.uniform(-0.35, 0.35, grid.shape)) * size
    value = rng.standard_normal(len(centres)).astype(np.float32)
    pixels = np.stack(np.broadcast_arrays(canvas.x, canvas.y), axis=-1).reshape(-1, 2)
    distance, nearest = cKDTree(centres).query(pixels, k=2)
    border = np.clip((distance[:, 1] - distance[:, 0]) / (0.6 * size), 0, 1)
    shape = (canvas.height, canvas.width)
    return np.sqrt(border).astype(np.float32).reshape(shape), value[nearest[:, 0]].reshape(shape)


def vessels(
    rng: Generator,
    canvas: Canvas,
    *,
    start: tuple[float, float],
    heading: float,
    length: float,
    radius: float,
    branching: int = 3,
) -> Map:
    """A tree of vessels seen from above.

    Args:
        rng: Source of randomness.
        canvas: Where to draw it.
        start: (x, y) of the root.
        heading: Direction of the root in radians, 0 to the right, a quarter turn down.
        length: Of the first segment, in scene units.
        radius: Of the root; every branching makes it 0.7 times as large.
        branching: How often it branches.

    Returns:
        (height, width) 0 to 1, 1 in the middle of a vessel.
    """
    result = np.zeros((canvas.height, canvas.width), dtype=np.float32)
    segments = [(np.array(start), heading, length, radius, branching)]
    while segments:
        origin, direction, reach, width, left = segments.pop()
        turns = np.cumsum(np.concatenate([[0], rng.normal(0, 0.25, 4)]))
        steps = np.stack([np.cos(direction + turns), np.sin(direction + turns)], axis=-1) * reach / 5
        line = smooth_line(np.concatenate([origin[None], origin + np.cumsum(steps, axis=0)]))
        _draw_line(result, canvas, line, max(width, 0.35 / canvas.height))
        if left:
            for fork in (-1, 1):
                new = direction + turns[-1] + fork * rng.uniform(0.3, 0.7)
                segments.append((line[-1], new, reach * rng.uniform(0.6, 0.85), 0.7 * width, left - 1))
    return result


def _draw_line(target: Map, canvas: Canvas, line: NDArray[np.float64], radius: float) -> None:
    """Raise `target` to a smooth profile of a line, in the line's bounding box only."""
    low, high = (line.min(axis=0) - 3 * radius) * canvas.height, (line.max(axis=0) + 3 * radius) * canvas.height
    left, top = np.clip(np.floor(low).astype(int), 0, [canvas.width, canvas.height])
    right, bottom = np.clip(np.ceil(high).astype(int), 0, [canvas.width, canvas.height])
    if right <= left or bottom <= top:
        return
    x, y = np.broadcast_arrays(canvas.x[:, left:right], canvas.y[top:bottom])
    distance, _ = cKDTree(line).query(np.stack([x, y], axis=-1).reshape(-1, 2), distance_upper_bound=3 * radius)
    profile = np.exp(-((distance / radius) ** 2)).astype(np.float32).reshape(bottom - top, right - left)
    region = target[top:bottom, left:right]
    np.maximum(region, profile, out=region)
