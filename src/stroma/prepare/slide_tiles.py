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
from stroma.core.done import done_path, write_done
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import ADDRESS_SCHEMA, write_table
from stroma.images.image import Image
from stroma.prepare import histoprep
from stroma.prepare.inputs import Source
from stroma.prepare.slide_images import remove_other_tiles, tile_stems, write_picture, write_tile_images
from stroma.prepare.slide_regions import region_columns, regions_file
from stroma.prepare.slide_tissue import Tissue, find_tissue, known_mpp
from stroma.prepare.sources import open_source
from stroma.prepare.tile_options import TileOptions
from stroma.regions.grid import box_coverage, tile_grid, tile_size, tile_step
from stroma.slides.cores import find_cores
from stroma.slides.thumbnail import draw_tiles

TILES_FORMAT = "tiles/1"
TILES_SCHEMA: dict[str, pl.DataType] = {**ADDRESS_SCHEMA, "tissue": pl.Float64()}
"""Columns of a tile table, in raster order.

`region` is the tile's number in the whole grid, counted in raster order, so it does not depend on the tissue.
`mpp` is the resolution at which reading the box gives exactly `tile_px` pixels; null without a physical scale.
`tissue` is the fraction of the tile's area that is tissue, 0-1; what lies beyond the image is none. With regions
follow `annotated` and `fraction_<class>`, fractions of the tile 0-1; of a tissue microarray the name of the `core`.
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
        MissingFile: the slide or its regions do not exist.
    """
    settings = {**options.settings(), "open": dict(source.options)}
    regions = regions_file(source, options)
    with stage("read"):
        records = [InputRecord.of(source.image_id, source.path)]
        records += [InputRecord.of("regions", regions)] if regions is not None else []
    return Provenance(TILES_FORMAT, settings, tuple(records))


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
        grid, mpp = _tile_grid(image, options)
        tissue = find_tissue(image, options)
        cores = _cores(tissue, image) if options.tma else None
        boxes = grid if cores is None else _core_boxes(cores)
        with stage("transform"):
            covered = box_coverage(tissue.mask, boxes, tissue.overview.downsample)
        table = _tile_table(source.image_id, boxes, mpp, covered, options)
        if cores is not None:
            table = table.with_columns(pl.Series("core", list(cores), dtype=pl.String()))
        regions = regions_file(source, options)
        if regions is not None:
            columns = region_columns(regions, image, table.select("x", "y", "w", "h").to_numpy(), options)
            table = pl.concat([table, columns], how="horizontal")
            table = table.filter(pl.col("annotated") >= options.min_annotated - 1e-9)
        _probe(image, table)
        _remove_other_layout(source.image_id, options)
        write = histoprep.write_folder if options.preset == "histoprep" else _write_files
        outputs = write(image, source.image_id, table, tissue, options, provenance)
    with stage("write"):
        write_done(record, provenance, outputs)
    size = int(grid[0, 2])
    notes = () if options.tma else _notes(image, size, mpp, options)
    return SlideReport(len(table), len(boxes), size, tissue.fraction, tissue.threshold, notes)


def _remove_other_layout(image_id: str, options: TileOptions) -> None:
    """With `overwrite`, remove the table that a run with or without the preset left: it is no longer true."""
    if options.overwrite:
        left = histoprep.metadata_path(options.output, image_id)
        if options.preset is not None:
            left = tile_table_path(options.output, image_id)
        if left is not None:
            left.unlink(missing_ok=True)


def _probe(image: Image, table: pl.DataFrame) -> None:
    """Read a pixel of the first, middle and last tile: a small level can be whole where level 0 is damaged."""
    for row in sorted({0, len(table) // 2, len(table) - 1}) if len(table) else ():
        x, y, w, h = table.select("x", "y", "w", "h").row(row)
        image.read(x + w // 2, y + h // 2, 1, 1)


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
    images = folder / "images" / name
    mask = tissue.mask.astype(np.uint8) * np.uint8(255)
    with ThreadPoolExecutor(2) as writers:  # packing the pictures takes as long as finding the tissue
        pictures = [
            writers.submit(write_picture, folder / "tissue" / f"{name}.png", mask),
            writers.submit(write_picture, folder / "thumbnails" / f"{name}.png", thumbnail),
        ]
        outputs: list[Path] = []
        if options.save_images:
            files = [images / f"{stem}.{_SUFFIX[options.image_format]}" for stem in tile_stems(table)]
            outputs += write_tile_images(image, files, table, options)[0]
        remove_other_tiles(images, outputs)
        with stage("write"):
            outputs.append(write_table(table, tile_table_path(folder, image_id), provenance))
            outputs += [picture.result() for picture in pictures]
    return outputs


def _tile_grid(image: Image, options: TileOptions) -> tuple[NDArray[np.int64], float | None]:
    """Boxes (n, 4) of the whole grid, and the resolution at which they are read."""
    if options.mpp is not None:
        known_mpp(image, "--mpp")
    size, mpp = tile_size(options.tile_px, options.mpp, image.mpp)
    height, width, _ = image.shape
    step = tile_step(size, options.overlap)
    if options.tma:  # only size and resolution are of use
        return np.array([[0, 0, size, size]]), options.mpp or image.mpp
    return tile_grid(width, height, size, step, out_of_bounds=options.out_of_bounds), mpp


def _cores(tissue: Tissue, image: Image) -> dict[str, tuple[int, int, int, int]]:
    """Name → x, y, w, h in level-0 pixels of the cores of a tissue microarray, cut at the slide's edge."""
    with stage("transform"):
        cores = find_cores(tissue.mask)
    down, across = tissue.overview.downsample
    boxes = {}
    for core in cores:
        left, right = (round(edge * across) for edge in (core.x, core.x + core.w))
        top, bottom = (round(edge * down) for edge in (core.y, core.y + core.h))
        inner = image.inside(left, top, right - left, bottom - top)
        boxes[core.name] = (inner.x, inner.y, inner.w, inner.h)
    return boxes


def _core_boxes(cores: Mapping[str, tuple[int, int, int, int]]) -> NDArray[np.int64]:
    return np.array(list(cores.values()), dtype=np.int64).reshape(-1, 4)


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


def _notes(image: Image, size_px: int, mpp: float | None, options: TileOptions) -> tuple[str, ...]:
    notes = []
    height, width, _ = image.shape
    if size_px > min(height, width):
        notes.append(f"tiles of {size_px} level-0 px reach beyond the slide, {width} wide × {height} high")
    if options.mpp is not None and mpp is not None and image.mpp is not None and image.mpp > mpp * 1.01:
        notes.append(f"its pixels of {image.mpp:g} µm are coarser than {options.mpp:g} µm: read tiles are enlarged")
    return tuple(notes)
