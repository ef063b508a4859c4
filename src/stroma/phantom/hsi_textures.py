"""Surfaces of the phantom's organs: vessels, stripes, bands, lobules, furrows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stroma.phantom.hsi_organs import Texture
from stroma.phantom.shapes import Canvas, Shape, lobules, smooth_field, vessels


@dataclass(frozen=True)
class Pattern:
    """What a texture does to the tissue under it; maps (height, width) or numbers.

    Attributes:
        blood: Added to the logarithm of the blood fraction.
        scattering: Added to the logarithm of the scattering coefficient.
        relief: Added to the surface, in scene units.
    """

    blood: NDArray[np.floating[Any]] | float = 0.0
    scattering: NDArray[np.floating[Any]] | float = 0.0
    relief: NDArray[np.floating[Any]] | float = 0.0


def texture(rng: Generator, canvas: Canvas, shape: Shape, kind: Texture) -> Pattern:
    """Draw a texture over the whole canvas, oriented by the shape that will show it."""
    match kind:
        case "vessels":
            return _vessels(rng, canvas, shape)
        case "stripes":
            return _stripes(rng, canvas, shape)
        case "bands":
            return _bands(rng, shape)
        case "lobules":
            height, value = lobules(rng, canvas, rng.uniform(0.055, 0.07))
            return Pattern(0.2 * value + 1.0 * (1 - height), 0.06 * value, 0.012 * height)
        case "mottle":
            height, value = lobules(rng, canvas, rng.uniform(0.045, 0.055))
            return Pattern(0.16 * value + 0.6 * height - 0.35, 0.05 * value - 0.25 * (1 - height))
        case "trabeculae":
            ridge = np.exp(-((smooth_field(rng, canvas, 0.06) / np.float32(0.25)) ** 2))
            return Pattern(0.2 - 0.9 * ridge, 0.35 * ridge, 0.002 * ridge)
        case "rays":
            return _rays(rng, canvas, shape)
        case "creases":
            return _creases(rng, canvas)


def _vessels(rng: Generator, canvas: Canvas, shape: Shape) -> Pattern:
    """A plain surface over which large vessels branch from one edge, as on the stomach."""
    y, x = np.unravel_index(np.argmax(shape.depth), shape.depth.shape)
    heading, reach = rng.uniform(0, 2 * np.pi), 0.3
    root = (
        (float(x) + 0.5) / canvas.height - reach * np.cos(heading),
        (float(y) + 0.5) / canvas.height - reach * np.sin(heading),
    )
    tree = vessels(rng, canvas, start=root, heading=heading, length=0.2, radius=0.010)
    return Pattern(1.1 * tree, -0.2 * tree, 0.003 * tree)


def _stripes(rng: Generator, canvas: Canvas, shape: Shape) -> Pattern:
    """Fine vessels running around a tube, as on the small bowel."""
    phase = np.float32(1.2) * smooth_field(rng, canvas, 0.08)
    wave = np.cos(shape.along * np.float32(2 * np.pi / rng.uniform(0.045, 0.055)) + phase)
    return Pattern(1.0 * np.clip(wave, 0, None) ** 2 - 0.25, relief=0.0012 * wave)


def _bands(rng: Generator, shape: Shape) -> Pattern:
    """A pale band of muscle along a tube, the taenia of the colon."""
    band = np.exp(-(((shape.across - np.float32(rng.uniform(-0.3, 0.3))) / np.float32(0.16)) ** 2))
    return Pattern(-0.7 * band, 0.22 * band, 0.004 * band)


def _rays(rng: Generator, canvas: Canvas, shape: Shape) -> Pattern:
    """Veins running from the middle outwards, as on the kidney."""
    count = np.float32(rng.integers(9, 13))
    wave = np.cos(count * shape.along + np.float32(0.9) * smooth_field(rng, canvas, 0.09))
    lines = np.clip(wave, 0, None) ** 4 * np.clip(shape.across * 2.5 - 0.3, 0, 1)
    return Pattern(1.1 * lines - 0.18, -0.25 * lines)


def _creases(rng: Generator, canvas: Canvas) -> Pattern:
    """Two sets of furrows that cross, as on skin."""
    turn, warp = rng.uniform(0, np.pi), np.float32(0.012) * smooth_field(rng, canvas, 0.12)
    furrows = np.zeros_like(warp)
    for angle in (turn, turn + rng.uniform(0.9, 1.4)):
        distance = np.float32(np.cos(angle)) * canvas.x + np.float32(np.sin(angle)) * canvas.y + warp
        furrows += np.abs(np.cos(distance * np.float32(np.pi / 0.045))) ** 8
    return Pattern(0.2 * furrows, -0.08 * furrows, -0.003 * furrows)
