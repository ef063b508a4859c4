"""Outlines of the phantom's organs: rounded, bean-shaped, coiled, sacculated, ragged."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stroma.phantom.hsi_organs import Organ
from stroma.phantom.shapes import Canvas, Shape, blob, smooth_field, smooth_line, tube

Place = tuple[float, float]


def outline(rng: Generator, canvas: Canvas, organ: Organ, place: Place) -> Shape:
    """Draw the outline of an organ around `place`, (x, y) in scene units; not for the skin, which frames all."""
    match organ.form:
        case "coil":
            return _coil(rng, canvas, organ, place)
        case "tube":
            return _sacculated_tube(rng, canvas, organ, place)
        case "sheet":
            return _sheet(rng, canvas, organ, place)
        case "bean":
            radius, bend = organ.radius * rng.uniform(0.88, 1.12), rng.uniform(0.2, 0.5)
            return blob(rng, canvas, centre=place, radius=radius, elongation=1.6, wobble=0.05, bend=bend)
        case _:
            radius = organ.radius * rng.uniform(0.88, 1.12)
            return blob(rng, canvas, centre=place, radius=radius, elongation=rng.uniform(1.1, 1.5))


def _sheet(rng: Generator, canvas: Canvas, organ: Organ, place: Place) -> Shape:
    shape = blob(rng, canvas, centre=place, radius=organ.radius * rng.uniform(0.9, 1.2), wobble=0.2)
    ragged = shape.depth + np.float32(0.035) * smooth_field(rng, canvas, 0.07)
    return Shape(ragged, np.clip(ragged / 0.1, 0, 1), shape.along, shape.across)


def _coil(rng: Generator, canvas: Canvas, organ: Organ, place: Place) -> Shape:
    """Loops of bowel lying side by side."""
    radius = rng.uniform(0.052, 0.064)
    extent = organ.radius * rng.uniform(0.9, 1.1)
    rows = np.arange(-extent, extent + 1e-6, 1.85 * radius)
    loops = []
    for number, row in enumerate(rows):
        half = np.sqrt(max(extent**2 - (0.8 * row) ** 2, 0.01))
        loop = np.array([[-half, row], [0.0, row + rng.normal(0, 0.012)], [half, row]])
        loops.append(loop if number % 2 == 0 else loop[::-1])
    waypoints = np.concatenate(loops) + rng.normal(0, 0.008, (3 * len(rows), 2))
    return tube(canvas, smooth_line(_turned(rng, waypoints) + place), radius=radius)


def _sacculated_tube(rng: Generator, canvas: Canvas, organ: Organ, place: Place) -> Shape:
    """One thick tube in a bow, with constrictions."""
    radius, bow = organ.radius * rng.uniform(0.88, 1.12), rng.uniform(-0.9, 0.9)
    x = np.linspace(-0.42, 0.42, 6)
    waypoints = np.stack([x, bow * (x**2 - 0.06) + rng.normal(0, 0.025, 6)], axis=-1)
    line = smooth_line(_turned(rng, waypoints) + place)
    return tube(canvas, line, radius=radius, bulge_period=rng.uniform(0.11, 0.14), bulge=0.28)


def _turned(rng: Generator, points: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = rng.uniform(0, np.pi)
    rotated: NDArray[np.float64] = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return rotated


def opening(rng: Generator, canvas: Canvas) -> Shape:
    """The opened abdomen; it fills the picture more or less."""
    centre = (canvas.aspect / 2 + rng.normal(0, 0.05), 0.5 + rng.normal(0, 0.04))
    return blob(rng, canvas, centre=centre, radius=rng.uniform(0.56, 0.72), elongation=1.15, wobble=0.10)


def rim(rng: Generator, canvas: Canvas, hole: Shape) -> Shape:
    """The skin around an opening; beyond it lies cloth."""
    width = np.float32(rng.uniform(0.10, 0.20)) + np.float32(0.03) * smooth_field(rng, canvas, 0.3)
    outside = -hole.depth
    height = np.sqrt(np.clip(outside / np.maximum(width, 1e-3), 0, 1))
    return Shape(np.minimum(outside, width - outside), height, hole.along, hole.across)


def within(shape: Shape, hole: Shape) -> Shape:
    """The part of a shape that an opening shows."""
    return Shape(np.minimum(shape.depth, hole.depth), shape.height, shape.along, shape.across)


def places(rng: Generator, canvas: Canvas) -> list[Place]:
    """Six places for organs in random order: one in each jittered field of the picture, 3 × 2 or 2 × 3."""
    columns, rows = (3, 2) if canvas.aspect >= 1 else (2, 3)
    inwards = 0.88  # so that organs overlap, and few are cut by the border
    fields = [
        (
            canvas.aspect * (0.5 + inwards * ((column + 0.5) / columns - 0.5)) + rng.uniform(-0.05, 0.05),
            0.5 + inwards * ((row + 0.5) / rows - 0.5) + rng.uniform(-0.05, 0.05),
        )
        for row in range(rows)
        for column in range(columns)
    ]
    return [fields[i] for i in rng.permutation(len(fields))]
