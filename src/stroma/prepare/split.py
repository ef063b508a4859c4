"""`stroma split`: show how a study is divided, and write the division for others."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import yaml
from pydantic import Field

from stroma.core.config import build, to_plain
from stroma.core.errors import ConfigError, OutputConflict, UsageError
from stroma.core.files import write_text
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.core.text import plural
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.study.config import SplitRule
from stroma.study.division import divide, image_labels
from stroma.study.htc.specs import DataSpec, read_data_spec, write_data_specs
from stroma.study.schema import SPLITS_FORMAT
from stroma.study.selection import Where
from stroma.study.split_summary import missing_labels, missing_sets, split_table
from stroma.study.splits import Splits
from stroma.study.study import Study, open_study

_MOST_LABELS = 12


class SplitOptions(VerbOptions):
    """Options of `stroma split`; what is not given is taken from `study.yaml`."""

    study: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="study.yaml, or its folder")
    where: Where = None
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Write it: .parquet, .csv, or .json for htc (default: only show)"
    )
    file: Path | None = Field(None, description="Show and check this division instead: Parquet, CSV, htc's JSON")
    scheme: Literal["folds", "leave-one-out", "nested", "sizes"] | None = Field(
        None, description="How subjects are divided"
    )
    folds: int | None = Field(None, ge=1, description="Number of folds; 1 is a single division")
    stratify: str | None = Field(None, description="balance, label-sets, none, or a catalog column")
    outer_folds: int | None = Field(None, ge=2, description="Of nested: parts that are tested in turn")
    sizes: tuple[int, ...] = Field((), description="Of sizes: numbers of training subjects (repeatable)")
    repetitions: int | None = Field(None, ge=1, description="Of sizes: training sets of each size")
    seed: int | None = Field(None, ge=0, description="Another seed gives another division")
    test_subjects: tuple[str, ...] = Field((), description="Subjects kept aside in every fold (repeatable)")
    test_fraction: float | None = Field(None, ge=0, lt=1, description="Or this fraction of the subjects")
    hidden_subjects: tuple[str, ...] = Field((), description="Subjects of the set test_hidden (repeatable)")
    validation_fraction: float | None = Field(None, gt=0, lt=1, description="With one fold: fraction that validates")
    known_images: int | None = Field(
        None, ge=0, description="Images of each training subject for the set validation_known"
    )


def split(options: SplitOptions) -> VerbResult:
    """Show how the images of a study are divided: fold, role, subjects, images, labels.

    All images of a subject stand on one side; a division in which they do not is an error that names the subject.
    Options change what study.yaml says, to try a division before it is written there. `-o FILE.json` writes htc's
    data specification (one file for each outer fold), `-o FILE.parquet` or `.csv` a table that study.yaml can name:
    `splits: {from: file, file: …}`.

    Args:
        options: The study, and how to divide it.
    """
    study = open_study(options.study, options.where)
    rule = _rule(study, options)
    spec = _spec(options.file, study)
    splits = spec.splits if spec is not None else divide(study, rule)
    splits.check(study.catalog, where=options.file or study.path)
    labels = image_labels(study, splits.table["image_id"].unique().sort().to_list(), read=True)
    table = split_table(splits, study.catalog, labels if len(labels) else None)
    names = [name for name in table.columns[6:] if f"{name} subjects" in table.columns]
    warnings = [*missing_sets(table), *missing_labels(table, names)]
    lines = [*_lines(table, names), *(f"warning: {text}" for text in warnings)]
    written: list[Path] = []
    if options.output is not None and not options.dry_run:
        written = _write(options.output, spec or DataSpec(splits), to_plain(rule), overwrite=options.overwrite)
        lines += [f"wrote {path}" for path in written[1:]]
    return VerbResult(
        output=written[0] if written else None,
        lines=[f"{plural(len(study.catalog), 'image')} of {study.describe_subjects()}", *lines],
        details={"sets": table.to_dicts()},
        next=_next(options, study, rule, written),
    )


def _rule(study: Study, options: SplitOptions) -> SplitRule:
    """What study.yaml says, changed by the options."""
    given: dict[str, Any] = {
        key: value
        for key in SplitRule.model_fields
        if key in SplitOptions.model_fields and key != "file" and (value := getattr(options, key)) not in (None, ())
    }
    if options.file is not None:
        if given:
            raise UsageError(f"--file names a division, so --{next(iter(given)).replace('_', '-')} has no meaning")
        return SplitRule(source="file", file=str(options.file))
    base = study.config.splits
    if base is None or (base.source != "subjects" and given):
        return build(SplitRule, given, where="stroma split")
    if {"test_fraction", "test_subjects"} & given.keys() or options.scheme == "nested":  # which tests all in turn
        base = base.model_copy(update={"test_subjects": (), "test_fraction": 0.0})
    return build(SplitRule, {**base.model_dump(by_alias=True), **given}, where="stroma split")


def _spec(file: Path | None, study: Study) -> DataSpec | None:
    if file is None:
        return None
    subjects = dict(study.catalog.select("image_id", "subject_id").iter_rows())
    return read_data_spec(file, subjects) if file.suffix.lower() == ".json" else DataSpec(Splits.load(file))


def _lines(table: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """The table as aligned text; with many labels only how many of them each set has."""
    shown = list(names) if len(names) <= _MOST_LABELS else []
    heads = ["fold", "role", "set", "subjects", "images", *(shown or (["labels"] if names else []))]
    rows = [heads]
    for row in table.iter_rows(named=True):
        cells = [row["fold"], row["role"], row["set"] if row["set"] != row["role"] else "", row["n_subjects"],
                 row["n_images"]]  # fmt: skip
        cells += [f"{row[name]} ({row[f'{name} subjects']})" for name in shown]
        if names and not shown:
            cells.append(f"{sum(row[name] > 0 for name in names)} of {len(names)}")
        rows.append([str(cell) for cell in cells])
    if not any(row[2] for row in rows[1:]):
        rows = [row[:2] + row[3:] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, "labels: images (subjects) that have them"] if shown else lines


def _write(output: Path, spec: DataSpec, settings: dict[str, Any], *, overwrite: bool) -> list[Path]:
    suffix = output.suffix.lower()
    if suffix not in (".parquet", ".csv", ".json"):
        raise ConfigError(
            f"'{suffix}' is no kind of file for a division", where=output, next_step="Use .parquet, .csv or .json"
        )
    there = [
        path for path in (output, *output.parent.glob(f"{_plain(output.stem)}_nested-*{suffix}")) if path.exists()
    ]
    if there and not overwrite:
        raise OutputConflict("is there already", where=there[0], next_step="Use --overwrite, or another --output")
    table = spec.splits.table
    if suffix == ".json":
        return write_data_specs(spec, output)
    if suffix == ".csv":
        return [write_text(output, table.write_csv())]
    return [write_table(table, output, Provenance(SPLITS_FORMAT, settings))]


def _plain(text: str) -> str:
    """Text in which a pattern finds nothing but itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def _next(options: SplitOptions, study: Study, rule: SplitRule, written: Sequence[Path]) -> list[str]:
    train = f"stroma train {shlex.quote(str(options.study))} -o runs/first"
    file = written[0] if written else options.file
    if file is None and rule != study.config.splits:  # it was only tried
        return [f"in {study.path}: splits: {_flow(rule)}", train]
    if file is None:
        return [train]
    if len(written) > 1:
        file = file.with_name(file.name.replace("_nested-0-", "_nested-*-"))
    relative = Path(os.path.relpath(file.resolve(), study.path.parent.resolve())).as_posix()
    setting = shlex.quote(f"data.splits={json.dumps(file.as_posix(), ensure_ascii=False)}")
    return [
        f"in {study.path}: splits: {{from: file, file: {json.dumps(relative, ensure_ascii=False)}}}",
        f"{train} --set {setting}",
    ]


def _flow(rule: SplitRule) -> str:
    """What differs from the defaults, as YAML in one line."""
    values = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()
