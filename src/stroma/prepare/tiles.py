"""`stroma tile`: find tissue on slides and cut them into tiles."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from stroma.core.clock import StageClock
from stroma.core.done import done_path, first_difference, is_complete
from stroma.core.errors import MissingFile, OutputConflict
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.tables import read_provenance
from stroma.core.verbs import VerbResult, write_failures
from stroma.prepare.inputs import Found, Source, find_inputs
from stroma.prepare.slide_tiles import SlideReport, count_tiles, slide_provenance, tile_slide
from stroma.prepare.sources import read_sources, sources_path, write_sources
from stroma.prepare.tile_options import TileOptions

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
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder as --output")
    found = find_inputs(options.inputs, output=options.output)
    earlier = _earlier_sources(found.sources, options)
    todo = [source for source in found.sources if not _is_complete(source, options)]
    if options.dry_run:
        return _plan(found, todo, options)
    clock = StageClock()
    reports: list[tuple[Source, SlideReport]] = []
    failed: list[Failed[Source]] = []
    workers = options.workers if len(todo) > 1 else 1
    outcomes = map_items(partial(tile_slide, options=options), todo, workers=workers)
    for outcome in track(outcomes, "tiling", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            reports.append((outcome.item, outcome.result))
        else:
            failed.append(outcome)
    provenance = Provenance("failures/1", options.settings())
    write_failures(options.output, failed, provenance)
    lost = {failure.item.image_id for failure in failed}
    complete = [source for source in found.sources if source.image_id not in lost]
    rows = [(source.image_id, source.subject_id, source.path) for source in complete]
    write_sources(options.output, [*earlier, *rows], provenance)
    tiles = sum(count_tiles(options.output, source.image_id) for source in complete)
    output, features = (shlex.quote(f"{options.output}{ending}") for ending in ("", "-features"))
    return VerbResult(
        output=options.output,
        summary={"images": len(complete), "tiles": tiles},
        lines=[*found.notes, *_subject_lines(found), *_report_lines(reports, options)],
        next=[f"stroma embed {output} --output {features} --encoder colour-texture"] if tiles else [],
        done=len(reports),
        skipped=len(found.sources) - len(todo),
        failed=failed,
        clock=clock,
    )


def _earlier_sources(sources: Iterable[Source], options: TileOptions) -> list[tuple[str, str, Path]]:
    """Images that earlier runs with these settings left complete in the output folder, and this run does not name."""
    path = sources_path(options.output)
    if not path.exists():
        return []
    difference = first_difference(read_provenance(path).settings, options.settings())
    if difference and not options.overwrite:
        raise OutputConflict(
            f"holds tiles made with other settings: {difference}",
            where=options.output,
            next_step="Use --overwrite to replace them, or another --output",
        )
    if difference:
        return []
    named = {source.image_id for source in sources}
    return [
        (image_id, subject_id, Path(file))
        for image_id, subject_id, file in read_sources(options.output).iter_rows()
        if image_id not in named and done_path(options.output, image_id).exists()
    ]


def _is_complete(source: Source, options: TileOptions) -> bool:
    """Whether nothing is left to do; a file that cannot be read is tried, so that its failure is recorded."""
    try:
        provenance = slide_provenance(source, options)
    except (MissingFile, OSError):
        return False
    try:
        return is_complete(done_path(options.output, source.image_id), provenance, verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def _plan(found: Found, todo: Sequence[Source], options: TileOptions) -> VerbResult:
    lines = [f"{'to do' if source in todo else 'complete'}: {source}: {source.path}" for source in found.sources]
    return VerbResult(
        summary={"images": len(found.sources), "to do": len(todo)},
        lines=[*found.notes, *_subject_lines(found), *lines],
    )


def _subject_lines(found: Found) -> list[str]:
    return [] if found.subjects_known else ["subjects unknown: each image counts as its own subject"]


def _report_lines(reports: Sequence[tuple[Source, SlideReport]], options: TileOptions) -> list[str]:
    """A line an image while they are few, else only for those with something to say."""
    lines = []
    for source, report in reports:
        if not report.tissue:
            lines.append(f"{source}: no tissue found (threshold {report.threshold}), so no tiles")
        elif not report.tiles:
            lines.append(
                f"{source}: no tile has a tissue fraction of {options.min_tissue:g} or more "
                f"(the slide has {report.tissue:.3f}, threshold {report.threshold})"
            )
        elif len(reports) <= _FEW:
            lines.append(
                f"{source}: {report.tiles:,} of {report.grid:,} tiles, {report.size_px} level-0 px wide, "
                f"tissue fraction of the slide {report.tissue:.3f}, threshold {report.threshold}"
            )
        lines += [f"{source}: {note}" for note in report.notes]
    return lines
