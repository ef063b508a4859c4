"""`stroma quality`: what tiles look like in numbers, and which of them look unlike the others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.done import done_path, write_done
from stroma.core.errors import MissingFile
from stroma.core.files import id_to_name
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA, read_table, write_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.image import Image
from stroma.prepare.slide_grid import read_tile
from stroma.prepare.slide_tiles import TILES_FORMAT
from stroma.prepare.slide_tissue import find_tissue
from stroma.prepare.sources import open_source
from stroma.prepare.tile_outliers import find_outliers
from stroma.prepare.tiled_slides import TiledSlide, find_tiled_slides, is_slide_complete, write_slide_sources
from stroma.prepare.tissue_options import TissueSettings
from stroma.regions.grid import box_coverage
from stroma.slides.folds import fold_mask
from stroma.slides.pen_ink import ink_mask
from stroma.slides.quality import METRIC_COLUMNS, SHARPNESS_COLUMNS, tile_quality
from stroma.slides.tissue import tissue_mask

QUALITY_FORMAT = "quality/1"
MEASURED_COLUMNS = (*METRIC_COLUMNS, *SHARPNESS_COLUMNS)
ARTEFACT_COLUMNS = ("ink", "folds")
QUALITY_SCHEMA: dict[str, pl.DataType] = {
    **ADDRESS_SCHEMA,
    **{name: pl.Int64() if "_q" in name else pl.Float64() for name in MEASURED_COLUMNS},
    **{name: pl.Float64() for name in ARTEFACT_COLUMNS},
}
"""Columns of a quality table, one row a tile, in the order of the tile table.

