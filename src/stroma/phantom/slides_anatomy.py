"""Where everything lies in the tissue of a phantom slide: glomeruli, arteries, tubules. Positions in µm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.phantom.position import Field, lattice, uniform, value_noise
from stroma.phantom.slides_plan import SlidePlan

BODY_STEP_UM = 390.0
"""Glomeruli and arteries lie one in a square of this width, so that they never touch."""
BODY_REACH_UM = 150.0
"""Nothing of a glomerulus or artery lies farther from its centre."""
TUBULE_STEP_UM = 46.0
OUTSIDE = -60.0


@dataclass(frozen=True)
class Body:
    """A glomerulus or an artery: a star-shaped outline r(θ) = radius · (1 + Σ aₖ cos(kθ + φₖ)).

    Attributes:
        x, y: Centre in µm.
        radius: Mean radius in µm.
        waves: (k, aₖ, φₖ).
        glomerulus: Whether it is a glomerulus; otherwise an artery.
    """

    x: float
    y: float
    radius: float
    waves: tuple[tuple[int, float, float], ...]
    glomerulus: bool

    def outline(self, angle: Field) -> Field:
        """Radius in µm in a direction."""
        total = np.ones_like(angle)
        for k, amplitude, phase in self.waves:
            total = total + amplitude * np.cos(k * angle + phase)
        return self.radius * total

    def depth_um(self, x: Field, y: Field) -> Field:
        """Distance inside the outline along the radius; negative outside."""
        dx, dy = x - self.x, y - self.y
        return self.outline(np.arctan2(dy, dx)) - np.hypot(dx, dy)

    def polygon(self, mpp: float, corners: int = 120) -> Any:
        """The outline as a shapely polygon in pixels, rounded as files store it."""
        angle = np.arange(corners, dtype=np.float64) * (2 * np.pi / corners)
        radius = self.outline(angle)
        points = np.stack([self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)], axis=1)
        return shapely.Polygon(np.round(points / mpp, 3))


def bodies_near(plan: SlidePlan, x: float, y: float, w: float, h: float) -> list[Body]:
    """Glomeruli and arteries that reach into a rectangle (µm)."""
    reach = BODY_REACH_UM
    # one square lies in the middle of the slide, so that small slides have a glomerulus, too
    shift_x, shift_y = ((side * plan.mpp - BODY_STEP_UM) / 2 for side in (plan.width, plan.height))
    span_x = np.array([x - reach, x + w + reach]) - shift_x
    span_y = np.array([y - reach, y + h + reach]) - shift_y
    columns, rows = lattice(span_x, span_y, BODY_STEP_UM, 0)
    draw = {
        name: uniform(columns, rows, plan.key(f"body-{name}"))
        for name in ("x", "y", "radius", "kind", *(f"{part}{k}" for k in (2, 3, 5) for part in "ap"))
    }
    centre_x = (columns + 0.5 + 0.34 * (draw["x"] - 0.5)) * BODY_STEP_UM + shift_x
    centre_y = (rows + 0.5 + 0.34 * (draw["y"] - 0.5)) * BODY_STEP_UM + shift_y
    glomerulus, artery = draw["kind"] < 0.70, draw["kind"] > 0.91
    radius = np.where(glomerulus, 72 + 36 * draw["radius"], 30 + 45 * draw["radius"])
    deep = plan.depth_um(centre_x, centre_y) > 1.2 * radius + 4
    found = []
    for j, i in np.argwhere((glomerulus | artery) & deep).tolist():
        size = 0.10 if glomerulus[j, i] else 0.14
        waves = tuple(
            (k, float(size / (k - 1) * draw[f"a{k}"][j, i]), float(2 * np.pi * draw[f"p{k}"][j, i]))
            for k in (2, 3, 5)
        )
        body = Body(float(centre_x[j, i]), float(centre_y[j, i]), float(radius[j, i]), waves, bool(glomerulus[j, i]))
        inside = x - reach <= body.x < x + w + reach and y - reach <= body.y < y + h + reach
        if inside:
            found.append(body)
    return found


def body_depth(bodies: Sequence[Body], x: Field, y: Field, *, glomerulus: bool) -> Field:
    """Depth in µm in the glomeruli (or arteries) at positions, `OUTSIDE` far from all of them."""
    depth = np.full(np.broadcast_shapes(x.shape, y.shape), OUTSIDE)
    for body in bodies:
        if body.glomerulus == glomerulus:
            depth = np.maximum(depth, body.depth_um(x, y))
    return depth


@dataclass(frozen=True)
class Tissue:
    """What lies at some positions.

    Attributes:
        depth: Distance to the edge of the tissue in µm.
        glomerulus: Depth in a glomerulus in µm, `OUTSIDE` far from one.
        artery: Depth in an artery in µm.
        wall: Distance to the border of the tubule in µm.
        gap: Half the distance between tubules in µm.
        epithelium: Thickness of the tubule's epithelium in µm.
        distal: 0 for proximal tubules (thick, eosinophilic), 1 for distal ones (thin, pale, wide lumen).
        inflammation: 0 to 1.
        fibrosis: 0 to 1.
    """

    depth: Field
    glomerulus: Field
    artery: Field
    wall: Field
    gap: Field
    epithelium: Field
    distal: Field
    inflammation: Field
    fibrosis: Field


def tissue_at(plan: SlidePlan, bodies: Sequence[Body], x: Field, y: Field) -> Tissue:
    """Describe positions (µm, broadcast against each other) from all bodies within `BODY_REACH_UM` of them."""
    depth = plan.depth_um(x, y)
    inflammation, fibrosis = plan.inflammation(x, y), plan.fibrosis(x, y)
    glomerulus = body_depth(bodies, x, y, glomerulus=True)
    artery = body_depth(bodies, x, y, glomerulus=False)
    wall, epithelium, distal = _tubules(plan, bodies, x, y)
    wall = np.minimum(np.minimum(wall, depth - 5), np.minimum(-glomerulus - 2, -artery - 4))
    gap = 1.0 + 3.2 * fibrosis + 6.5 * inflammation
    return Tissue(depth, glomerulus, artery, wall, gap, epithelium, distal, inflammation, fibrosis)


def _tubules(plan: SlidePlan, bodies: Sequence[Body], x: Field, y: Field) -> tuple[Field, Field, Field]:
    """Tubules as the cells of a Voronoi diagram of jittered points, with wavy borders.

    Returns:
        Distance to the border in µm, thickness of the epithelium in µm, and 1 for distal tubules.
    """
    bend_x = value_noise(x, y, 26.0, plan.key("bend-x")) - 0.5
    bend_y = value_noise(x, y, 26.0, plan.key("bend-y")) - 0.5
    x, y = x + 15 * bend_x, y + 15 * bend_y
    columns, rows = lattice(x, y, TUBULE_STEP_UM, 2)
    brick = 0.5 * (rows % 2) - 0.25
    seed_x = (columns + 0.5 + brick + 0.8 * (uniform(columns, rows, plan.key("tubule-x")) - 0.5)) * TUBULE_STEP_UM
    seed_y = (rows + 0.5 + 0.8 * (uniform(columns, rows, plan.key("tubule-y")) - 0.5)) * TUBULE_STEP_UM
    taken = np.zeros(seed_x.shape, dtype=bool)
    for body in bodies:
        taken |= body.depth_um(seed_x, seed_y) > -9
    seed_x = np.where(taken, 1e7, seed_x)
    i = np.floor(x / TUBULE_STEP_UM).astype(np.int64) - columns[0, 0]
    j = np.floor(y / TUBULE_STEP_UM).astype(np.int64) - rows[0, 0]
    own_x, own_y, own = _nearest(seed_x, seed_y, i, j, x, y)
    wall = np.full(x.shape, 1e3)
    for dj in range(-2, 3):
        for di in range(-2, 3):
            other_x, other_y = seed_x[j + dj, i + di], seed_y[j + dj, i + di]
            dx, dy = other_x - own_x, other_y - own_y
            apart = np.hypot(dx, dy)
            apart[apart == 0] = np.inf
            to_border = ((other_x + own_x) / 2 - x) * dx + ((other_y + own_y) / 2 - y) * dy
            wall = np.where(np.isinf(apart), wall, np.minimum(wall, to_border / apart))
    distal_seed = uniform(columns, rows, plan.key("distal")) < 0.38
    thickness = np.where(distal_seed, 7.5, 12.0) + 3.5 * uniform(columns, rows, plan.key("thickness"))
    flat_distal, flat_thickness = distal_seed.ravel().astype(np.float64), thickness.ravel()
    return np.clip(wall, -60, 60), flat_thickness[own], flat_distal[own]


def _nearest(
    seed_x: Field, seed_y: Field, i: NDArray[np.int64], j: NDArray[np.int64], x: Field, y: Field
) -> tuple[Field, Field, NDArray[np.int64]]:
    """Nearest seed of each position among 5 × 5: its position and its flat index."""
    best = np.full(x.shape, np.inf)
    index = np.zeros(x.shape, dtype=np.int64)
    for dj in range(-2, 3):
        for di in range(-2, 3):
            jj, ii = j + dj, i + di
            distance = (seed_x[jj, ii] - x) ** 2 + (seed_y[jj, ii] - y) ** 2
            closer = distance < best
            best = np.where(closer, distance, best)
            index = np.where(closer, jj * seed_x.shape[1] + ii, index)
    return seed_x.ravel()[index], seed_y.ravel()[index], index
