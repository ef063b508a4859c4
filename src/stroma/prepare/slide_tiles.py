"""Tiles of one slide: the tissue mask, the table of tiles, the thumbnail, and on request the tile images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.done import done_path, write_done
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import ADDRESS_SCHEMA, write_table
from stroma.images.image import Image
from stroma.prepare import histoprep
from stroma.prepare.inputs import Source
from stroma.prepare.slide_images import remove_other_tiles, write_picture, write_tile_images
from stroma.prepare.slide_tissue import Tissue, find_tissue, known_mpp
from stroma.prepare.sources import open_source
from stroma.prepare.tile_options import TileOptions
from stroma.regions.grid import box_coverage, tile_grid, tile_size, tile_step
from stroma.slides.thumbnail import draw_tiles

TILES_FORMAT = "tiles/1"
TILES_SCHEMA: dict[str, pl.DataType] = {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
"""Columns of a tile table, in raster order.

`region` is the tile's number in the whole grid, counted in raster order, so it does not depend on the tissue.
`mpp` is the resolution at which reading the box gives exactly `tile_px` pixels; null without a physical scale.
`tissue` is the fraction of the tile's area that is tissue, 0-1; what lies beyond the image is none.
"""

THUMBNAIL_MAX_DIMENSION = 2048
_SUFFIX = {"jpeg": "jpg", "png": "png"}


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
    with open_source(source.path, {"open": source.options, "source_mpp": options.source_mpp}) as image:
        provenance = slide_provenance(source, options)
        record = done_path(options.output, source.image_id)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        size, mpp = _tile_size(image, options)
        tissue = find_tissue(image, options)
        with stage("transform"):
            grid = tile_grid(
                image.shape[1],
                image.shape[0],
                size,
                tile_step(size, options.overlap),
                out_of_bounds=options.out_of_bounds,
            )
            covered = box_coverage(tissue.mask, grid, tissue.overview.downsample)
            table = _tile_table(source.image_id, grid, mpp, covered, options)
            boxes = table.select("x", "y", "w", "h").to_numpy()
        if options.preset == "histoprep":
            outputs = histoprep.write_folder(image, source.image_id, boxes, tissue, mpp, options, provenance)
        else:
            outputs = _write_files(image, source.image_id, table, tissue, options, provenance)
    with stage("write"):
        write_done(record, provenance, outputs)
    notes = _notes(image, size, mpp, options)
    return SlideReport(len(table), len(grid), size, tissue.fraction, tissue.threshold, notes)


def count_tiles(output: Path, image_id: str) -> int:
    """Number of tiles of an image in an output folder of `stroma tile`."""
    foreign = histoprep.metadata_path(output, image_id)
    if foreign is not None:
        return len(histoprep.read_metadata(foreign))
    table = pl.scan_parquet(tile_table_path(output, image_id), glob=False)
    return int(table.select(pl.len()).collect().item())


def _write_files(
    image: Image,
    image_id: str,
    table: pl.DataFrame,
    tissue: Tissue,
    options: TileOptions,
    provenance: Provenance,
) -> list[Path]:
    """Mask, thumbnail, table and, on request, images of the tiles."""
    name, folder = id_to_name(image_id), options.output
    boxes = table.select("x", "y", "w", "h").to_numpy()
    with stage("transform"):
        thumbnail = draw_tiles(tissue.overview.shrink(THUMBNAIL_MAX_DIMENSION), boxes)
    with stage("write"):
        outputs = [
            write_picture(folder / "tissue" / f"{name}.png", tissue.mask.astype(np.uint8) * np.uint8(255)),
            write_picture(folder / "thumbnails" / f"{name}.png", thumbnail),
            write_table(table, tile_table_path(folder, image_id), provenance),
        ]
    images = folder / "images" / name
    if options.save_images:
        mpp = table["mpp"][0] if len(table) else None
        files = [
            (images / f"{histoprep.box_name(box)}.{_SUFFIX[options.image_format]}", box)
            for box in map(tuple, boxes.tolist())
        ]
        outputs += write_tile_images(image, files, mpp, options)
    remove_other_tiles(images, outputs)
    return outputs


def _tile_size(image: Image, options: TileOptions) -> tuple[int, float | None]:
    if options.mpp is not None:
        known_mpp(image, "--mpp")
    return tile_size(options.tile_px, options.mpp, image.mpp)


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


def _notes(image: Image, size_px: int, mpp: float | None, options: TileOptions) -> tuple[str, ...]:
    notes = []
    height, width, _ = image.shape
    if size_px > min(height, width):
        notes.append(f"tiles of {size_px} level-0 px reach beyond the slide, {width} wide × {height} high")
    if options.mpp is not None and mpp is not None and image.mpp is not None and image.mpp > mpp * 1.01:
        notes.append(f"its pixels of {image.mpp:g} µm are coarser than {options.mpp:g} µm: read tiles are enlarged")
    return tuple(notes)
