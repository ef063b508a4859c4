"""The plan of a phantom slide: everything that is drawn by chance once per slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stroma.phantom.position import Field, organic_noise, salt, smoothstep

RUIFROK = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
"""Optical density of haematoxylin and eosin in red, green, blue (Ruifrok and Johnston 2001)."""
MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
"""The same as estimated by Macenko et al. 2009 on other slides; real stains lie about between the two."""


@dataclass(frozen=True)
class Fragment:
    """A piece of tissue: an ellipse in µm with a rough edge."""

    x: float
    y: float
    a: float
    b: float
    angle: float


@dataclass(frozen=True)
class SlidePlan:
    """A slide before it is drawn.

    Attributes:
        image_id: Its name.
        seed: What all its randomness comes from, with the name.
        width, height: Size in pixels.
        mpp: Size of a pixel in µm.
        fragments: The pieces of tissue.
        inflamed: Whether it has the many lymphocytes of interstitial nephritis.
        stains: (2, 3) optical density of haematoxylin and eosin in red, green, blue.
        strength: How strongly it was stained with each.
        glass: (red, green, blue) of empty glass, 0-255.
    """

    image_id: str
    seed: int
    width: int
    height: int
    mpp: float
    fragments: tuple[Fragment, ...]
    inflamed: bool
    stains: NDArray[np.float64]
    strength: tuple[float, float]
    glass: tuple[float, float, float]

    def key(self, name: str) -> np.uint64:
        """The key of one kind of randomness of this slide."""
        return salt(self.seed, self.image_id, name)

    def depth_um(self, x: Field, y: Field) -> Field:
        """How deep positions (µm) lie in the tissue: about the distance to its edge, negative on glass."""
        depth = np.full(np.broadcast_shapes(x.shape, y.shape), -1e4)
        for fragment in self.fragments:
            cos, sin = np.cos(fragment.angle), np.sin(fragment.angle)
            along, across = x - fragment.x, y - fragment.y
            u, v = (along * cos + across * sin) / fragment.a, (across * cos - along * sin) / fragment.b
            depth = np.maximum(depth, (1 - np.sqrt(u * u + v * v)) * min(fragment.a, fragment.b))
        rough = min(1.0, min(min(f.a, f.b) for f in self.fragments) / 1300)
        for step, amplitude in ((420.0, 260.0), (130.0, 70.0), (34.0, 14.0)):
            depth = depth + rough * amplitude * (organic_noise(x, y, step, self.key(f"edge{step}")) - 0.5)
        tear = np.abs(organic_noise(x, y, 520.0, self.key("tear")) - 0.5) * 900
        few = smoothstep(organic_noise(x, y, 700.0, self.key("tears")), 0.60, 0.65)
        return np.asarray(np.minimum(depth, np.where(few > 0, tear - 9 * few, 1e4)))

    def inflammation(self, x: Field, y: Field) -> Field:
        """0 to 1: how many lymphocytes lie between the tubules."""
        bound = 0.57 if self.inflamed else 0.84
        spread = organic_noise(x, y, 240.0, self.key("inflamed")) * 0.7 + 0.3 * organic_noise(
            x, y, 60.0, self.key("foci")
        )
        return smoothstep(spread, bound, bound + 0.1)

    def fibrosis(self, x: Field, y: Field) -> Field:
        """0 to 1: how much connective tissue lies between the tubules."""
        return smoothstep(organic_noise(x, y, 430.0, self.key("fibrosis")), 0.62, 0.85)


def plan_slide(
    image_id: str, subject_id: str, seed: int, width: int, height: int, mpp: float, *, inflamed: bool
) -> SlidePlan:
    """Draw the plan of a slide; slides of a subject share most of their stain.

    Args:
        image_id: Name of the slide.
        subject_id: Whose it is.
        seed: Seed of the study.
        width: Width in pixels.
        height: Height in pixels.
        mpp: Size of a pixel in µm.
        inflamed: Whether it shows an interstitial nephritis.
    """
    rng = np.random.default_rng(int(salt(seed, image_id, "plan")))
    shared = np.random.default_rng(int(salt(seed, subject_id, "stain")))
    mix = float(np.clip(shared.uniform(0.35, 0.95) + rng.normal(0, 0.05), 0, 1))
    stains = (1 - mix) * RUIFROK + mix * MACENKO + shared.normal(0, 0.02, (2, 3))
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    strength = shared.uniform(0.85, 1.2, 2) * rng.uniform(0.92, 1.08, 2)
    grey = rng.uniform(236, 246)
    return SlidePlan(
        image_id,
        seed,
        width,
        height,
        mpp,
        _fragments(rng, width * mpp, height * mpp),
        inflamed,
        stains,
        (float(strength[0]), float(strength[1])),
        (grey, grey - rng.uniform(0, 2), grey + rng.uniform(0, 3)),
    )


def _fragments(rng: np.random.Generator, width_um: float, height_um: float) -> tuple[Fragment, ...]:
    """Pieces side by side, each inside its cell of a grid of cells of about 3 × 3 mm."""
    across, down = (max(1, round(length / 3500)) for length in (width_um, height_um))
    cell_w, cell_h = width_um / across, height_um / down
    pieces = []
    for row in range(down):
        for column in range(across):
            a, b = cell_w * rng.uniform(0.40, 0.46), cell_h * rng.uniform(0.40, 0.46)
            x, y = (column + rng.uniform(0.48, 0.52)) * cell_w, (row + rng.uniform(0.48, 0.52)) * cell_h
            pieces.append(Fragment(x, y, a, b, float(rng.uniform(-0.12, 0.12))))
    return tuple(pieces)
