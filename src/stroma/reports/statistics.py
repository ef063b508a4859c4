"""`stroma stats`: compare groups of subjects, and write the result as table, figure and sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from stroma.core.done import done_path, is_complete, write_done
from stroma.core.files import write_text
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import write_table
from stroma.core.text import plural
from stroma.core.verbs import Flag, Inputs, VerbOptions, VerbResult
from stroma.evaluation.comparison import STATISTICS_FORMAT, Comparison, Method, compare_groups
from stroma.evaluation.correction import Correction
from stroma.evaluation.statistics_input import filter_rows, join_metadata, read_tables
from stroma.evaluation.subjects import (
    SUBJECT_VALUES_FORMAT,
    Aggregate,
    SubjectValues,
    subject_values,
)
from stroma.evaluation.wording import comparison_lines, method_text, readable_table, sentence
from stroma.reports.comparison import MOST_PANELS, comparison_figure
from stroma.reports.page import Report, write_csv

_LABELS = ("label_name", "label", "class", "cluster")
"""Columns of our tables that say what a row is about."""


class StatsOptions(VerbOptions):
    """Options of `stroma stats`."""

    tables: Inputs
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Folder for table, figure and page (default: only print)"
    )
    value: str = Field(description="Column of numbers to compare")
    group: str = Field(description="Column of the groups; 'table' where several tables are compared")
    subject: str = Field("subject_id", description="Column of the subjects")
    by: str | None = Field(None, description="Column of labels that are compared one by one")
    groups: tuple[str, ...] = Field(
        (), description="Groups in order, the reference first (repeatable; default: all, sorted)"
    )
    paired: bool = Field(False, description="Compare subjects with themselves; only those with all groups count")
    test: Method = Field("auto", description="rank or t tests, a mixed model, or what the numbers of subjects allow")
    aggregate: Aggregate = Field("mean", description="How rows become images and images subjects")
    correction: Correction = Field("holm", description="Over all labels and pairs of groups")
    where: str | None = Field(None, description="Rows to use, as an SQL condition: \"metric = 'dice'\"")
    metadata: Annotated[Path | None, Flag(setting=False)] = Field(
        None, description="Table or study.yaml with further columns, joined by image_id or subject"
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="Level below which the sentence speaks of a difference")
    seed: int = Field(0, ge=0, description="Of permutations and bootstrap samples")


def stats(options: StatsOptions) -> VerbResult:
    """Compare groups of subjects: one sentence, one figure, one table.

    Rows of any table (median spectra, parameters, scores, objects, cluster proportions; Parquet, CSV, Feather) become
    one value for each subject and group first, so that pixels, objects and images do not pass for patients. Then the
    test that fits, effect sizes with intervals, correction over labels.

    Args:
        options: The tables, and what to compare.
    """
    table, restricted = _read(options)
    values = subject_values(
        table, options.value, options.group, subject=options.subject, by=options.by, aggregate=options.aggregate,
        groups=options.groups, where=options.tables[0],
    )  # fmt: skip
    comparison = compare_groups(
        values, groups=options.groups, paired=options.paired, method=options.test, correction=options.correction,
        alpha=options.alpha, seed=options.seed,
    )  # fmt: skip
    text = sentence(comparison, options.value, by=options.by, alpha=options.alpha)
    counts = [*restricted, *count_lines(values), *comparison.left_out]
    tests = f"tests: {comparison.method} ({comparison.reason}); correction: {comparison.correction}"
    lines = [*counts, tests, *comparison_lines(comparison, options.value), "", text, ""]
    details = {"sentence": text, "comparisons": comparison.table.to_dicts()}
    skipped = 0
    if options.output is not None and not options.dry_run:
        skipped = _write(options, options.output, comparison, text, counts)
    return VerbResult(
        output=None if options.output is None or options.dry_run else options.output / "report.html",
        lines=lines,
        details=details,
        skipped=skipped,
        next=("the same with -o FOLDER writes table, figure and page",) if options.output is None else (),
    )


def count_lines(values: SubjectValues) -> list[str]:
    """What the comparison stands on, and what was left out."""
    used = int(values.table["n_rows"].sum())
    subjects = values.table["subject_id"].n_unique()
    lines = [f"{plural(used, 'row')} of {values.rows:,} from {plural(subjects, 'subject')}"]
    lines += [f"left out: {plural(count, 'row')} {why}" for why, count in values.dropped.items()]
    counts = values.table.group_by("group").agg(pl.col("subject_id").n_unique(), pl.col("n_rows").sum())
    for group, of_group, rows in counts.sort("group").iter_rows():
        lines.append(f"group {group}: {plural(of_group, 'subject')}, {plural(rows, 'row')}")
    if values.images_own:
        lines.append("subjects are unknown: each image counts as its own, so results look more certain than they are")
    return lines


def _read(options: StatsOptions) -> tuple[pl.DataFrame, list[str]]:
    """The rows to use, and what was chosen among them without being asked for."""
    table = read_tables(options.tables)
    if options.metadata is not None:
        table = join_metadata(table, options.metadata, options.subject)
    if options.where is not None:
        table = filter_rows(table, options.where)
    chosen = []
    if {"scope", "metric", "image_id"} <= set(table.columns) and table["scope"].n_unique() > 1:
        table = table.filter(pl.col("scope") == "image")
        chosen.append("of the scores, those of images are used")
    return table, [*chosen, *_joined(table, {options.value, options.group, options.subject, options.by})]


def _joined(table: pl.DataFrame, used: set[str | None]) -> list[str]:
    """What becomes one value though it is of several labels, where nobody asked for each."""
    if used & set(_LABELS):
        return []
    counts = {name: table[name].drop_nulls().n_unique() for name in _LABELS if name in table.columns}
    return [
        f"{count} values of {name} are joined into one value of each image or subject; --by {name} compares each"
        for name, count in counts.items()
        if count > 1
    ][:1]


def _drawn(comparison: Comparison) -> str:
    labels = len(comparison.values.labels)
    return f" The first {MOST_PANELS} of {labels} labels are drawn." if labels > MOST_PANELS else ""


def _write(
    options: StatsOptions, output: Path, comparison: Comparison, text: str, counts: list[str]
) -> Literal[0, 1]:
    """Write everything; 1 when it was there already."""
    inputs = tuple(InputRecord.of(path.name, path) for path in options.tables)
    if options.metadata is not None and options.metadata.is_file():
        inputs += (InputRecord.of(options.metadata.name, options.metadata),)
    settings = options.settings()
    provenance = Provenance(STATISTICS_FORMAT, settings, inputs)
    record = done_path(output, "statistics")
    if not options.overwrite and is_complete(record, provenance, verify=options.verify):
        return 1
    record.unlink(missing_ok=True)
    written = [
        write_table(comparison.table, output / "statistics.parquet", provenance),
        write_csv(comparison.table, output / "statistics.csv"),
        write_table(
            comparison.values.table, output / "subjects.parquet", Provenance(SUBJECT_VALUES_FORMAT, settings, inputs)
        ),
        write_text(output / "sentence.txt", text + "\n"),
    ]
    page = Report(f"{options.value} by {options.group}", subtitle=text, provenance=provenance)
    section = page.section("Comparison")
    paired = "Lines join the values of a subject. " if comparison.paired or options.test == "mixed" else ""
    paired += "Pale points are subjects without a partner, which no test used. " if comparison.left_out else ""
    section.figure(
        comparison_figure(comparison, options.value, options.by),
        "comparison",
        caption=f"{options.value} of each subject by {options.group}. {counts[0]}.{_drawn(comparison)}",
        reading=f"A point is the {options.aggregate} of a subject. {paired}The bar is the mean of the group with its "
        "95 % interval over subjects (Student's t).",
    )
    shown = readable_table(comparison)
    what = shown["Comparison"].unique().to_list()
    needless = [*(["Label"] if options.by is None else []), *(["Comparison"] if len(what) == 1 else [])]
    section.table(
        shown.drop(needless),
        "comparisons",
        caption=f"{what[0] if len(what) == 1 else 'All comparisons'}, with 95 % intervals. statistics.csv beside "
        "this page holds them unrounded.",
    )
    method = page.section("Method")
    method.text(method_text(comparison, options.aggregate))
    method.limits(counts[1:])
    written += page.write(output / "report.html")
    write_done(record, provenance, written)
    return 0
