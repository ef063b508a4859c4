"""A surgical field: which organ lies where, what it is made of there, and how its surface is turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stroma.phantom.hsi_forms import opening, outline, places, rim, within
from stroma.phantom.hsi_organs import IMAGE_ORGAN, ORGANS, PIXEL, Composition, Form, Subject, vary
from stroma.phantom.hsi_textures import Pattern, texture
from stroma.phantom.shapes import Canvas, Map, Shape, smooth_field
from stroma.study.labels import IGNORE

ORGANS_PER_IMAGE = 6
_INDEX = {organ.name: index for index, organ in enumerate(ORGANS)}
_FROM_BELOW = ("omentum", "liver", "stomach", "small_bowel", "spleen", "kidney", "colon")
_BULGE: dict[Form, float] = {"coil": 0.045, "tube": 0.075, "frame": 0.03, "sheet": 0.02, "blob": 0.07, "bean": 0.07}


@dataclass
class Scene:
    """What the camera looks at; all maps are (height, width).

    Attributes:
        labels: Index into `ORGANS`, 255 elsewhere; wider than what annotators outline.
        tissue: Where there is tissue rather than cloth.
        composition: The fields of `Composition` → map; 0 where there is no tissue.
        slope_down, slope_right: Rise of the surface towards the bottom and the right (scene units per scene unit).
        shade: Light that reaches the surface past its neighbours, 0-1.
        wet: How much the surface shines, 0-1.
        cloth: Hue of the cloth, 0 green to 1 blue.
    """

    labels: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    composition: dict[str, Map]
    slope_down: Map
    slope_right: Map
    shade: Map
    wet: Map
    cloth: float


def make_scene(rng: Generator, canvas: Canvas, subject: Subject, number: int) -> Scene:
    """Draw image `number` of a subject.

    Six organs lie in the opened abdomen, on mesentery; skin and cloth surround it where the opening is small. Image
    by image the next organs of the subject's order are shown, so that two images show all of them.
    """
    scene = _cloth(rng, canvas, subject)
    hole = opening(rng, canvas)
    _paint(rng, canvas, scene, hole, None, subject.mesentery)
    first = number * ORGANS_PER_IMAGE
    shown = [subject.order[(first + i) % len(subject.order)] for i in range(ORGANS_PER_IMAGE)]
    for name, place in zip(sorted(shown, key=_FROM_BELOW.index), places(rng, canvas), strict=True):
        shape = outline(rng, canvas, ORGANS[_INDEX[name]], place)
        _paint(rng, canvas, scene, within(shape, hole), name, subject.tissues[name])
    _paint(rng, canvas, scene, rim(rng, canvas, hole), "skin", subject.tissues["skin"])
    return scene


def lower_oxygenation(scene: Scene, by: float) -> None:
    """Take oxygen from the blood of all tissue, as when its supply is clamped; at least 2 % stay.

    Args:
        scene: Changed in place.
        by: How much less of the haemoglobin is oxygenated, 0-1.
    """
    oxygenation = scene.composition["oxygenation"]
    oxygenation[scene.tissue] = np.maximum(oxygenation[scene.tissue] - np.float32(by), np.float32(0.02))


def _cloth(rng: Generator, canvas: Canvas, subject: Subject) -> Scene:
    size = (canvas.height, canvas.width)
    down, right = _slopes(canvas, np.float32(0.006) * smooth_field(rng, canvas, 0.16))
    return Scene(
        labels=np.full(size, IGNORE, dtype=np.uint8),
        tissue=np.zeros(size, dtype=bool),
        composition={name: np.zeros(size, dtype=np.float32) for name in Composition.names()},
        slope_down=down,
        slope_right=right,
        shade=np.ones(size, dtype=np.float32),
        wet=np.zeros(size, dtype=np.float32),
        cloth=subject.cloth,
    )


def _paint(rng: Generator, canvas: Canvas, scene: Scene, shape: Shape, name: str | None, tissue: Composition) -> None:
    """Lay an organ over the scene, or with no name the mesentery, which has no label."""
    inside = shape.depth > 0
    scene.shade *= 1 - np.float32(0.55) * np.exp(np.minimum(shape.depth, 0) / np.float32(0.018))
    scene.shade[inside] = 1
    organ = None if name is None else ORGANS[_INDEX[name]]
    pattern = texture(rng, canvas, shape, organ.texture) if organ else Pattern()
    for key, values in _over_surface(rng, canvas, vary(tissue, IMAGE_ORGAN, rng.standard_normal(6)), pattern).items():
        scene.composition[key][inside] = values[inside]
    bulge = np.float32(_BULGE[organ.form if organ else "blob"])
    relief = bulge * shape.height + pattern.relief + np.float32(0.0011) * smooth_field(rng, canvas, 0.022)
    down, right = _slopes(canvas, relief)
    scene.slope_down[inside], scene.slope_right[inside] = down[inside], right[inside]
    scene.wet[inside] = 0.15 if name == "skin" else rng.uniform(0.6, 1.0)
    scene.labels[inside] = IGNORE if name is None else _INDEX[name]
    scene.tissue |= inside


def _slopes(canvas: Canvas, relief: Map) -> tuple[Map, Map]:
    down, right = np.gradient(relief * np.float32(canvas.height))
    return down.astype(np.float32), right.astype(np.float32)


def _over_surface(rng: Generator, canvas: Canvas, tissue: Composition, pattern: Pattern) -> dict[str, Map]:
    """Maps of a composition: smooth variation, and the texture."""
    wave = [smooth_field(rng, canvas, 0.12) for _ in range(6)]
    return {
        "blood": _float32(tissue.blood * np.exp(PIXEL.blood * wave[0] + pattern.blood)),
        "oxygenation": _float32(np.clip(tissue.oxygenation + PIXEL.oxygenation * wave[1], 0.02, 0.99)),
        "water": _shifted(tissue.water, PIXEL.content * wave[2]),
        "fat": _shifted(tissue.fat, PIXEL.content * wave[3]),
        "scattering_per_cm": _float32(
            tissue.scattering_per_cm * np.exp(PIXEL.scattering * wave[4] + pattern.scattering)
        ),
        "scattering_power": _float32(tissue.scattering_power + PIXEL.power * wave[5]),
        "melanin": np.full((canvas.height, canvas.width), tissue.melanin, dtype=np.float32),
    }


def _shifted(fraction: float, shift: Map) -> Map:
    """Fractions whose logit differs by `shift` from that of `fraction`."""
    return _float32(1 / (1 + (1 - fraction) / fraction * np.exp(-shift)))


def _float32(values: NDArray[np.floating[Any]]) -> Map:
    return values.astype(np.float32, copy=False)
