"""Writes a phantom slide and its truth strip by strip: nothing that grows with its area is held whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
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

TILE_PX = 256
_STRIP_PX = 512
_BLOCK_PX = 1024
_COARSEST_PX = 1024
Strip = NDArray[np.uint8]


def write_slide(path: Path, painter: Painter, *, quality: int) -> list[Nuclei]:
    """Write the slide as a pyramidal, tiled TIFF with JPEG compression, which OpenSlide reads as `generic-tiff`.

    Levels halve until both sides are at most 1,024 px; the size of a pixel stands in the resolution tags.

    Args:
        path: The file.
        painter: Paints the slide.
        quality: JPEG quality, 1-100.

    Returns:
        The nuclei, block by block.
    """
    plan, nuclei = painter.plan, list[Nuclei]()
    size = plan.height, plan.width
    with (
        tempfile.TemporaryDirectory(prefix=".tmp-levels-", dir=_parent(path)) as folder,
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=plan.width * plan.height > 2**30) as writer,
    ):
        level, strips = 0, _painted(painter, nuclei)
        while True:
            smaller = Path(folder) / f"{level}.raw"
            per_cm = 1e4 / (plan.mpp * 2**level)
            writer.write(
                _tiles(_keeping_half(strips, smaller), size[1]),
                shape=(*size, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",  # stored as YCbCr
                compression="jpeg",
                compressionargs={"level": quality},
                subfiletype=1 if level else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                software=False,
                metadata=None,
                maxworkers=1,
            )
            if max(size) <= _COARSEST_PX:
                return nuclei
            size = size[0] // 2, size[1] // 2
            level, strips = level + 1, _stored(smaller, *size)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _painted(painter: Painter, nuclei: list[Nuclei]) -> Iterator[Strip]:
    plan = painter.plan
    for y in range(0, plan.height, _STRIP_PX):
        h = min(_STRIP_PX, plan.height - y)
        strip = np.empty((h, plan.width, 3), dtype=np.uint8)
        for x in range(0, plan.width, _BLOCK_PX):
            w = min(_BLOCK_PX, plan.width - x)
            with stage("transform"):
                strip[:, x : x + w], found = painter.block(x, y, w, h)
            if len(found):
                nuclei.append(found)
        yield strip


def _stored(path: Path, height: int, width: int) -> Iterator[Strip]:
    with path.open("rb") as handle:
        for y in range(0, height, _STRIP_PX):
            h = min(_STRIP_PX, height - y)
            yield np.frombuffer(handle.read(h * width * 3), dtype=np.uint8).reshape(h, width, 3)


def _keeping_half(strips: Iterator[Strip], path: Path) -> Iterator[Strip]:
    """Pass strips on and store them at half the size for the next level."""
    for strip in strips:
        h, w = strip.shape[0] // 2 * 2, strip.shape[1] // 2 * 2
        total = np.full((h // 2, w // 2, 3), 2, dtype=np.uint16)
        for corner in (strip[:h:2, :w:2], strip[:h:2, 1:w:2], strip[1:h:2, :w:2], strip[1:h:2, 1:w:2]):
            total += corner
        with path.open("ab") as handle:  # whole after every strip: nobody asks for more after the last tile
            handle.write((total // 4).astype(np.uint8).tobytes())
        yield strip


def _tiles(strips: Iterator[Strip], width: int) -> Iterator[Strip]:
    """Cut strips into tiles in raster order; those at the right and bottom edge repeat the last pixels."""
    for strip in strips:
        for y in range(0, strip.shape[0], TILE_PX):
            for x in range(0, width, TILE_PX):
                tile = strip[y : y + TILE_PX, x : x + TILE_PX]
                down, right = TILE_PX - tile.shape[0], TILE_PX - tile.shape[1]
                with stage("write"):
                    yield np.pad(tile, ((0, down), (0, right), (0, 0)), mode="edge") if down or right else tile


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
