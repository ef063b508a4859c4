"""Writes a pyramidal, tiled TIFF or OME-TIFF strip by strip: nothing that grows with its area is held in memory."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UsageError
from stroma.core.files import atomic_path

TILE_PX = 256
_COARSEST_PX = 1024
Strip = NDArray[np.uint8]
Compression = Literal["jpeg", "lossless"]


def write_pyramid(
    path: Path,
    read: Callable[[int, int], Strip],
    height: int,
    width: int,
    *,
    mpp: float | None = None,
    compression: Compression = "jpeg",
    quality: int = 90,
    ome: bool = False,
) -> Path:
    """Write an image of 8 bits as a tiled TIFF whose levels halve until both sides are at most 1,024 px.

    OpenSlide and QuPath open it. The same pixels and options give the same bytes. Beside the file, space for the
    smaller levels is needed while it is written: a third of the uncompressed size.

    Args:
        path: The file.
        read: Gives rows (first, count) as (count, width, 3 or 1) uint8; asked for 256 rows at a time, in order.
        height: Rows of the image.
        width: Columns of the image.
        mpp: Size of a pixel in µm, stored in the resolution tags and, in an OME-TIFF, in its metadata.
        compression: `jpeg`, or `lossless` (Deflate).
        quality: JPEG quality, 1-100.
        ome: Write OME metadata, the smaller levels as sub-images (OME-TIFF 6), instead of plain pages.

    Returns:
        `path`.

    Raises:
        UsageError: an empty image.
    """
    if min(height, width) < 1:
        raise UsageError(f"an image of {height} × {width} pixels is empty")
    sizes = _sizes(height, width)
    with (
        tempfile.TemporaryDirectory(prefix=".tmp-levels-", dir=_parent(path)) as folder,
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=width * height > 2**29, ome=ome) as writer,
    ):
        strips, samples = _first_samples(_read_strips(read, height))
        for level, size in enumerate(sizes):
            smaller = Path(folder) / f"{level}.raw"
            kept = _keeping_half(strips, smaller) if level + 1 < len(sizes) else strips
            writer.write(
                _tiles(kept, size[1]),
                shape=(*size, samples) if samples == 3 else size,
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb" if samples == 3 else "minisblack",  # JPEG stores it as YCbCr
                subfiletype=1 if level else 0,
                subifds=len(sizes) - 1 if ome and level == 0 else None,
                software=False,
                maxworkers=2,
                metadata=_ome_metadata(path, mpp, samples) if ome and level == 0 else None,
                **_compressed(compression, quality),
                **_resolution(mpp, height / size[0]),
            )
            if level + 1 < len(sizes):
                strips = _stored(smaller, *sizes[level + 1], samples)
    return path


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    sizes = [(height, width)]
    while max(sizes[-1]) > _COARSEST_PX and min(sizes[-1]) > 1:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _compressed(compression: Compression, quality: int) -> dict[str, Any]:
    if compression == "jpeg":
        return {"compression": "jpeg", "compressionargs": {"level": quality}}
    return {"compression": "adobe_deflate", "predictor": True}


def _resolution(mpp: float | None, downsample: float) -> dict[str, Any]:
    if mpp is None:
        return {}
    per_cm = 1e4 / (mpp * downsample)
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}


def _ome_metadata(path: Path, mpp: float | None, samples: int) -> dict[str, Any]:
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"stroma:{path.name}").urn  # a random one would change the bytes
    size = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    units = {} if mpp is None else {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    return {"axes": "YXS" if samples == 3 else "YX", "UUID": identity, "Creator": "Stroma", **size, **units}


def _read_strips(read: Callable[[int, int], Strip], height: int) -> Iterator[Strip]:
    for top in range(0, height, TILE_PX):
        yield read(top, min(TILE_PX, height - top))


def _first_samples(strips: Iterator[Strip]) -> tuple[Iterator[Strip], int]:
    """The strips, unchanged, and the samples a pixel of the first."""
    first = next(strips)

    def all_strips() -> Iterator[Strip]:
        yield first
        yield from strips

    return all_strips(), first.shape[2]


def _stored(path: Path, height: int, width: int, samples: int) -> Iterator[Strip]:
    with path.open("rb") as handle:
        for top in range(0, height, TILE_PX):
            rows = min(TILE_PX, height - top)
            content = handle.read(rows * width * samples)
            yield np.frombuffer(content, dtype=np.uint8).reshape(rows, width, samples)


def _keeping_half(strips: Iterator[Strip], path: Path) -> Iterator[Strip]:
    """Pass strips on and store them at half the size; a last odd row or column is dropped."""
    for strip in strips:
        h, w = strip.shape[0] // 2 * 2, strip.shape[1] // 2 * 2
        with stage("transform"):
            sums = strip[0:h:2].astype(np.uint16)
            sums += strip[1:h:2]
            half = ((sums[:, 0:w:2] + sums[:, 1:w:2] + 2) >> 2).astype(np.uint8)
        with stage("write"), path.open("ab") as handle:
            handle.write(half.tobytes())
        yield strip


def _tiles(strips: Iterator[Strip], width: int) -> Iterator[Strip]:
    """Cut strips into tiles in raster order; those at the right and bottom edge repeat the last pixels."""
    for strip in strips:
        for x in range(0, width, TILE_PX):
            tile = strip[:, x : x + TILE_PX]
            down, right = TILE_PX - tile.shape[0], TILE_PX - tile.shape[1]
            padded = np.pad(tile, ((0, down), (0, right), (0, 0)), mode="edge") if down or right else tile
            with stage("write"):
                yield np.ascontiguousarray(padded if padded.shape[2] == 3 else padded[:, :, 0])
