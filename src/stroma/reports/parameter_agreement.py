"""`stroma parameters`: how far computed tissue parameters agree with those that the camera showed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.errors import OutputConflict, UsageError
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_provenance, write_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.reports.agreement_figure import agreement_figure
from stroma.reports.figure import count
from stroma.reports.page import REPORT_FORMAT, Report
from stroma.spectra.agreement import agreement, overall_agreement
from stroma.spectra.parameters import ParameterConstants
from stroma.study.parameters import check_source, parameter_files, read_parameters
from stroma.study.selection import Where
from stroma.study.study import Study, open_study

AGREEMENT_FORMAT = "parameter-agreement/1"
AGREEMENT_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "parameter": pl.String(),
    "source": pl.String(),
    "reference": pl.String(),
    "n_pixels": pl.Int64(),
    "mean": pl.Float64(),
    "mean_reference": pl.Float64(),
    "bias": pl.Float64(),
    "sd": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "rank": pl.Float64(),
}
"""One row a recording and parameter; differences are computed minus reference."""

_SAMPLE = 300  # pixels of a recording and parameter that the figure shows


class AgreementOptions(VerbOptions):
    """Options of `stroma parameters`."""

    study: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="study.yaml, or its folder")
    output: Output
    source: str = Field("published", description="What is compared: published (formulas), htc, or a vendor's module")
    reference: str = Field(
        "camera", description="With what: camera (pictures beside the cubes) or htc (intermediates)"
    )
    constants: ParameterConstants = Field(
        ParameterConstants(), description="The numbers of the formulas (--set constants.sto2_r2=0.2)"
    )
    where: Where = None
    workers: Workers = 1


@dataclass(frozen=True)
class _Compared:
    """One recording.

    Attributes:
        rows: Of `AGREEMENT_SCHEMA`.
        samples: Some pixels of each parameter (computed, reference).
        alone: Parameters that only the reference has.
    """

    rows: list[dict[str, object]]
    samples: dict[str, NDArray[np.float32]]
    alone: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    image_id: str
    options: AgreementOptions

    def __str__(self) -> str:
        return self.image_id


def parameters(options: AgreementOptions) -> VerbResult:
    """Compare computed tissue parameters with the camera's own pictures: bias and limits of agreement.

    Each picture `*_Oxygenation.png`, `*_NIR-Perfusion.png`, … beside a cube is read back through its colour scale and
    compared pixel by pixel, outside the background. Writes OUT/agreement.parquet (one row a recording and parameter)
    and OUT/report.html. `--set constants.sto2_r2=0.2` changes a number of the formulas (docs/tissue-parameters.md).

    Args:
        options: The study, and what is compared with what.

    Returns:
        Bias and limits over all recordings.

    Raises:
        UsageError: no recording has the reference.
        OutputConflict: the folder holds a comparison of other settings, and `overwrite` is not set.
    """
    if options.source == options.reference:
        raise UsageError(
            f"'{options.source}' is compared with itself", next_step="Give --source or --reference another name"
        )
    check_source(options.source)
    check_source(options.reference)
    study = open_study(options.study, options.where)
    ids = [image_id for image_id in study if parameter_files(study[image_id], options.reference)]
    if not ids:
        raise UsageError(
            f"no recording has tissue parameters of the source '{options.reference}'",
            where=study.path,
            next_step="The camera's pictures lie beside the cubes: <timestamp>_Oxygenation.png, …",
        )
    settings = options.settings()
    table_path = options.output / "agreement.parquet"
    if table_path.is_file() and not options.overwrite and read_provenance(table_path).settings != settings:
        raise OutputConflict(
            "was made with other settings", where=table_path, next_step="Use --overwrite, or another --output"
        )
    if options.dry_run:
        return VerbResult(summary={"recordings": len(ids)}, lines=[f"would compare {image_id}" for image_id in ids])
    clock, failed, found = StageClock(), list[Failed[_Job]](), list[_Compared]()
    jobs = [_Job(image_id, options) for image_id in ids]
    for outcome in track(map_items(compare, jobs, workers=options.workers), "comparing", len(jobs)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            found.append(outcome.result)
        else:
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", settings))
    rows = pl.DataFrame([row for one in found for row in one.rows], schema=AGREEMENT_SCHEMA, orient="row")
    if rows.is_empty():
        return VerbResult(output=options.output, failed=failed, clock=clock, lines=["nothing to compare"])
    inputs = tuple(
        InputRecord.of(f"{image_id}/{path.name}", path)
        for image_id in ids
        for path in (study.image_path(image_id), *parameter_files(study[image_id], options.reference))
        if path.is_file()
    )
    overall = overall_agreement(rows)
    samples = {
        name: np.concatenate([one.samples[name] for one in found if name in one.samples])
        for name in overall["parameter"]
    }
    write_table(rows, table_path, Provenance(AGREEMENT_FORMAT, settings, inputs))
    with stage("write"):
        page = options.output / "report.html"
        alone = sorted({name for one in found for name in one.alone})
        _page(study, options, rows, overall, samples, alone, Provenance(REPORT_FORMAT, settings, inputs)).write(page)
    return VerbResult(
        output=page,
        lines=[_line(row) for row in overall.to_dicts()],
        details={"agreement": overall.to_dicts()},
        done=len(found),
        failed=failed,
        clock=clock,
    )


def compare(job: _Job) -> _Compared:
    """Compare one recording."""
    options = job.options
    recording = _study(options.study, options.where)[job.image_id]
    cube = recording.cube()
    ours = read_parameters(recording, options.source, options.constants, cube=cube)
    reference = read_parameters(recording, options.reference, options.constants, cube=cube)
    rows, samples = list[dict[str, object]](), dict[str, NDArray[np.float32]]()
    for name in reference.values:
        if name not in ours.values:
            continue
        a, b = ours[name], reference[name]
        with stage("transform"):
            one = agreement(a, b)
        if one is None:
            continue
        rows.append(
            {
                "image_id": recording.image_id,
                "subject_id": recording.subject_id,
                "parameter": name,
                "source": ours.sources[name],
                "reference": reference.sources[name],
                "n_pixels": one.n,
                "mean": one.mean_first,
                "mean_reference": one.mean_second,
                "bias": one.bias,
                "sd": one.sd,
                "low": one.limits[0],
                "high": one.limits[1],
                "rank": one.rank,
            }
        )
        both = np.isfinite(a) & np.isfinite(b)
        pairs = np.column_stack([a[both], b[both]])
        samples[name] = pairs[np.linspace(0, len(pairs) - 1, min(_SAMPLE, len(pairs))).round().astype(int)]
    return _Compared(rows, samples, tuple(name for name in reference.values if name not in ours.values))


@lru_cache(maxsize=1)
def _study(path: Path, where: str | None) -> Study:
    return open_study(path, where)


def _line(row: dict[str, float]) -> str:
    rank = "" if row["rank"] is None else f", rank correlation {row['rank']:.2f}"
    return (
        f"{row['parameter']}: bias {row['bias']:+.3f}, limits of agreement {row['low']:+.3f} to {row['high']:+.3f}"
        f"{rank} ({count(int(row['n_recordings']), 'recording')}, {count(int(row['n_subjects']), 'subject')})"
    )


def _page(
    study: Study,
    options: AgreementOptions,
    rows: pl.DataFrame,
    overall: pl.DataFrame,
    samples: dict[str, NDArray[np.float32]],
    alone: list[str],
    provenance: Provenance,
) -> Report:
    first, second = rows["source"].unique().sort().to_list(), rows["reference"].unique().sort().to_list()
    names = (", ".join(first), ", ".join(second))
    page = Report(
        f"Tissue parameters: {names[0]} against {names[1]}",
        subtitle=f"{study.name}: {count(rows['image_id'].n_unique(), 'recording')} of "
        f"{count(rows['subject_id'].n_unique(), 'subject')}.",
        provenance=provenance,
    )
    for row in overall.to_dicts():
        page.card(row["parameter"], f"{row['bias']:+.3f}", f"bias; limits {row['low']:+.3f} to {row['high']:+.3f}")
    section = page.section("Over all recordings")
    section.text(
        f"Differences are {names[0]} minus {names[1]}, pixel by pixel outside the background. The bias is the mean "
        "over subjects of the mean over their recordings. Between the limits of agreement lie about 95 % of the "
        "differences of pixels of a new recording (Bland and Altman 1986, 2007)."
    )
    section.table(overall, "overall", caption="Bias and limits of agreement", headers=_OVERALL)
    for name in overall["parameter"]:
        section.figure(
            agreement_figure(
                name, samples[name], rows.filter(pl.col("parameter") == name),
                overall.filter(pl.col("parameter") == name).to_dicts()[0], names,
            ),
            f"agreement-{name}",
            caption=f"{name}: difference of {names[0]} and {names[1]} over their mean",
            reading=f"Small dots: up to {_SAMPLE} pixels of each recording, evenly taken. Large dots: recordings. "
            "Solid line: bias; dashed lines: limits of agreement. A slope means that the scales differ.", pdf=True,
        )  # fmt: skip
    section = page.section("Each recording")
    section.table(
        rows.drop("source", "reference"), "recordings", caption="Bias and limits of agreement of each recording",
        headers=_RECORDINGS, rows=60,
    )  # fmt: skip
    page.section("Limits").limits(_limits(study, options, rows, alone))
    return page


_NUMBERS = {"sd": "SD", "low": "Lower limit", "high": "Upper limit", "rank": "Rank corr."}
_OVERALL = {
    "parameter": "Parameter",
    "n_subjects": "Subjects",
    "n_recordings": "Recordings",
    "bias": "Bias",
    "bias_low": "95 % from",
    "bias_high": "to",
    **_NUMBERS,
}
_RECORDINGS = {"image_id": "Recording", "parameter": "Parameter", "n_pixels": "Pixels", "bias": "Bias", **_NUMBERS}


def _limits(study: Study, options: AgreementOptions, rows: pl.DataFrame, alone: list[str]) -> list[str]:
    limits = ["Agreement with the camera is not accuracy: the camera's values are computed from the same spectra."]
    if options.reference == "camera":
        limits.append("The camera's values are read back from 8-bit colours, to within 0.0007.")
    if alone:
        limits.append(f"Only {options.reference} has {', '.join(alone)}: {options.source} gives nothing to compare.")
    if not study.subject_known:
        limits.append("Whose the recordings are is not known: each counts as its own subject.")
    if rows["subject_id"].n_unique() == 1:
        limits.append("There is one subject: the bias has no interval.")
    absent = len(study) - rows["image_id"].n_unique()
    if absent:
        limits.append(f"{count(absent, 'recording')} of the study could not be compared.")
    return limits
