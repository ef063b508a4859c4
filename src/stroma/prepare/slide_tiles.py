"""Tiles of one slide: the tissue mask, the table of tiles, the thumbnail, and on request the tile images."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.core.clock import stage
from stroma.core.done import done_path, write_done
from stroma.core.errors import UsageError
from stroma.core.files import atomic_path, id_to_name
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import ADDRESS_SCHEMA, write_table
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.sources import open_source
from stroma.prepare.tile_options import TileOptions
from stroma.regions.grid import box_coverage, tile_grid, tile_size, tile_step
from stroma.slides.overview import Overview, read_overview
from stroma.slides.thumbnail import draw_tiles
from stroma.slides.tissue import clean_mask, tissue_mask

TILES_FORMAT = "tiles/1"
TILES_SCHEMA: dict[str, pl.DataType] = {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
"""Columns of a tile table, in raster order.

`region` is the tile's number in the whole grid, counted in raster order, so it does not depend on the tissue.
`mpp` is the resolution at which reading the box gives exactly `tile_px` pixels; null without a physical scale.
`tissue` is the fraction of the tile's area that is tissue, 0-1; what lies beyond the image is none.
"""

THUMBNAIL_MAX_DIMENSION = 2048
_WRITERS = 4


@dataclass(frozen=True)
class SlideReport:
    """What was found on a slide.

    Attributes:
        tiles: Number of tiles with enough tissue.
        grid: Number of tiles in the whole grid.
        size_px: Edge of a tile in level-0 pixels.
        tissue: Fraction of the slide that is tissue, 0-1.
        threshold: Of the tissue, 0-255.
        notes: What the user should know about this slide, a line each.
    """

    tiles: int
    grid: int
    size_px: int
    tissue: float
    threshold: int
    notes: tuple[str, ...] = ()


def slide_provenance(source: Source, options: TileOptions) -> Provenance:
    """What the tiles of a slide are made from and with.

    Raises:
        MissingFile: the slide does not exist.
    """
    settings = {**options.settings(), "open": dict(source.options)}
    with stage("read"):
        record = InputRecord.of(source.image_id, source.path)
    return Provenance(TILES_FORMAT, settings, (record,))


def tile_table_path(folder: Path, image_id: str) -> Path:
    """Where the tile table of an image lies in the output folder of `stroma tile`."""
    return folder / "tiles" / f"{id_to_name(image_id)}.parquet"


def tile_slide(source: Source, options: TileOptions) -> SlideReport:
    """Find the tiles of one slide and write all that belongs to it, the done record last.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        UsageError: the options do not fit the slide.
    """
    name, folder = id_to_name(source.image_id), options.output
    with open_source(source.path, {"open": source.options, "source_mpp": options.source_mpp}) as image:
        provenance = slide_provenance(source, options)
        record = done_path(folder, source.image_id)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        size, mpp = _tile_size(image, options)
        overview = read_overview(image, options.tissue_max_dimension)
        with stage("transform"):
            threshold, mask = _find_tissue(overview, image, options)
            grid = tile_grid(
                image.shape[1],
                image.shape[0],
                size,
                tile_step(size, options.overlap),
                out_of_bounds=options.out_of_bounds,
            )
            table = _tile_table(source.image_id, grid, mpp, box_coverage(mask, grid, overview.downsample), options)
            boxes = table.select("x", "y", "w", "h").to_numpy()
            thumbnail = draw_tiles(overview.shrink(THUMBNAIL_MAX_DIMENSION), boxes)
        with stage("write"):
            outputs = [
                _write_png(folder / "tissue" / f"{name}.png", mask.astype(np.uint8) * np.uint8(255)),
                _write_png(folder / "thumbnails" / f"{name}.png", thumbnail),
                write_table(table, tile_table_path(folder, source.image_id), provenance),
            ]
        outputs += _write_tile_images(image, boxes, mpp, folder / "images" / name, options)
    with stage("write"):
        write_done(record, provenance, outputs)
    notes = _notes(image, size, mpp, options)
    return SlideReport(len(table), len(grid), size, float(mask.mean()), threshold, notes)


def _tile_size(image: Image, options: TileOptions) -> tuple[int, float | None]:
    for flag, value in (("--mpp", options.mpp), ("--min-area-um2", options.min_area_um2)):
        if value is not None and image.mpp is None:
            raise UsageError(
                f"{flag} needs the size of a pixel, and the file does not state it",
                where=image.path,
                next_step=f"Give it with --source-mpp, or leave out {flag} to work in level-0 pixels",
            )
    return tile_size(options.tile_px, options.mpp, image.mpp)


def _find_tissue(overview: Overview, image: Image, options: TileOptions) -> tuple[int, NDArray[np.bool_]]:
    threshold, mask = tissue_mask(
        overview.rgb,
        threshold=options.threshold,
        multiplier=options.multiplier,
        sigma=options.sigma,
        method=options.tissue_method,
    )
    min_area = options.min_area_px or 0.0  # in level-0 pixels
    if options.min_area_um2 is not None and image.mpp is not None:
        min_area = options.min_area_um2 / image.mpp**2
    area_of_mask_pixel = math.prod(overview.downsample)
    return threshold, clean_mask(
        mask, min_area_px=min_area / area_of_mask_pixel, max_hole_px=math.inf if options.fill_holes else 0
    )


def _tile_table(
    image_id: str, grid: NDArray[np.int64], mpp: float | None, tissue: NDArray[np.float64], options: TileOptions
) -> pl.DataFrame:
    """The tiles of the grid that have enough tissue (to within the rounding of the area weights)."""
    kept = np.flatnonzero(tissue >= options.min_tissue - 1e-9)
    x, y, w, h = grid[kept].T
    columns = {
        "image_id": np.full(len(kept), image_id, dtype=object),
        "region": kept.astype(np.int64),
        "x": x,
        "y": y,
        "w": w,
        "h": h,
        "mpp": [mpp] * len(kept),
        "tissue": tissue[kept],
    }
    return pl.DataFrame(columns, schema=TILES_SCHEMA)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    with atomic_path(path) as temporary:
        Picture.fromarray(pixels).save(temporary, format="PNG")
    return path


def _write_tile_images(
    image: Image, boxes: NDArray[np.int64], mpp: float | None, folder: Path, options: TileOptions
) -> list[Path]:
    """Write the tiles as image files, and remove those that an earlier run with other settings left.

    A few threads encode and write while the next tiles are read: a tile that must reach the disk waits for it.
    """
    written: list[Path] = []
    if options.save_images:
        suffix = {"jpeg": "jpg", "png": "png"}[options.image_format]
        pending: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_WRITERS) as writers:
            for x, y, w, h in boxes.tolist():
                path = folder / f"x{x}_y{y}_w{w}_h{h}.{suffix}"
                pixels = image.read(x, y, w, h, mpp=mpp if options.mpp else None)
                pending.append(writers.submit(_write_image, pixels, path, options))
                written.append(path)
                with stage("write"):
                    while len(pending) > 2 * _WRITERS:
                        pending.popleft().result()
            with stage("write"):
                for future in pending:
                    future.result()
    if folder.is_dir():
        for path in set(folder.glob("x*_y*_w*_h*.*")).difference(written):
            path.unlink()
    return written


def _write_image(pixels: NDArray[Any], path: Path, options: TileOptions) -> None:
    rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
    more = {"quality": options.quality} if options.image_format == "jpeg" else {}
    with atomic_path(path) as temporary:
        Picture.fromarray(rgb).save(temporary, format=options.image_format.upper(), **more)


def _notes(image: Image, size_px: int, mpp: float | None, options: TileOptions) -> tuple[str, ...]:
    notes = []
    height, width, _ = image.shape
    if size_px > min(height, width):
        notes.append(f"tiles of {size_px} level-0 px reach beyond the slide, {width} wide × {height} high")
    if options.mpp is not None and mpp is not None and image.mpp is not None and image.mpp > mpp * 1.01:
        notes.append(f"its pixels of {image.mpp:g} µm are coarser than {options.mpp:g} µm: read tiles are enlarged")
    return tuple(notes)
