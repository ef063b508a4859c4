"""`stroma phantom slides`: H&E-like kidney slides with known nuclei, glomeruli and tissue."""

from __future__ import annotations

import csv
import io
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import polars as pl
import shapely
from pydantic import Field as Option

from stroma.core.clock import StageClock, stage
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import OutputConflict
from stroma.core.files import atomic_path, id_to_name, write_text
from stroma.core.items import Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.core.verbs import Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.phantom.slides_files import glomeruli, glomeruli_runs, tissue_mask, write_glomeruli_mask, write_slide
from stroma.phantom.slides_nuclei import TYPES, Nuclei
from stroma.phantom.slides_paint import Painter
from stroma.phantom.slides_plan import SlidePlan, plan_slide
from stroma.regions.annotation import Annotation
from stroma.regions.geojson import write_geojson
from stroma.regions.rle_csv import write_rle_csv

NUCLEI_FORMAT = "phantom-nuclei/1"
TISSUE_DOWNSAMPLE = 16
COLOURS = {
    "glomerulus": (255, 196, 0),
    "epithelial": (0, 158, 115),
    "fibroblast": (230, 159, 0),
    "lymphocyte": (0, 114, 178),
    "mesangial": (204, 121, 167),
}


class PhantomSlidesOptions(VerbOptions):
    """Options of `stroma phantom slides`."""

    output: Annotated[Path, Flag(argument=True, setting=False)] = Option(description="Folder for the study")
    slides: Annotated[int, Flag(setting=False)] = Option(3, ge=1, description="Number of slides")
    subjects: int | None = Option(None, ge=1, description="Number of patients (default: one per slide)")
    width: int = Option(8192, ge=512, description="Width of a slide in pixels")
    height: int = Option(6144, ge=512, description="Height of a slide in pixels")
    mpp: float = Option(0.5, ge=0.1, le=4.0, description="Size of a pixel in µm")
    quality: int = Option(85, ge=1, le=100, description="JPEG quality")
    nuclei_outlines: bool = Option(False, description="Also write the outlines of all nuclei as GeoJSON")
    seed: int = Option(0, ge=0, description="Seed; the same seed gives the same files")
    workers: Workers = 1


@dataclass(frozen=True)
class SlideJob:
    """One slide to make."""

    image_id: str
    subject_id: str
    inflamed: bool
    options: PhantomSlidesOptions

    def __str__(self) -> str:
        return self.image_id

    @property
    def plan(self) -> SlidePlan:
        """The plan of the slide."""
        o = self.options
        return plan_slide(self.image_id, self.subject_id, o.seed, o.width, o.height, o.mpp, inflamed=self.inflamed)

    @property
    def provenance(self) -> Provenance:
        """What the slide depends on: not on how many others are made with it."""
        settings = self.options.settings()
        del settings["subjects"]
        return Provenance("phantom-slide/1", settings | {"subject_id": self.subject_id, "inflamed": self.inflamed})

    def path(self, folder: str, suffix: str) -> Path:
        """A file of this slide below the output folder."""
        return self.options.output / folder / f"{id_to_name(self.image_id)}{suffix}"


def phantom_slides(options: PhantomSlidesOptions) -> VerbResult:
    """Make H&E-like kidney slides with known nuclei, glomeruli and tissue.

    Pyramidal JPEG TIFFs in OUT/slides that OpenSlide and QuPath open; OUT/slides.csv says which patient each is of
    and whether its kidney is inflamed; OUT/train.csv has the glomeruli as run lengths (HuBMAP layout); OUT/truth
    has nuclei (table), glomeruli (GeoJSON, mask) and tissue (mask at a 16th of the size).

    Args:
        options: See `PhantomSlidesOptions`.

    Returns:
        Counts of slides, glomeruli and nuclei.

    Raises:
        OutputConflict: the folder holds a phantom of other settings, and `overwrite` is not set.
    """
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder")
    jobs = _jobs(options)
    todo = [job for job in jobs if not _is_complete(job)]
    if options.dry_run:
        lines = [f"{'to do' if job in todo else 'complete'}: {job}" for job in jobs]
        return VerbResult(options.output, {"slides": len(jobs), "to do": len(todo)}, lines)
    clock, failed = StageClock(), list[Failed[SlideJob]]()
    for outcome in track(map_items(make_slide, todo, workers=options.workers), "painting", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Failed):
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    lost = {failure.item.image_id for failure in failed}
    complete = [job for job in jobs if job.image_id not in lost]
    counts = _write_study(complete, options.output)
    slides = shlex.quote(str(options.output / "slides"))
    return VerbResult(
        options.output,
        {"slides": len(complete), **counts},
        next=[f"stroma tile {slides} --output {shlex.quote(f'{options.output}-tiles')}"],
        done=len(todo) - len(failed),
        skipped=len(jobs) - len(todo),
        failed=failed,
        clock=clock,
    )


