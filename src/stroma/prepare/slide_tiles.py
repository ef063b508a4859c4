"""Tiles of one slide: the tissue mask, the table of tiles, the thumbnail, and on request the tile images."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.files import id_to_name
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA, write_table
from stroma.images.image import Image
from stroma.prepare import histoprep
from stroma.prepare.inputs import Source
from stroma.prepare.slide_grid import core_boxes, slide_grid, slide_tile_size
from stroma.prepare.slide_images import (
    remove_other_tiles,
    tile_reader,
    tile_stems,
    write_picture,
    write_tile_images,
)
from stroma.prepare.slide_regions import find_regions, region_columns
from stroma.prepare.slide_run import make_slide, slide_provenance
from stroma.prepare.slide_tissue import Tissue, find_tissue
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.unreadable_tiles import try_tiles, without, write_unreadable
from stroma.regions.grid import TileSize, box_coverage
from stroma.slides.thumbnail import draw_tiles

TILES_FORMAT = "tiles/1"
TILES_SCHEMA: dict[str, pl.DataType] = {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
"""Columns of a tile table, in raster order.

`region` is the tile's number in the whole grid, counted in raster order, so it does not depend on the tissue.
`mpp` is the resolution at which reading the box gives exactly `tile_px` pixels; null without a physical scale.
`tissue` is the fraction of the tile's area that is tissue, 0-1; what lies beyond the image is none. With regions
follow `annotated` (fraction in any of them, 0-1), `class` (the one that covers most) and `fraction_<class>`; of a
tissue microarray the name of the `core`.
"""

THUMBNAIL_MAX_DIMENSION = 2048
_SUFFIX = {"jpeg": "jpg", "png": "png"}


@dataclass(frozen=True)
class SlideReport:
    """What was found on a slide.

    Attributes:
        tiles: Number of tiles with enough tissue, in the regions.
        grid: Number of tiles in the whole grid.
        on_tissue: Number of tiles with enough tissue, in the regions or not.
        size: Of a tile.
        tissue: Fraction of the slide that is tissue, 0-1.
        threshold: Of the tissue, 0-255.
        notes: What the user should know about this slide, a line each.
    """

    tiles: int
    grid: int
    on_tissue: int
    size: TileSize
    tissue: float
    threshold: int
    notes: tuple[str, ...] = ()


def tile_provenance(source: Source, options: TileOptions) -> Provenance:
    """What the tiles of a slide are made from and with.

    Raises:
        MissingFile: the slide or its regions do not exist.
    """
    regions = find_regions(source, options)
    if regions is None:
        return slide_provenance(source, options, TILES_FORMAT)
    settings = {"regions": regions.settings()} if regions.settings() else {}
    return slide_provenance(source, options, TILES_FORMAT, regions.inputs(), settings)


def tile_table_path(folder: Path, image_id: str) -> Path:
    """Where the tile table of an image lies in the output folder of `stroma tile`."""
    return folder / "tiles" / f"{id_to_name(image_id)}.parquet"


def tile_slide(source: Source, options: TileOptions) -> SlideReport:
    """Find the tiles of one slide and write all that belongs to it, the done record last.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        UsageError: the options do not fit the slide.
    """
    provenance = tile_provenance(source, options)

    def write(image: Image) -> tuple[list[Path], SlideReport]:
        size = slide_tile_size(image, options)
        grid = None if options.tma else slide_grid(image, size, options)
        tissue = find_tissue(image, options)
        cores = core_boxes(tissue, image) if options.tma else None
        boxes = _boxes(cores or {}) if grid is None else grid
        with stage("transform"):
            covered = box_coverage(tissue.mask, boxes, tissue.overview.downsample)
        table = _tile_table(source.image_id, boxes, _tile_mpp(image, size, options), covered, options)
        if cores is not None:
            table = table.with_columns(pl.Series("core", list(cores), dtype=pl.String()))
        on_tissue = len(table)
        table = _in_regions(table, image, source, options)
        lost: Mapping[int, str] = {}
        if not (options.save_images and options.skip_unreadable):  # then all of them will be read
            lost = try_tiles(image, table, tile_reader(image, options), skip=options.skip_unreadable)
        _remove_other_layout(source.image_id, options)
        write_files = histoprep.write_folder if options.preset == "histoprep" else _write_files
        outputs, lost = write_files(image, source.image_id, table, tissue, options, provenance, lost)
        with stage("write"):
            outputs += write_unreadable(options.output, source.image_id, table, lost, provenance)
        notes = () if options.tma else _notes(image, size, options)
        found = len(table) - len(lost)
        return outputs, SlideReport(found, len(boxes), on_tissue, size, tissue.fraction, tissue.threshold, notes)

    return make_slide(source, options, provenance, write)


def _in_regions(table: pl.DataFrame, image: Image, source: Source, options: TileOptions) -> pl.DataFrame:
    """The tiles that lie in the regions, with what these cover of each; all of them when there are no regions."""
    regions = find_regions(source, options)
    if regions is None:
        return table
    columns = region_columns(regions, image, table.select("x", "y", "w", "h").to_numpy(), options)
    joined = pl.concat([table, columns], how="horizontal")
    return joined.filter(pl.col("annotated") >= options.min_annotated - 1e-9)


def _remove_other_layout(image_id: str, options: TileOptions) -> None:
    """With `overwrite`, remove the table that a run with or without the preset left: it is no longer true."""
    if options.overwrite:
        left = histoprep.metadata_path(options.output, image_id)
        if options.preset is not None:
            left = tile_table_path(options.output, image_id)
        if left is not None:
            left.unlink(missing_ok=True)


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
    lost: Mapping[int, str],
) -> tuple[list[Path], Mapping[int, str]]:
    """Mask, thumbnail, table and, on request, images of the tiles; also which rows of the table were left out."""
    name, folder = id_to_name(image_id), options.output
    images = folder / "images" / name
    mask = tissue.mask.astype(np.uint8) * np.uint8(255)
    with ThreadPoolExecutor(2) as writers:  # packing the pictures takes as long as finding the tissue
        pictures = [writers.submit(write_picture, folder / "tissue" / f"{name}.png", mask)]
        outputs: list[Path] = []
        if options.save_images:
            files = [images / f"{stem}.{_SUFFIX[options.image_format]}" for stem in tile_stems(table)]
            written = write_tile_images(image, files, table, options)
            outputs, lost = written.files, written.unreadable
        remove_other_tiles(images, outputs)
        kept = without(image, table, lost)
        with stage("transform"):
            boxes = kept.select("x", "y", "w", "h").to_numpy()
            thumbnail = draw_tiles(tissue.overview.shrink(THUMBNAIL_MAX_DIMENSION), boxes)
        pictures.append(writers.submit(write_picture, folder / "thumbnails" / f"{name}.png", thumbnail))
        with stage("write"):
            outputs.append(write_table(kept, tile_table_path(folder, image_id), provenance))
            outputs += [picture.result() for picture in pictures]
    return outputs, lost


def _boxes(cores: Mapping[str, tuple[int, int, int, int]]) -> NDArray[np.int64]:
    return np.array(list(cores.values()), dtype=np.int64).reshape(-1, 4)


def _tile_mpp(image: Image, size: TileSize, options: TileOptions) -> float | None:
    """The resolution at which a tile is read; a core is read at the very one that was asked for."""
    if options.tma and options.mpp is not None:
        return options.mpp
    downsample = (options.downsample or 1.0) if options.tma else size.downsample
    return None if image.mpp is None else image.mpp * downsample


def _tile_table(
    image_id: str, grid: NDArray[np.int64], mpp: float | None, tissue: NDArray[np.float64], options: TileOptions
) -> pl.DataFrame:
    """The boxes that have enough tissue (to within the rounding of the area weights), or all cores."""
    kept = np.flatnonzero((tissue >= options.min_tissue - 1e-9) | options.tma)
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


def _notes(image: Image, size: TileSize, options: TileOptions) -> tuple[str, ...]:
    notes = []
    height, width, _ = image.shape
    if size.height > height or size.width > width:
        notes.append(
            f"tiles of {size.width} × {size.height} level-0 px reach beyond the slide, {width} wide × {height} high"
        )
    if options.mpp is not None and image.mpp is not None and image.mpp > options.mpp * 1.01:
        notes.append(f"its pixels of {image.mpp:g} µm are coarser than {options.mpp:g} µm: read tiles are enlarged")
    return tuple(notes)
