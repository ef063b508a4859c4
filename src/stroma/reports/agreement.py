"""`stroma annotations agreement`: how well the annotators of a study agree, and the NSD tolerances from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.errors import InvalidData, OutputConflict, UsageError, nearest
from stroma.core.files import write_text
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import write_table
from stroma.core.text import plural
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult, Workers, write_failures
from stroma.evaluation.agreement import REDUCTIONS, Outside, compare_masks, tolerances
from stroma.evaluation.dice import aggregate
from stroma.evaluation.evaluate import score_lines
from stroma.evaluation.schema import SCORES_FORMAT, SCORES_SCHEMA
from stroma.study.recording import Recording
from stroma.study.selection import Where
from stroma.study.study import Study, open_study

PAIRS_FORMAT = "agreement/1"
CONVENTION = "between-annotators"
PAIRS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "label": pl.String(),
    "first": pl.String(),
    "second": pl.String(),
    "n_pixels_first": pl.Int64(),
    "n_pixels_second": pl.Int64(),
    "dice": pl.Float64(),
    "nsd": pl.Float64(),
    "tolerance_px": pl.Float64(),
    "distance_mean_px": pl.Float64(),
    "distance_median_px": pl.Float64(),
    "distance_q95_px": pl.Float64(),
    "distance_max_px": pl.Float64(),
}
"""Columns of `agreement.parquet`: one row an image, class and pair of annotators.