After the address follow the metrics of HistoPrep and the sharpness (`stroma.slides.quality`; null without tissue),
then the fractions of the tile, 0-1, that marks of pens and folds cover (`stroma.slides.pen_ink` and `folds`).
"""

_INK_MAX_DIMENSION = 2048
_FOLD_MAX_DIMENSION = 1024


class QualityOptions(VerbOptions):
    """Options of `stroma quality`."""

    tiles: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="Output folders of 'stroma tile'"
    )
    output: Output
    clusters: int = Field(8, ge=1, description="Groups of tiles that look alike, of which the first is the oddest")
    seed: int = Field(0, ge=0, description="Seed of the outlier scores, the groups and the tiles shown")
    workers: Workers = 1


def quality(options: QualityOptions) -> VerbResult:
    """Measure tiles, and find those that look unlike the others.

    TILES are output folders of `stroma tile`; the tiles are read from the slides.

    Written are `quality/<slide>.parquet` with the 67 metrics of HistoPrep, sharpness, pen ink and folds of each tile,
    and over all slides of the output `outliers/<slide>.parquet` with a score (0-1, higher is odder) and a group of
    each tile, beside a picture of tiles of each group. Group 0 is farthest from the middle. Slides that are complete
    are skipped when the same command runs again.

    Args:
        options: See `QualityOptions`.

    Raises:
        MissingFile: an input is no output folder of `stroma tile`.
        InvalidData: two slides have the same id.
        OutputConflict: the output holds results made with other settings or from other tiles.
    """
    slides = find_tiled_slides(options.tiles)
    todo = [slide for slide in slides if not _is_complete(slide, options)]
    if options.dry_run:
        lines = [f"{'to do' if slide in todo else 'complete'}: {slide}" for slide in slides]
        return VerbResult(summary={"images": len(slides), "to do": len(todo)}, lines=lines)
    clock, failed = StageClock(), list[Failed[Any]]()
    workers = options.workers if len(todo) > 1 else 1
    outcomes = map_items(partial(measure_slide, output=options.output), todo, workers=workers)
    for outcome in track(outcomes, "measuring tiles", len(todo)):
        clock.add(outcome.clock)
        if not isinstance(outcome, Done):
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    lost = {failure.item.image_id for failure in failed}
    complete = [slide for slide in slides if slide.image_id not in lost]
    cohort = write_slide_sources(options.output, complete, Provenance(QUALITY_FORMAT))
    report = find_outliers(
        options.output,
        {image_id: (Path(path), quality_path(options.output, image_id)) for image_id, path in cohort},
        clusters=options.clusters,
        seed=options.seed,
        overwrite=options.overwrite,
        verify=options.verify,
    )
    return VerbResult(
        output=options.output,
        summary={"images": len(cohort), "tiles": report.tiles, "tiles_per_cluster": list(report.sizes)},
        lines=[f"tiles of each group, the oddest first: {report.folder / 'cluster_0.png'} and on"]
        if report.tiles
        else [],
        done=len(todo) - len(failed),
        skipped=len(slides) - len(todo),
        failed=failed,
        clock=clock,
    )


def measure_slide(slide: TiledSlide, *, output: Path) -> None:
    """Write the quality table of one slide, the done record last.

    Raises:
        UnreadableImage: the slide is damaged.
        InvalidData: it is neither RGB nor gray of 8 bits.
    """
    provenance = _provenance(slide)
    record = done_path(output, slide.image_id)
    record.unlink(missing_ok=True)  # from here on the item is not complete
    addresses = read_table(slide.table, format=TILES_FORMAT).select(*ADDRESS_SCHEMA)
    settings = provenance.settings["tiles"]
    with open_source(slide.path, settings) as image:
        threshold, artefacts = _survey(image, addresses, settings)
        measured = _measure(image, addresses, settings, threshold)
    columns = {name: measured[:, i] for i, name in enumerate(MEASURED_COLUMNS)} | artefacts
    table = addresses.with_columns(
        pl.Series(name, values).fill_nan(None).cast(QUALITY_SCHEMA[name]) for name, values in columns.items()
    )
    with stage("write"):
        path = write_table(table, quality_path(output, slide.image_id), provenance)
        write_done(record, provenance, [path])


def quality_path(output: Path, image_id: str) -> Path:
    """Where the quality table of a slide lies."""
    return output / "quality" / f"{id_to_name(image_id)}.parquet"


def _survey(
    image: Image, addresses: pl.DataFrame, settings: Mapping[str, Any]
) -> tuple[int, dict[str, NDArray[np.float64]]]:
    """The threshold that separated tissue when the tiles were made, and what ink and folds cover of each tile."""
    known = {name: settings[name] for name in TissueSettings.model_fields if name in settings}
    tissue = find_tissue(
        image, TissueSettings(**{**known, "tissue_method": "otsu", "inputs": (image.path,), "output": Path()})
    )
    boxes = addresses.select("x", "y", "w", "h").to_numpy()
    with stage("transform"):
        small, smaller = (tissue.overview.shrink(size) for size in (_INK_MAX_DIMENSION, _FOLD_MAX_DIMENSION))
        _, on_tissue = tissue_mask(smaller.rgb, threshold=tissue.threshold)
        folds = fold_mask(smaller.rgb, on_tissue & ~ink_mask(smaller.rgb))
        return tissue.threshold, {
            "ink": box_coverage(ink_mask(small.rgb), boxes, small.downsample),
            "folds": box_coverage(folds, boxes, smaller.downsample),
        }


def _measure(
    image: Image, addresses: pl.DataFrame, settings: Mapping[str, Any], threshold: int
) -> NDArray[np.float64]:
    """(n, columns), NaN where there is no value."""
    result = np.empty((len(addresses), len(MEASURED_COLUMNS)))
    for row, tile in enumerate(addresses.iter_rows(named=True)):
        pixels = read_tile(image, tile, settings)
        with stage("transform"):
            rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
            values = tile_quality(rgb, threshold)
            result[row] = [np.nan if value is None else value for value in values.values()]
    return result


def _provenance(slide: TiledSlide) -> Provenance:
    return slide.provenance(QUALITY_FORMAT, {})


def _is_complete(slide: TiledSlide, options: QualityOptions) -> bool:
    """Whether nothing is left to do; a slide that cannot be read is tried, so that its failure is recorded."""
    try:
        return is_slide_complete(done_path(options.output, slide.image_id), _provenance(slide), options)
    except (MissingFile, OSError):
        return False
