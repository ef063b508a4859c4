"""`stroma medians`: the table of median spectra of a study."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import DiskFull, InvalidData, OutputConflict, UsageError
from stroma.core.files import id_to_name
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_table, write_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.prepare.gather import gather_tables
from stroma.spectra.parameters import ParameterConstants
from stroma.study.htc.median_tables import read_htc_medians, write_htc_medians
from stroma.study.median_rows import TABLE_FORMAT, MedianSettings, recording_rows
from stroma.study.parameters import check_source, parameter_files
from stroma.study.selection import Where
from stroma.study.study import Study, open_study

MEDIANS_FILE = "medians.parquet"
_HTC_ENDING = ".feather"


class MediansOptions(VerbOptions):
    """Options of `stroma medians`."""

    inputs: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="study.yaml or its folder; or tables of htc (*@median_spectra@*.feather)"
    )
    output: Output
    annotator: str | None = Field(None, description="Only this annotator (default: all, each in rows of its own)")
    parameters: str = Field(
        "auto",
        description="Tissue parameters from htc (intermediates), camera (pictures), published (formulas), a vendor's "
        "module, auto (each from the first of these that has it), or none",
    )
    constants: ParameterConstants = Field(
        ParameterConstants(), description="The numbers of the formulas (--set constants.sto2_r2=0.2)"
    )
    highlights_above: float | None = Field(
        None, gt=0, description="Leave out pixels whose reflectance is above this in every band (gloss; try 0.6)"
    )
    where: Where = None
    htc: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Also write tables that htc reads: OUT/tables/<study>@median_spectra@<annotation>.feather"
    )
    workers: Workers = 1


@dataclass(frozen=True)
class MediansJob:
    """The rows of one image.

    Attributes:
        study: Its study.
        image_id: The image.
        options: Of the verb.
    """

    study: Path
    image_id: str
    options: MediansOptions

    def __str__(self) -> str:
        return self.image_id

    @property
    def folder(self) -> Path:
        """Where the rows of images lie."""
        return self.options.output / "images"

    @property
    def path(self) -> Path:
        """Its rows."""
        return self.folder / f"{id_to_name(self.image_id)}.parquet"

    @property
    def record(self) -> Path:
        """Its done record."""
        return done_path(self.folder, self.image_id)

    def provenance(self, study: Study) -> Provenance:
        """What its rows would be made from and with now."""
        recording = study[self.image_id]
        stem = recording.path.name.removesuffix("_SpecCube.dat")
        files = [recording.path, recording.folder / "annotations" / f"{stem}_meta.json"]
        files += [study.root / str(row["path"]) for row in study.annotation_rows(self.image_id) if row["path"]]
        files += parameter_files(recording, self.options.parameters) if self.options.parameters != "none" else []
        records = tuple(
            InputRecord.of(f"{self.image_id}/{path.name}", path) for path in dict.fromkeys(files) if path.is_file()
        )
        return Provenance(TABLE_FORMAT, self.options.settings(), records)


def medians(options: MediansOptions) -> VerbResult:
    """Median spectra and tissue parameters of every label of a study: one row an image, annotator and label.

    Writes OUT/medians.parquet, with all that is known of label and image (organ, perfusion state, camera, …) in its
    columns, so that `stroma stats` and `stroma report` need nothing else. Memory is that of one image. Given tables
    of htc instead of a study, it brings them into the same form. `--set constants.sto2_r2=0.2` changes a number of
    the formulas (docs/tissue-parameters.md).

    Args:
        options: The study and what to compute.

    Returns:
        Counts.

    Raises:
        UsageError: the study has no annotated image, or there is no such annotator.
        OutputConflict: the folder holds a table of other settings, and `overwrite` is not set.
        DiskFull: there is no space left; what is complete stays.
    """
    if all(path.suffix == _HTC_ENDING for path in options.inputs):
        return _from_htc(options)
    if len(options.inputs) > 1:
        raise UsageError("one study at a time", next_step="Or only tables of htc, which end in .feather")
    study = open_study(options.inputs[0], options.where)
    if study.config.labels is None or not study.annotated(options.annotator):
        raise UsageError(
            "the study has no annotated image", where=study.path, next_step="stroma check says what it found"
        )
    if options.parameters != "none":
        check_source(options.parameters)
    ids = _annotated(study, options.annotator)
    jobs = [MediansJob(options.inputs[0], image_id, options) for image_id in ids]
    todo = [job for job in jobs if not _is_complete(job, study)]
    if options.dry_run:
        states = [f"{'to do' if job in todo else 'complete'}: {job}" for job in jobs]
        return VerbResult(summary={"images": len(jobs), "to do": len(todo)}, lines=states)
    clock, failed = StageClock(), list[Failed[MediansJob]]()
    workers = options.workers if len(todo) > 1 else 1
    for outcome in track(map_items(make_rows, todo, workers=workers), "medians", len(todo)):
        clock.add(outcome.clock)
        if not isinstance(outcome, Done):
            failed.append(outcome)
            if outcome.error == DiskFull.__name__:
                raise DiskFull.at(options.output)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    lost = {failure.item.image_id for failure in failed}
    parts = [job for job in jobs if job.image_id not in lost]
    if not parts:
        return VerbResult(output=options.output, failed=failed, clock=clock)
    table = _write(study, parts, options)
    written = write_htc_medians(read_table(table), study, options.output) if options.htc else []
    return VerbResult(
        output=table,
        summary=_summary(table),
        lines=[
            *_lines(study, table, len(study) - len(ids)),
            *_empty(study, table, [job.image_id for job in parts], options.annotator),
            *(f"for htc: {path}" for path in written),
        ],
        next=_next(options.output),
        done=len(todo) - len(failed),
        skipped=len(jobs) - len(todo),
        failed=failed,
        clock=clock,
    )


def make_rows(job: MediansJob) -> int:
    """Make the rows of one image; its done record is written last.

    Args:
        job: Which one.

    Returns:
        Number of rows.
    """
    study, options = _study(job.study, job.options.where), job.options
    provenance = job.provenance(study)
    job.record.unlink(missing_ok=True)
    settings = MedianSettings(options.annotator, options.parameters, options.constants, options.highlights_above)
    rows = recording_rows(study[job.image_id], settings)
    with stage("write"):
        write_table(rows, job.path, provenance)
        write_done(job.record, provenance, [job.path])
    return len(rows)


@lru_cache(maxsize=1)
def _study(path: Path, where: str | None) -> Study:
    return open_study(path, where)


def _annotated(study: Study, annotator: str | None) -> list[str]:
    """Images with an annotation, in any layer, sorted."""
    rows = study.annotations
    if annotator is not None:
        rows = rows.filter(pl.col("annotator") == annotator)
    return rows["image_id"].unique().sort().to_list()


def _is_complete(job: MediansJob, study: Study) -> bool:
    if not study.image_path(job.image_id).exists():
        return False  # it is tried, so that its failure is recorded
    try:
        return is_complete(job.record, job.provenance(study), verify=job.options.verify)
    except OutputConflict:
        if job.options.overwrite:
            return False
        raise


def _write(study: Study, parts: Sequence[MediansJob], options: MediansOptions) -> Path:
    """All rows in one table, without holding them."""
    wavelengths = _wavelengths(study, parts)
    settings = {**options.settings(), "wavelengths_nm": wavelengths, "labels": study.labels.plain()}
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=options.output) as folder, stage("write"):
        rows = gather_tables([job.path for job in parts], Path(folder))
        return write_table(rows, options.output / MEDIANS_FILE, Provenance(TABLE_FORMAT, settings))


def _wavelengths(study: Study, parts: Sequence[MediansJob]) -> list[float]:
    """Those of the images, which have to be the same.

    Raises:
        InvalidData: two images differ.
    """
    first: list[float] | None = None
    for job in parts:
        with study.open(job.image_id) as image:
            nm = [] if image.wavelengths_nm is None else [float(value) for value in image.wavelengths_nm]
        if first is not None and nm != first:
            raise InvalidData(
                f"has {len(nm)} bands, '{parts[0].image_id}' has {len(first)} others: one table has one set of bands",
                where=study.image_path(job.image_id),
                next_step="Make a study of each camera",
            )
        first = nm
    return first or []


def _summary(table: Path) -> dict[str, Any]:
    counts = pl.scan_parquet(table, glob=False).select(
        pl.len().alias("rows"),
        pl.col("image_id").n_unique().alias("images"),
        pl.col("subject_id").n_unique().alias("subjects"),
        pl.col("label_name").n_unique().alias("labels"),
    )
    return counts.collect().row(0, named=True)


def _lines(study: Study, table: Path, without: int) -> list[str]:
    """Where the parameters come from, and what is missing."""
    rows = pl.scan_parquet(table, glob=False)
    found = (
        rows.group_by("parameters").agg(pl.col("image_id").n_unique().alias("images")).sort("parameters").collect()
    )
    lines = [f"{name or 'no tissue parameters'} ({images} images)" for name, images in found.iter_rows()]
    if len(found) > 1:
        lines.append("tissue parameters of several sources are not comparable: choose one with --parameters")
    present = set(rows.select(pl.col("label_name").unique()).collect()["label_name"])
    absent = [name for name in study.labels.names if name not in present]
    if absent:
        lines.append(f"labels without a pixel: {', '.join(absent)}")
    if without:
        lines.append(f"images without such an annotation: {without}")
    unused = rows.select((pl.col("n_pixels") - pl.col("n_used")).sum()).collect().item()
    if unused:
        lines.append(f"annotated pixels left out, not measured or highlights: {unused:,}")
    return lines


def _empty(study: Study, table: Path, ids: Sequence[str], annotator: str | None) -> list[str]:
    """Labels that an annotation names though no measured pixel is left of them, so that they have no row."""
    keys = ["image_id", "annotator", "label"]
    named = study.annotations.filter(pl.col("label").is_in(study.labels.names) & pl.col("image_id").is_in(ids))
    if annotator is not None:
        named = named.filter(pl.col("annotator") == annotator)
    present = pl.scan_parquet(table, glob=False).select(pl.col("image_id", "annotator"), label="label_name").collect()
    lost = named.select(keys).unique().join(present, on=keys, how="anti", nulls_equal=True).sort(keys)
    if lost.is_empty():
        return []
    shown = ", ".join(f"{label} of {image_id} ({who})" for image_id, who, label in lost.head(5).iter_rows())
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return [f"annotated, but without a pixel that was measured and is of this label alone: {shown}{more}"]


def _next(folder: Path) -> list[str]:
    table = shlex.quote(str(folder / MEDIANS_FILE))
    return [
        f"stroma report {shlex.quote(str(folder))}",
        f"stroma stats {table} --value median_sto2 --group COLUMN --subject subject_id --by label_name",
    ]


def _from_htc(options: MediansOptions) -> VerbResult:
    """Tables of htc as one of ours."""
    with stage("read"):
        tables = [read_htc_medians(path) for path in options.inputs]
    inputs = tuple(InputRecord.of(path.name, path) for path in options.inputs)
    target = options.output / MEDIANS_FILE
    if target.exists() and not options.overwrite and not options.dry_run:
        found = read_table(target, format=TABLE_FORMAT)
        raise OutputConflict(
            f"holds a table of {len(found)} rows already", where=target, next_step="Use --overwrite to replace it"
        )
    rows = pl.concat(tables, how="diagonal_relaxed")
    if options.dry_run:
        return VerbResult(summary={"rows": len(rows)})
    settings = {**options.settings(), "made_by": "htc"}
    table = write_table(rows, target, Provenance(TABLE_FORMAT, settings, inputs))
    return VerbResult(output=table, summary=_summary(table), next=_next(options.output), done=len(tables))