def _jobs(options: PhantomSlidesOptions) -> list[SlideJob]:
    subjects = min(options.subjects or options.slides, options.slides)
    return [
        SlideJob(f"slide-{i + 1:03d}", f"patient-{i % subjects + 1:03d}", bool(i % subjects % 2), options)
        for i in range(options.slides)
    ]


def _is_complete(job: SlideJob) -> bool:
    options = job.options
    try:
        return is_complete(done_path(options.output, job.image_id), job.provenance, verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def make_slide(job: SlideJob) -> None:
    """Make one slide, its truth and at last its done record."""
    done_path(job.options.output, job.image_id).unlink(missing_ok=True)
    plan, provenance = job.plan, job.provenance
    slide, mask = job.path("slides", ".tiff"), job.path("truth/glomeruli", ".tiff")
    parts = write_slide(slide, Painter(plan), quality=job.options.quality)
    outputs = [slide, _write_nuclei(job, plan, parts)]
    polygons = [body.polygon(plan.mpp) for body in glomeruli(plan)]
    with stage("write"):
        outputs.append(write_geojson(job.path("truth/glomeruli", ".geojson"), _annotations(polygons)))
        write_glomeruli_mask(mask, plan, polygons)
        tissue = job.path("truth/tissue", ".png")
        with atomic_path(tissue) as temporary:
            PIL.Image.fromarray(tissue_mask(plan, TISSUE_DOWNSAMPLE)).convert("L").save(temporary)
        outputs += [mask, tissue]
        if job.options.nuclei_outlines:
            outputs.append(_write_outlines(job, plan, parts))
    write_done(done_path(job.options.output, job.image_id), provenance, outputs)


def _annotations(polygons: list[Any]) -> list[Annotation]:
    return [Annotation(polygon, label="glomerulus", colour=COLOURS["glomerulus"]) for polygon in polygons]


def _write_nuclei(job: SlideJob, plan: SlidePlan, parts: list[Nuclei]) -> Path:
    """The table of nuclei, row by row of the slide, positions in level-0 pixels."""
    columns = {entry.name: [getattr(part, entry.name) for part in parts] for entry in fields(Nuclei)}
    empty = np.zeros(0)
    every = Nuclei(*(np.concatenate([*values, empty]) for values in columns.values()))
    table = pl.DataFrame(
        {
            "image_id": pl.Series([job.image_id] * len(every), dtype=pl.String),
            "x": every.x / plan.mpp,
            "y": every.y / plan.mpp,
            "type": pl.Series([TYPES[int(kind)] for kind in every.type], dtype=pl.String),
            "area_um2": every.area_um2,
            "long_axis_um": 2 * every.a,
            "short_axis_um": 2 * every.b,
        }
    ).sort("y", "x")
    table = table.insert_column(1, pl.Series("object", np.arange(len(table)), dtype=pl.Int64))
    return write_table(
        table, job.path("truth/nuclei", ".parquet"), Provenance(NUCLEI_FORMAT, job.provenance.settings)
    )


def _write_outlines(job: SlideJob, plan: SlidePlan, parts: list[Nuclei]) -> Path:
    annotations = [
        Annotation(polygon, label=TYPES[kind], colour=COLOURS[TYPES[kind]], kind="detection")
        for part in parts
        for polygon, kind in zip(shapely.polygons(part.outlines_um() / plan.mpp), part.type.tolist(), strict=True)
    ]
    annotations.sort(key=lambda annotation: annotation.geometry.bounds[1::-1])
    return write_geojson(job.path("truth/nuclei", ".geojson"), annotations, decimals=2)


def _write_study(jobs: list[SlideJob], output: Path) -> dict[str, int]:
    """`slides.csv` and `train.csv`, from complete slides."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("image_id", "subject_id", "path", "diagnosis", "width", "height", "mpp", "glomeruli", "nuclei")
    writer.writerow(columns)
    encodings, totals = {}, {"glomeruli": 0, "nuclei": 0}
    for job in jobs:
        plan = job.plan
        polygons = [body.polygon(plan.mpp) for body in glomeruli(plan)]
        nuclei = pl.scan_parquet(job.path("truth/nuclei", ".parquet"), glob=False).select(pl.len()).collect().item()
        path = job.path("slides", ".tiff").relative_to(output).as_posix()
        diagnosis = "interstitial nephritis" if job.inflamed else "normal"
        sizes = (plan.width, plan.height, plan.mpp)
        writer.writerow((job.image_id, job.subject_id, path, diagnosis, *sizes, len(polygons), nuclei))
        encodings[job.image_id] = glomeruli_runs(plan, polygons)
        totals["glomeruli"] += len(polygons)
        totals["nuclei"] += nuclei
    write_text(output / "slides.csv", text.getvalue())
    write_rle_csv(output / "train.csv", encodings)
    return totals
