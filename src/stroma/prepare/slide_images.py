"""Image files of the tiles of one slide: read in order, encoded and written by a few threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UnreadableImage
from stroma.core.files import atomic_path
from stroma.images.image import Image
from stroma.prepare.slide_grid import read_tile
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.unreadable_tiles import Read, read_or_name

Measures = Mapping[str, float]

_WRITERS = 4
_PILLOW_QUALITY = 75


@dataclass(frozen=True)
class TileImages:
    """Image files of tiles.

    Attributes:
        files: All that were written.
        measures: Figures of each tile that was written.
        unreadable: Rows of the table that could not be read, and why.
    """

    files: list[Path]
    measures: list[Measures]
    unreadable: dict[int, str]


def write_tile_images(
    image: Image,
    files: Sequence[Path],
    table: pl.DataFrame,
    options: TileOptions,
    *,
    mask_of: Callable[[Path, NDArray[np.uint8]], tuple[Path, NDArray[np.uint8]]] | None = None,
    measure: Callable[[NDArray[np.uint8]], Measures] | None = None,
) -> TileImages:
    """Write tiles as image files.

    A few threads encode and write while the next tiles are read: a tile that must reach the disk waits for it.

    Args:
        image: The slide.
        files: The file of each tile.
        table: The tiles: columns x, y, w, h in level-0 pixels and mpp.
        options: Resolution or level, format and quality, and whether unreadable tiles are left out.
        mask_of: Gives, from file and pixels of a tile, the file and pixels of its mask, which is written as PNG.
        measure: Gives figures about the pixels of a tile.

    Returns:
        The files, the figures of each tile (none without `measure`), in the order of the tiles, and what is missing.

    Raises:
        UnreadableImage: a tile cannot be read; the message has its coordinates.
    """
    written: list[Path] = []
    unreadable: dict[int, str] = {}
    measured: list[Future[Measures]] = []
    pending: deque[Future[None]] = deque()
    read = tile_reader(image, options)
    with ThreadPoolExecutor(_WRITERS) as writers:
        for number, (path, tile) in enumerate(zip(files, table.iter_rows(named=True), strict=True)):
            try:
                pixels = read_or_name(image, tile, read)
            except UnreadableImage as error:
                if not options.skip_unreadable:
                    raise
                unreadable[number] = error.what
                continue
            rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
            pending.append(writers.submit(write_unsynced, path, rgb, options.image_format, options.quality))
            written.append(path)
            if mask_of is not None:
                with stage("transform"):
                    mask_path, mask = mask_of(path, rgb)
                pending.append(writers.submit(write_unsynced, mask_path, mask, "png", None))
                written.append(mask_path)
            if measure is not None:
                measured.append(writers.submit(measure, rgb))
            with stage("write"):
                while len(pending) > 2 * _WRITERS:
                    pending.popleft().result()
        with stage("write"):
            for future in pending:
                future.result()
    with stage("write"):
        flush_files(written)
    return TileImages(written, [future.result() for future in measured], unreadable)


def tile_reader(image: Image, options: TileOptions) -> Read:
    """What reads a row of the tile table at the resolution or the level that the user asked for."""
    if options.mpp is not None or options.downsample is not None:
        settings = options.settings()
        return lambda tile: read_tile(image, tile, settings)
    return lambda tile: image.read(tile["x"], tile["y"], tile["w"], tile["h"], level=options.level)


def write_unsynced(path: Path, pixels: NDArray[Any], format: str, quality: int | None) -> None:
    """Write a picture under its final name once it is whole; `flush_files` makes sure that it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    _save(temporary, pixels, format, quality)
    temporary.replace(path)


def flush_files(paths: Sequence[Path]) -> None:
    """Wait until files are on the disk: for many small ones in one go this takes a tenth of one by one."""
    for path in paths:
        with path.open("rb+") as handle:
            os.fsync(handle.fileno())


def tile_stems(table: pl.DataFrame) -> list[str]:
    """File names of tiles without suffix: `x…_y…_w…_h…` in level-0 pixels, after the core's name if there is one."""
    cores = table["core"].to_list() if "core" in table.columns else [None] * len(table)
    boxes = table.select("x", "y", "w", "h").iter_rows()
    stems = ("_".join(f"{axis}{value}" for axis, value in zip("xywh", box, strict=True)) for box in boxes)
    return [f"{core}_{stem}" if core else stem for core, stem in zip(cores, stems, strict=True)]


def remove_other_tiles(folder: Path, written: Iterable[Path]) -> None:
    """Remove images of tiles that an earlier run with other settings left in `folder`."""
    if folder.is_dir():
        for path in set(folder.glob("*x*_y*_w*_h*.*")).difference(written):
            path.unlink()


def write_picture(path: Path, pixels: NDArray[Any], format: str = "png", quality: int | None = None) -> Path:
    """Write (H, W) or (H, W, 3) uint8 as PNG or JPEG; without `quality` Pillow's default is taken."""
    with atomic_path(path) as temporary:
        _save(temporary, pixels, format, quality)
    return path


def _save(path: Path, pixels: NDArray[Any], format: str, quality: int | None) -> None:
    """Write without the care of `write_picture`; JPEG as Pillow writes it, byte by byte, but a quarter faster."""
    if format == "jpeg":
        level = _PILLOW_QUALITY if quality is None else quality
        path.write_bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=level, subsampling="420"))
    else:
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=3))
