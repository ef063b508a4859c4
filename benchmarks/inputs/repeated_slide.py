"""Slides of any size for benchmarks: one painted field of kidney, repeated, in a pyramidal TIFF of JPEG tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.files import atomic_path
from stroma.phantom.slides_paint import Painter
from stroma.phantom.slides_plan import plan_slide
from stroma.slides.overview import block_mean

FIELD_PX = 4096
TILE_PX = 256
QUALITY = 85
_COARSEST_PX = 1024


def painted_field() -> NDArray[np.uint8]:
    """One field, tissue and glass, (4096, 4096, 3)."""
    plan = plan_slide("benchmark", "benchmark", 0, FIELD_PX, FIELD_PX, 0.5, inflamed=False)
    painter = Painter(plan)
    field = np.empty((FIELD_PX, FIELD_PX, 3), dtype=np.uint8)
    for y in range(0, FIELD_PX, 1024):
        for x in range(0, FIELD_PX, 1024):
            field[y : y + 1024, x : x + 1024], _ = painter.block(x, y, 1024, 1024)
    return field


def make_slide(path: Path, size_px: int) -> Path:
    """Write a square slide of `size_px` × `size_px` pixels, once; each distinct tile is encoded once.

    Args:
        path: The file.
        size_px: Any multiple of the field, or less.
    """
    if path.exists():
        return path
    field = painted_field()
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=size_px > 2**15) as writer:
        level, size = 0, size_px
        while True:
            writer.write(
                _encoded(field, size),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(20_000 / 2**level, 20_000 / 2**level),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
            )
            if size <= _COARSEST_PX:
                return path
            level, size = level + 1, size // 2
            field = block_mean(field, 2) if len(field) > TILE_PX else block_mean(np.tile(field, (2, 2, 1)), 2)


def _encoded(field: NDArray[np.uint8], size: int) -> Iterator[bytes]:
    """JPEG tiles of a level in raster order; `field` is a multiple of a tile."""
    across = len(field) // TILE_PX
    known: dict[tuple[int, int], bytes] = {}
    for row in range(-(-size // TILE_PX)):
        for column in range(-(-size // TILE_PX)):
            key = row % across, column % across
            if key not in known:
                y, x = key[0] * TILE_PX, key[1] * TILE_PX
                tile = np.ascontiguousarray(field[y : y + TILE_PX, x : x + TILE_PX])
                encoded = imagecodecs.jpeg8_encode(tile, level=QUALITY, subsampling="420", outcolorspace="YCBCR")
                known[key] = bytes(encoded)
            yield known[key]
