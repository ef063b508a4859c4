"""Masks of any size as files: PNG for pictures, pyramidal tiled TIFF for slides, drawn window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import shapely
import tifffile
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.files import atomic_path
from stroma.regions.polygons import mask_from_polygons

TILE_PX = 512
_COARSEST_PX = 1024


def write_mask_png(path: Path, mask: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> Path:
    """Write class indices, or object numbers, as PNG.

    Args:
        path: The file.
        mask: (H, W) indices, uint8, or object numbers, uint16.
        palette: (256, 3) colours that viewers show; reading the file gives the indices all the same.
    """
    image = PIL.Image.fromarray(mask) if palette is None else _paletted(mask, palette)
    with stage("write"), atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
    return path


def _paletted(mask: NDArray[np.uint8], palette: NDArray[np.uint8]) -> PIL.Image.Image:
    image = PIL.Image.frombytes("P", (mask.shape[1], mask.shape[0]), np.ascontiguousarray(mask).tobytes())
    image.putpalette(palette.astype(np.uint8).ravel().tolist())
    return image


def write_mask_pyramid(
    path: Path,
    shapes: Sequence[Any] | NDArray[np.object_],
    values: Sequence[int] | NDArray[np.integer[Any]],
    size: tuple[int, int],
    *,
    mpp: float | None = None,
    background: int = 0,
    dtype: Any = np.uint8,
) -> Path:
    """Draw polygons into a pyramidal, tiled TIFF of class indices or object numbers, one tile at a time.

    Every level is drawn from the polygons themselves (`mask_from_polygons` at its downsample), so no level is a
    blend of indices.

    Args:
        path: The file.
        shapes: Polygons in level-0 pixels; later ones lie over earlier ones.
        values: The index of each.
        size: (height, width) of level 0.
        mpp: Size of a level-0 pixel in µm, stored as the resolution.
        background: Index of pixels in no polygon.
        dtype: Unsigned integer type of the file.
    """
    array = np.asarray(shapes, dtype=object)
    numbers = np.asarray(values)
    tree = shapely.STRtree(array)
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=size[0] * size[1] > 2**31) as writer:
        downsample = 1
        while True:
            height, width = size[0] // downsample, size[1] // downsample
            scale = {} if mpp is None else {"resolution": (1e4 / (mpp * downsample),) * 2, "resolutionunit": 3}
            with stage("write"):
                writer.write(
                    _tiles(tree, array, numbers, height, width, downsample, background, dtype),
                    shape=(height, width),
                    dtype=dtype,
                    tile=(TILE_PX, TILE_PX),
                    photometric="minisblack",
                    compression="deflate",
                    subfiletype=0 if downsample == 1 else 1,
                    software=False,
                    metadata=None,
                    maxworkers=1,
                    **scale,
                )
            if max(height, width) <= _COARSEST_PX:
                return path
            downsample *= 2


def _tiles(
    tree: shapely.STRtree,
    shapes: NDArray[np.object_],
    numbers: NDArray[Any],
    height: int,
    width: int,
    downsample: int,
    background: int,
    dtype: Any,
) -> Iterator[NDArray[Any]]:
    side = TILE_PX * downsample
    for y in range(0, height * downsample, side):
        for x in range(0, width * downsample, side):
            near = np.sort(tree.query(shapely.box(x, y, x + side, y + side)))
            yield mask_from_polygons(
                shapes[near], x, y, side, side,
                downsample=downsample, values=numbers[near], background=background, dtype=dtype,
            )  # fmt: skip
