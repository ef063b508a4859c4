"""Writes a phantom slide and its truth strip by strip: nothing that grows with its area is held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.files import atomic_path
from stroma.phantom.slides_anatomy import Body, bodies_near
from stroma.phantom.slides_nuclei import Nuclei
from stroma.phantom.slides_paint import Painter
from stroma.phantom.slides_plan import SlidePlan
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import RunEncoder
from stroma.slides.pyramid import Strip, write_pyramid

_STRIP_PX = 512
_BLOCK_PX = 1024


def write_slide(path: Path, painter: Painter, *, quality: int) -> list[Nuclei]:
    """Write the slide as a pyramidal, tiled TIFF with JPEG compression, which OpenSlide reads as `generic-tiff`.

    Args:
        path: The file.
        painter: Paints the slide.
        quality: JPEG quality, 1-100.

    Returns:
        The nuclei, block by block.
    """
    plan, nuclei = painter.plan, list[Nuclei]()

    @lru_cache(maxsize=1)
    def strip(number: int) -> Strip:
        top = number * _STRIP_PX
        painted = np.empty((min(_STRIP_PX, plan.height - top), plan.width, 3), dtype=np.uint8)
        for x in range(0, plan.width, _BLOCK_PX):
            w = min(_BLOCK_PX, plan.width - x)
            with stage("transform"):
                painted[:, x : x + w], found = painter.block(x, top, w, len(painted))
            if len(found):
                nuclei.append(found)
        return painted

    def read(top: int, rows: int) -> Strip:
        return strip(top // _STRIP_PX)[top % _STRIP_PX :][:rows]

    write_pyramid(path, read, plan.height, plan.width, mpp=plan.mpp, quality=quality)
    return nuclei


def glomeruli(plan: SlidePlan) -> list[Body]:
    """The glomeruli of a slide, row by row."""
    bodies = bodies_near(plan, 0, 0, plan.width * plan.mpp, plan.height * plan.mpp)
    inside = [body for body in bodies if body.glomerulus]
    return sorted(inside, key=lambda body: (body.y, body.x))


def glomeruli_runs(plan: SlidePlan, polygons: Sequence[Any]) -> str:
    """Run-length text of the glomeruli, window by window."""
    encoder = RunEncoder(plan.height, plan.width)
    for polygon in polygons:
        left, top, right, bottom = (int(value) for value in polygon.bounds)
        x, y = max(0, left), max(0, top)
        w, h = min(plan.width, right + 2) - x, min(plan.height, bottom + 2) - y
        if w > 0 and h > 0:
            encoder.add(mask_from_polygons([polygon], x, y, w, h), x, y)
    return encoder.finish().encode()


def write_glomeruli_mask(path: Path, plan: SlidePlan, polygons: Sequence[Any]) -> None:
    """Write the glomeruli as a tiled TIFF of level 0: 1 inside, 0 outside."""
    tree = shapely.STRtree(polygons)

    def tiles() -> Iterator[Strip]:
        for y in range(0, plan.height, _STRIP_PX):
            for x in range(0, plan.width, _STRIP_PX):
                near = tree.query(shapely.box(x, y, x + _STRIP_PX, y + _STRIP_PX))
                yield mask_from_polygons([polygons[i] for i in near], x, y, _STRIP_PX, _STRIP_PX)

    per_cm = 1e4 / plan.mpp
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            tiles(),
            shape=(plan.height, plan.width),
            dtype=np.uint8,
            tile=(_STRIP_PX, _STRIP_PX),
            photometric="minisblack",
            compression="deflate",
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            software=False,
            metadata=None,
            maxworkers=1,
        )


def tissue_mask(plan: SlidePlan, downsample: int) -> NDArray[np.bool_]:
    """Where tissue is, (height // downsample, width // downsample): True where the centre of a pixel is in it.

    The white inside of tubules and vessels counts as tissue, which a threshold on the colour cannot see.
    """
    height, width = plan.height // downsample, plan.width // downsample
    step = plan.mpp * downsample
    x = ((np.arange(width, dtype=np.float64) + 0.5) * step)[None, :]
    result = np.zeros((height, width), dtype=bool)
    for top in range(0, height, 256):
        y = ((np.arange(top, min(top + 256, height), dtype=np.float64) + 0.5) * step)[:, None]
        result[top : top + 256] = plan.depth_um(x, y) > 0
    return result