Distances are those of both directions between the borders, null where only one of the two has the class (Dice and
NSD are 0 there).
"""

_RULES = {
    "background": "A pixel that only one of two annotators marked counts as outside for the other.",
    "ignore": "A pixel that only one of two annotators marked is left out.",
}


class AgreementOptions(VerbOptions):
    """Options of `stroma annotations agreement`."""

    study: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="A study.yaml or its folder")
    output: Output
    annotator: tuple[str, ...] = Field(
        (), description="Compare only these annotators; repeat for each (default: all)"
    )
    outside: Outside = Field(
        "background",
        description="What a pixel is that only one annotated: background (outlines of single organs), or ignore"
        " (images annotated whole, as in htc)",
    )
    tolerance_px: float | None = Field(
        None, ge=0, description="Tolerance of the NSD in pixels (default: of each class, the mean estimated here)"
    )
    where: Where = None
    workers: Workers = 1


@dataclass(frozen=True)
class _Row:
    """One class in one pair of masks."""

    index: int
    first: str
    second: str
    pixels: tuple[int, int]
    dice: float
    distances: NDArray[np.float32]


@dataclass(frozen=True)
class _Worker:
    """Compares the annotators of one image."""

    study: Path
    where: str | None
    annotators: tuple[str, ...]
    outside: Outside

    def __call__(self, image_id: str) -> list[_Row]:
        recording = open_study(self.study, self.where)[image_id]
        rows = []
        for first, second in _pairs(recording, self.annotators):
            found = compare_masks(recording.mask(first).labels, recording.mask(second).labels, outside=self.outside)
            rows += [
                _Row(index, first, second, entry.pixels, entry.dice, entry.distances)
                for index, entry in found.items()
            ]
        return rows


def annotator_agreement(options: AgreementOptions) -> VerbResult:
    """Compare the annotators of a study, and estimate NSD tolerances.

    Every image that two or more annotated is compared class by class: Dice, distances between the borders, NSD.
    Distances are pooled by subject; their mean over subjects is the tolerance of a class, in the form of htc's
    thresholds. Writes agreement.parquet, scores.parquet, tolerances.csv and report.html.

    Args:
        options: See `AgreementOptions`.

    Raises:
        UsageError: there is no such annotator.
        ConfigError: the study has no labels.
        InvalidData: no image has two annotations of one layer.
        OutputConflict: the output has results, and `overwrite` is not set.
    """
    study = open_study(options.study, options.where)
    _check_annotators(study, options.annotator)
    names = study.labels.names  # without labels nothing can be compared: say so once, not for every image
    items = [image_id for image_id in study if next(_pairs(study[image_id], options.annotator), None)]
    if not items:
        raise InvalidData(
            "has no image that two annotators annotated in the same layer",
            where=study.path,
            next_step=f"Annotators are {', '.join(study.annotators) or 'none'}",
        )
    page = options.output / "report.html"
    if page.exists() and not options.overwrite:
        raise OutputConflict("exists already", where=page, next_step="Use --overwrite, or another --output")
    if options.dry_run:
        return VerbResult(lines=[f"would compare {plural(len(items), 'image')} into {options.output}"])
    worker = _Worker(study.path, options.where, options.annotator, options.outside)
    clock, failed = StageClock(), list[Failed[str]]()
    results: list[tuple[str, _Row]] = []
    for outcome in track(map_items(worker, items, workers=options.workers), "comparing", len(items)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            results += [(outcome.item, row) for row in outcome.result]
        else:
            failed.append(outcome)
    write_failures(options.output, failed, Provenance("failures/1", options.settings()))
    if not results:
        return VerbResult(output=options.output, failed=failed, clock=clock)
    return _write(study, names, options, results, len(items) - len(failed), failed, clock)


def _write(
    study: Study,
    names: Sequence[str],
    options: AgreementOptions,
    results: Sequence[tuple[str, _Row]],
    done: int,
    failed: Sequence[Failed[str]],
    clock: StageClock,
) -> VerbResult:
    subjects = dict(study.catalog.select("image_id", "subject_id").iter_rows())
    pooled: dict[int, dict[str, list[NDArray[np.float32]]]] = {}
    for image_id, row in results:
        pooled.setdefault(row.index, {}).setdefault(subjects[image_id], []).append(row.distances)
    table = tolerances(pooled, names)
    pairs = _pair_table(results, subjects, names, table, options.tolerance_px)
    scores = aggregate(_score_rows(pairs))
    record = InputRecord.of(study.path.name, study.path)
    folder, settings = options.output, options.settings()
    write_table(pairs, folder / "agreement.parquet", Provenance(PAIRS_FORMAT, settings, (record,)))
    write_table(scores, folder / "scores.parquet", Provenance(SCORES_FORMAT, settings, (record,)))
    write_text(folder / "tolerances.csv", table.write_csv())
    page = _report(study, options, pairs, scores, table, done)
    return VerbResult(
        page,
        lines=[_RULES[options.outside], *score_lines(scores.filter(pl.col("metric") == "dice"))],
        done=done,
        failed=tuple(failed),
        clock=clock,
    )


def _check_annotators(study: Study, wanted: Sequence[str]) -> None:
    known = study.annotations["annotator"].unique().sort().to_list()
    for name in wanted:
        if name not in known:
            raise UsageError(f"has no annotator '{name}'", where=study.path, next_step=nearest(name, known))


def _pairs(recording: Recording, annotators: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of annotations of one layer, in the order of the names."""
    for first, second in combinations(sorted(recording.annotation_names), 2):
        layers, names = zip(*(name.split("#", 1) for name in (first, second)), strict=True)
        if layers[0] == layers[1] and (not annotators or set(names) <= set(annotators)):
            yield first, second


def _pair_table(
    results: Sequence[tuple[str, _Row]],
    subjects: dict[str, str],
    names: Sequence[str],
    table: pl.DataFrame,
    tolerance_px: float | None,
) -> pl.DataFrame:
    estimated = dict(table.select("label_index", "tolerance_mean").iter_rows())
    rows = []
    for image_id, row in results:
        distances = row.distances.astype(np.float64)
        tolerance = estimated.get(row.index) if tolerance_px is None else tolerance_px
        some = distances.size > 0
        rows.append(
            (
                image_id, subjects[image_id], names[row.index], row.first, row.second, *row.pixels, row.dice,
                float((distances <= tolerance).mean()) if some and tolerance is not None else 0.0, tolerance,
                *((REDUCTIONS[name](distances) if some else None) for name in ("mean", "median", "q95")),
                float(distances.max()) if some else None,
            )
        )  # fmt: skip
    return pl.DataFrame(rows, schema=PAIRS_SCHEMA, orient="row").sort("image_id", "first", "second", "label")


