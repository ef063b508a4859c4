"""`stroma tile`: find tissue on slides and cut them into tiles."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial

from stroma.core.verbs import VerbResult
from stroma.prepare.inputs import Source
from stroma.prepare.slide_run import plan_slides, run_slides, subject_lines
from stroma.prepare.slide_tiles import SlideReport, count_tiles, tile_provenance, tile_slide
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.unreadable_tiles import unreadable_tiles

_FEW = 20


def tile(options: TileOptions) -> VerbResult:
    """Find tissue on slides and pictures and cut them into tiles.

    INPUTS are image files, folders, quoted patterns such as 'slides/**/*.svs', or a study.yaml. Tiles are boxes
    in level-0 pixels in tables, one an image; images of tiles are written only with --save-images. Beside the
    table lie the tissue mask and a thumbnail with the outlines of the tiles.

    Args:
        options: See `TileOptions`.

    Returns:
        Counts of images and tiles; images that failed are in `failures.parquet`.

    Raises:
        MissingFile: an input does not exist or holds no image.
        InvalidData: two images have the same id.
        OutputConflict: the output folder holds results of other settings, and `overwrite` is not set.
    """
    plan = plan_slides(options, partial(tile_provenance, options=options))
    if options.dry_run:
        return plan.result()
    outcome = run_slides(
        plan, partial(tile_slide, options=options), "tiling", lost_parts=partial(unreadable_tiles, options.output)
    )
    tiles = sum(count_tiles(options.output, source.image_id) for source in outcome.complete)
    output, features = (shlex.quote(f"{options.output}{ending}") for ending in ("", "-features"))
    return VerbResult(
        summary={"images": len(outcome.complete), "tiles": tiles},
        lines=[*plan.found.notes, *subject_lines(plan.found), *_report_lines(outcome.reports, options)],
        next=[f"stroma embed {output} --output {features} --encoder colour-texture"] if tiles else [],
        **outcome.counts(),
    )


def _report_lines(reports: Sequence[tuple[Source, SlideReport]], options: TileOptions) -> list[str]:
    """A line an image while they are few, else only for those with something to say."""
    lines = []
    for source, report in reports:
        if not report.tissue:
            lines.append(f"{source}: no tissue found (threshold {report.threshold}), so no tiles")
        elif not report.tiles and report.on_tissue:
            lines.append(f"{source}: none of its {report.on_tissue:,} tiles on tissue lies in the regions")
        elif not report.tiles:
            lines.append(
                f"{source}: no tile has a tissue fraction of {options.min_tissue:g} or more "
                f"(the slide has {report.tissue:.3f}, threshold {report.threshold})"
            )
        elif len(reports) <= _FEW:
            lines.append(
                f"{source}: {_counted(report, options)}, "
                f"tissue fraction of the slide {report.tissue:.3f}, threshold {report.threshold}"
            )
        lines += [f"{source}: {note}" for note in report.notes]
    return lines


def _counted(report: SlideReport, options: TileOptions) -> str:
    if options.tma:
        return f"{report.tiles:,} of {report.grid:,} cores"
    size = report.size
    sides = (
        f"{size.width} level-0 px wide" if size.width == size.height else f"{size.width} × {size.height} level-0 px"
    )
    return f"{report.tiles:,} of {report.grid:,} tiles, {sides}"
