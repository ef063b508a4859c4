"""`stroma tissue`: find tissue on slides, and write it as masks and outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.files import id_to_name
from stroma.core.text import plural
from stroma.core.verbs import VerbResult
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.slide_images import write_picture
from stroma.prepare.slide_run import make_slide, plan_slides, run_slides, slide_provenance, subject_lines
from stroma.prepare.slide_tissue import Tissue, find_tissue
from stroma.prepare.tissue_options import TissueOptions
from stroma.regions.annotation import Annotation
from stroma.regions.geojson import write_geojson
from stroma.regions.outlines import polygons_from_mask
from stroma.slides.thumbnail import draw_mask

TISSUE_FORMAT = "tissue/1"
THUMBNAIL_MAX_DIMENSION = 2048
_FEW = 20


@dataclass(frozen=True)
class TissueReport:
    """What was found on a slide.

    Attributes:
        tissue: Fraction of the slide that is tissue, 0-1.
        pieces: Number of its pieces.
        threshold: 0-255.
        ink: Fraction of the slide under pen marks, when these were looked for.
        folds: The same of folds.
    """

    tissue: float
    pieces: int
    threshold: int
    ink: float
    folds: float


def tissue(options: TissueOptions) -> VerbResult:
    """Find tissue on slides and pictures.

    INPUTS are image files, folders, quoted patterns such as 'slides/**/*.svs', or a study.yaml. Written are, one an
    image, OUT/tissue (PNG masks of a small picture of the slide, 255 on tissue), OUT/outlines (GeoJSON in level-0
    pixels, for QuPath) and OUT/thumbnails.

    Args:
        options: See `TissueOptions`.

    Returns:
        Counts of images; images that failed are in `failures.parquet`.

    Raises:
        MissingFile: an input does not exist or holds no image.
        InvalidData: two images have the same id.
        OutputConflict: the output folder holds results of other settings, and `overwrite` is not set.
    """
    plan = plan_slides(options, partial(slide_provenance, options=options, format=TISSUE_FORMAT))
    if options.dry_run:
        return plan.result()
    outcome = run_slides(plan, partial(write_tissue, options=options), "finding tissue")
    return VerbResult(
        summary={"images": len(outcome.complete)},
        lines=[*plan.found.notes, *subject_lines(plan.found), *_report_lines(outcome.reports, options)],
        **outcome.counts(),
    )


def write_tissue(source: Source, options: TissueOptions) -> TissueReport:
    """Find the tissue of one slide and write mask, outlines and thumbnail, the done record last.

    Raises:
        UnreadableImage: the file is no image or is damaged.
        UsageError: the options do not fit the slide.
    """
    name, folder = id_to_name(source.image_id), options.output

    def write(image: Image) -> tuple[list[Path], TissueReport]:
        found = find_tissue(image, options)
        with stage("transform"):
            outlines = tissue_outlines(found, options.simplify_px)
            small = found.overview.shrink(THUMBNAIL_MAX_DIMENSION)
            thumbnail = draw_mask(small, found.mask, found.overview.downsample)
        labelled = [Annotation(polygon, label="Tissue") for polygon in outlines]
        with stage("write"):
            outputs = [
                write_picture(folder / "tissue" / f"{name}.png", found.mask.astype(np.uint8) * np.uint8(255)),
                write_geojson(folder / "outlines" / f"{name}.geojson", labelled),
                write_picture(folder / "thumbnails" / f"{name}.png", thumbnail),
            ]
        return outputs, TissueReport(found.fraction, len(outlines), found.threshold, found.ink, found.folds)

    return make_slide(source, options, slide_provenance(source, options, TISSUE_FORMAT), write)


def tissue_outlines(found: Tissue, simplify_px: float = 0.0) -> NDArray[np.object_]:
    """Outlines of the tissue as shapely polygons in level-0 pixels.

    They follow the borders of the mask's pixels, which may lie up to one of these pixels beyond the slide.

    Args:
        found: From `find_tissue`.
        simplify_px: Largest shift of an outline, in pixels of the mask.
    """
    _, polygons = polygons_from_mask(found.mask, simplify_px=simplify_px)
    vertical, horizontal = found.overview.downsample
    placed: NDArray[np.object_] = shapely.transform(polygons, lambda points: points * (horizontal, vertical))
    return placed


def _report_lines(reports: Sequence[tuple[Source, TissueReport]], options: TissueOptions) -> list[str]:
    """A line an image while they are few, else only for those without tissue."""
    lines = []
    for source, report in reports:
        if not report.tissue:
            lines.append(f"{source}: no tissue found (threshold {report.threshold})")
        elif len(reports) <= _FEW:
            ink = f", ink on {report.ink:.4f}" if options.reject_ink else ""
            folds = f", folds on {report.folds:.4f}" if options.reject_folds else ""
            lines.append(
                f"{source}: tissue on {report.tissue:.3f} of the slide in {plural(report.pieces, 'piece')}"
                f"{ink}{folds}, threshold {report.threshold}"
            )
    return lines