def _score_rows(pairs: pl.DataFrame) -> pl.DataFrame:
    """Dice and NSD as rows of scope `image`: the mean over the pairs of an image."""
    parts = [
        pairs.group_by("image_id", "subject_id", "label").agg(
            value=pl.col(metric).sort().mean(), metric=pl.lit(metric)
        )
        for metric in ("dice", "nsd")
    ]
    one = pl.lit(1, pl.Int64)
    found = pl.concat(parts).with_columns(
        scope=pl.lit("image"), convention=pl.lit(CONVENTION), annotator=pl.lit(""), n_subjects=one, n_images=one,
        low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64),
    )  # fmt: skip
    return found.select(pl.col(name).cast(dtype) for name, dtype in SCORES_SCHEMA.items()).sort(
        "metric", "image_id", "label"
    )


def _report(
    study: Study, options: AgreementOptions, pairs: pl.DataFrame, scores: pl.DataFrame, table: pl.DataFrame, done: int
) -> Path:
    """The page: Dice and NSD per class, the tolerances, and the images that agree least."""
    from stroma.reports.page import REPORT_FORMAT, Report  # load matplotlib and plotly, which other verbs do not need
    from stroma.reports.scores import scores_figure

    annotators = sorted({*pairs["first"].to_list(), *pairs["second"].to_list()})
    page = Report(
        f"Agreement of annotators: {study.name}",
        subtitle=_RULES[options.outside],
        provenance=Provenance(REPORT_FORMAT, options.settings()),
    )
    known = study.subject_known
    page.card("annotators", str(len(annotators)), ", ".join(annotators))
    page.card("images", f"{done:,}", "annotated by two or more")
    count = pairs["subject_id"].n_unique()
    page.card("subjects", f"{count:,}" if known else "unknown", "" if known else "each image counts as one")
    overall = scores.filter((pl.col("scope") == "set") & (pl.col("metric") == "dice") & pl.col("label").is_null())
    page.card("Dice", f"{overall['value'][0]:.3f}", "mean over classes")
    reading = "Dots are images, diamonds subjects, the line is their mean with its 95 % interval."
    overlap = page.section("Overlap")
    overlap.figure(
        scores_figure(scores, study.labels, "dice"),
        "dice",
        caption="Dice between annotators, by class.",
        reading=reading,
    )
    borders = page.section("Borders")
    borders.text(
        "Distances between the borders of two annotators are pooled by subject and reduced to one number; the"
        " tolerance is the mean over subjects. A model whose border is that close is as close as a second annotator."
    )
    headers = {"label_name": "class", "n_subjects": "subjects", "n_pairs": "pairs"}
    headers |= {f"tolerance_{name}": f"{name} (px)" for name in REDUCTIONS}
    borders.table(table, "tolerances", caption="NSD tolerances in pixels.", headers=headers)
    stated = "of its class above" if options.tolerance_px is None else f"{options.tolerance_px:g} px"
    borders.figure(
        scores_figure(scores, study.labels, "nsd"), "nsd", caption=f"NSD at the tolerance {stated}.", reading=reading
    )
    least = page.section("Least agreement")
    shown = {"image_id": "image", "label": "class", "first": "first", "second": "second", "dice": "Dice"}
    shown |= {"distance_mean_px": "mean distance (px)", "distance_q95_px": "95 % of distances (px)"}
    least.table(
        pairs.sort("dice", "image_id", "label").head(1000),
        "pairs",
        caption="Pairs, the worst first.",
        headers=shown,
        rows=20,
    )
    page.section("Limits").limits(
        [
            _RULES[options.outside],
            "Annotators who saw each other's work agree more than independent ones; the files do not tell.",
            *([] if known else ["Subjects are unknown: each image counts as one."]),
            *(["One subject: no interval."] if count == 1 else []),
        ]
    )
    return page.write(options.output / "report.html")[-1]
