"""The nuclei of a phantom slide: where they lie, of which type they are, how they look. Positions in µm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stroma.phantom.position import Field, lattice, uniform
from stroma.phantom.slides_anatomy import Body, Tissue, tissue_at
from stroma.phantom.slides_plan import SlidePlan

TYPES = ("epithelial", "fibroblast", "lymphocyte", "mesangial")
EXTENT_UM = 9.0
"""No nucleus reaches farther from its centre."""
_CONFLICT_UM = 13.0
_STEP_UM = {"epithelial": 8.6, "fibroblast": 10.0, "lymphocyte": 6.6, "mesangial": 7.6}


@dataclass(frozen=True)
class Nuclei:
    """Nuclei, one entry each in every array.

    The outline is an ellipse with semi-axes a and b, whose radius is scaled by 1 + wave · cos(3θ + phase).

    Attributes:
        x, y: Centre in µm.
        type: Index in `TYPES`.
        a, b: Semi-axes in µm, a the longer.
        angle: Direction of a in radians.
        wave, phase: Deviation from the ellipse.
        dark: Optical density of its haematoxylin.
        priority: Which of two that overlap exists.
    """

    x: Field
    y: Field
    type: NDArray[np.int64]
    a: Field
    b: Field
    angle: Field
    wave: Field
    phase: Field
    dark: Field
    priority: Field

    def __len__(self) -> int:
        """Number of nuclei."""
        return len(self.x)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Nuclei:
        """Some of them."""
        return Nuclei(*(getattr(self, entry.name)[which] for entry in fields(self)))

    @property
    def area_um2(self) -> Field:
        """Exact area inside the outline."""
        return np.asarray(np.pi * self.a * self.b * (1 + self.wave**2 / 2))

    def outlines_um(self, corners: int = 24) -> Field:
        """(n, corners, 2) positions on the outlines."""
        t = np.arange(corners) * (2 * np.pi / corners)
        scale = 1 + self.wave[:, None] * np.cos(3 * t + self.phase[:, None])
        u, v = self.a[:, None] * scale * np.cos(t), self.b[:, None] * scale * np.sin(t)
        cos, sin = np.cos(self.angle)[:, None], np.sin(self.angle)[:, None]
        return np.stack([self.x[:, None] + u * cos - v * sin, self.y[:, None] + u * sin + v * cos], axis=2)


def nuclei_near(plan: SlidePlan, bodies: Sequence[Body], x: float, y: float, w: float, h: float) -> Nuclei:
    """All nuclei whose centres lie within `EXTENT_UM` of a rectangle, in a fixed order.

    Candidates are jittered points; each becomes what the tissue at its place needs, or nothing, and of two that
    would overlap the one of lower priority goes. Both depend on the surroundings of the place only.
    """
    margin = EXTENT_UM + _CONFLICT_UM
    parts = [
        _candidates(plan, bodies, kind, x - margin, y - margin, w + 2 * margin, h + 2 * margin)
        for kind in range(len(TYPES))
    ]
    every = Nuclei(*(np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(Nuclei)))
    chosen = every[_without_conflicts(every)]
    reach = EXTENT_UM
    near = (chosen.x >= x - reach) & (chosen.x < x + w + reach) & (chosen.y >= y - reach) & (chosen.y < y + h + reach)
    kept = chosen[near]
    return kept[np.lexsort((kept.x, kept.y, kept.type))]


def _without_conflicts(nuclei: Nuclei) -> NDArray[np.bool_]:
    keep = np.ones(len(nuclei), dtype=bool)
    if len(nuclei) < 2:
        return keep
    pairs = cKDTree(np.stack([nuclei.x, nuclei.y], axis=1)).query_pairs(_CONFLICT_UM, output_type="ndarray")
    one, other = pairs[:, 0], pairs[:, 1]
    apart = np.hypot(nuclei.x[one] - nuclei.x[other], nuclei.y[one] - nuclei.y[other])
    size = np.sqrt(nuclei.a * nuclei.b) * 0.5 + nuclei.a * 0.5
    clash = apart < 0.92 * (size[one] + size[other])
    one, other = one[clash], other[clash]
    one_wins = nuclei.priority[one] > nuclei.priority[other]
    keep[np.where(one_wins, other, one)] = False
    return keep


def _candidates(plan: SlidePlan, bodies: Sequence[Body], kind: int, x: float, y: float, w: float, h: float) -> Nuclei:
    name = TYPES[kind]
    step = _STEP_UM[name]
    columns, rows = lattice(np.array([x, x + w]), np.array([y, y + h]), step, 0)
    columns, rows = (grid.ravel() for grid in np.broadcast_arrays(columns, rows))

    def draw(what: str) -> Field:
        return uniform(columns, rows, plan.key(f"{name}-{what}"))

    place_x = (columns + 0.5 + 0.9 * (draw("x") - 0.5)) * step
    place_y = (rows + 0.5 + 0.9 * (draw("y") - 0.5)) * step
    if name == "mesangial" and not any(body.glomerulus for body in bodies):
        chosen = np.zeros(len(columns), dtype=bool)
    else:
        tissue = tissue_at(plan, bodies, place_x, place_y)
        chosen = draw("there") < _density(name, tissue)
    columns, rows, place_x, place_y = columns[chosen], rows[chosen], place_x[chosen], place_y[chosen]
    long, ratio, dark = _looks(name, draw("size"), draw("ratio"), draw("dark"))
    angle = np.pi * draw("angle")
    if name == "fibroblast" and len(place_x):
        angle = _along_wall(plan, bodies, place_x, place_y) + 0.5 * (draw("angle") - 0.5)
    return Nuclei(
        place_x,
        place_y,
        np.full(len(place_x), kind),
        long,
        long * ratio,
        angle,
        0.02 + 0.09 * draw("wave"),
        2 * np.pi * draw("phase"),
        dark,
        draw("priority"),
    )


def _density(name: str, tissue: Tissue) -> Field:
    """Probability of a candidate of this type at a place."""
    in_tissue = tissue.depth > 4
    in_tubule = in_tissue & (tissue.wall > tissue.gap)
    between = in_tissue & ~in_tubule & (tissue.glomerulus < -1) & (tissue.artery < -3)
    if name == "epithelial":
        basal = tissue.wall - tissue.gap
        row = np.abs(basal - 0.42 * tissue.epithelium)
        return np.where(in_tubule & (row < 2.3), 0.90, 0.0)
    if name == "fibroblast":
        in_artery = in_tissue & (tissue.artery > 3) & (tissue.artery < 18)
        on_capsule = in_tissue & (np.abs(tissue.glomerulus) < 1.5)
        between_share = np.where(between, 0.35 + 0.3 * tissue.fibrosis, 0.0)
        return np.maximum(between_share, np.where(in_artery, 0.5, np.where(on_capsule, 0.5, 0.0)))
    if name == "lymphocyte":
        return np.where(between, 0.015 + 0.95 * tissue.inflammation, 0.0)
    return np.where(in_tissue & (tissue.glomerulus > 13), 0.80, 0.0)


def _looks(name: str, size: Field, ratio: Field, dark: Field) -> tuple[Field, Field, Field]:
    """Long semi-axis in µm, ratio of the axes, optical density."""
    if name == "epithelial":
        return 2.9 + 0.9 * size, 0.80 + 0.18 * ratio, 0.62 + 0.30 * dark
    if name == "fibroblast":
        return 4.4 + 3.0 * size, 0.20 + 0.12 * ratio, 1.15 + 0.5 * dark
    if name == "lymphocyte":
        return 2.5 + 0.6 * size, 0.88 + 0.12 * ratio, 1.55 + 0.6 * dark
    return 2.6 + 0.9 * size, 0.66 + 0.28 * ratio, 1.0 + 0.5 * dark


def _along_wall(plan: SlidePlan, bodies: Sequence[Body], x: Field, y: Field) -> Field:
    """Direction along the nearest border of a tubule, capsule or vessel."""

    def height(px: Field, py: Field) -> Field:
        tissue = tissue_at(plan, bodies, px, py)
        return np.where(tissue.artery > 0, tissue.artery, tissue.wall)

    slope_x = height(x + 1.5, y) - height(x - 1.5, y)
    slope_y = height(x, y + 1.5) - height(x, y - 1.5)
    return np.arctan2(slope_y, slope_x) + np.pi / 2
