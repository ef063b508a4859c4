"""From the rows of any table to one value for each subject and group: what statistics may be computed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.study.median_rows import PARAMETER_COLUMNS

Aggregate = Literal["mean", "median"]
SUBJECT_VALUES_FORMAT = "subject-values/1"
SUBJECT_VALUES_SCHEMA: dict[str, pl.DataType] = {
    "by": pl.String(),
    "group": pl.String(),
    "subject_id": pl.String(),
    "value": pl.Float64(),
    "n_images": pl.Int64(),
    "n_rows": pl.Int64(),
}
"""One row a subject, group and label (`by`; empty without one): its value and what it was made from.

`n_images` is null for tables without `image_id`.
"""
_KINDS = ("scope", "metric", "convention", "layer", "annotator")
"""Columns that say what a row is: rows that differ in them are not values of one thing."""


@dataclass(frozen=True)
class SubjectValues:
    """Values of subjects.

    Attributes:
        table: Columns of `SUBJECT_VALUES_SCHEMA`, sorted.
        rows: Rows of the table that it was made from, before any was left out.
        dropped: Why rows were left out → how many.
        images_own: Whether each image is its own subject, which means that subjects are unknown.
    """

    table: pl.DataFrame
    rows: int
    dropped: dict[str, int]
    images_own: bool

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in order."""
        return in_order(self.table["group"].unique().to_list())

    @property
    def labels(self) -> list[str]:
        """Names in `by`, in order; one empty name without it."""
        return in_order(self.table["by"].unique().to_list())


def subject_values(
    table: pl.DataFrame,
    value: str,
    group: str,
    *,
    subject: str = "subject_id",
    by: str | None = None,
    aggregate: Aggregate = "mean",
    groups: Sequence[str] = (),
    where: Path | str = "table",
) -> SubjectValues:
    """Reduce rows to one value for each subject, group and label.

    Where the table has `image_id`, rows become images first and images subjects then, so that an image with many
    rows (objects, tiles) counts as much as one with few; else rows become subjects at once.

    Args:
        table: Rows of anything: images, objects, tiles, clusters, scores.
        value: Column of numbers.
        group: Column of the groups that are compared.
        subject: Column of the subjects.
        by: Column of labels that are compared one by one, if any.
        aggregate: How values are joined at both steps.
        groups: Groups to keep (default: all).
        where: The table's name, for messages.

    Raises:
        UsageError: there is no such column or group.
        InvalidData: the value is no number, or rows of several kinds are mixed.
    """
    columns = [value, group, subject] + ([by] if by else [])
    for column in columns:
        if column not in table.columns:
            raise UsageError(
                f"has no column '{column}'", where=where, next_step=nearest(column, table.columns) or "It is empty"
            )
    if len(set(columns)) < len(columns):
        raise UsageError("value, group, subject and by have to be different columns", where=where)
    _check_numbers(table, value, where)
    for column in columns[1:]:
        if table.schema[column].is_nested() or table.schema[column] == pl.Binary:
            raise InvalidData(
                f"'{column}' holds {table.schema[column]} in each row, one name is needed",
                where=where,
                next_step="Choose a column of texts or numbers",
            )
    _check_kinds(table, {group, by or ""}, where)
    _check_source(table, value, {group, by or ""}, where)
    wanted = {name: table[name].cast(pl.String) for name in columns[1:]}
    rows = pl.DataFrame(
        {
            "by": wanted[by] if by else pl.Series([""]).new_from_index(0, len(table)),
            "group": wanted[group],
            "subject_id": wanted[subject],
            "image": table["image_id"].cast(pl.String) if "image_id" in table.columns else wanted[subject],
            "value": table[value].cast(pl.Float64),
        }
    )
    kept, dropped = _complete_rows(rows, value, group, subject, by)
    if groups:
        kept, dropped = _chosen(kept, dropped, groups, where)
    if kept.is_empty():
        raise InvalidData(
            f"has no row with a value of '{value}' and a group", where=where, next_step=_counts(dropped)
        )
    reduce = getattr(pl.col("value"), aggregate)()
    keys = ["by", "group", "subject_id"]
    images = kept.group_by(*keys, "image").agg(reduce, pl.len().alias("n_rows"))
    subjects = images.group_by(keys).agg(
        reduce, pl.len().cast(pl.Int64).alias("n_images"), pl.col("n_rows").sum().cast(pl.Int64)
    )
    if "image_id" not in table.columns:
        subjects = subjects.with_columns(pl.lit(None, pl.Int64).alias("n_images"))
    subjects = subjects.select(pl.col(name).cast(kind) for name, kind in SUBJECT_VALUES_SCHEMA.items()).sort(keys)
    own = "image_id" in table.columns and bool((kept["image"] == kept["subject_id"]).all())
    return SubjectValues(subjects, len(table), dropped, own)


def in_order(names: Sequence[str]) -> list[str]:
    """Names sorted as people do: whole numbers by their value, then the others by letter."""
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _check_numbers(table: pl.DataFrame, value: str, where: Path | str) -> None:
    kind = table.schema[value]
    if isinstance(kind, pl.Array | pl.List):
        numbers = [name for name, other in table.schema.items() if other.is_numeric()]
        raise InvalidData(
            f"'{value}' holds a list of numbers in each row, a test needs one number",
            where=where,
            next_step=f"Compare a column of numbers ({', '.join(numbers) or 'there is none'}), "
            "or reduce the spectra to a parameter first",
        )
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        numbers = [name for name, other in table.schema.items() if other.is_numeric()]
        raise InvalidData(
            f"'{value}' holds no numbers ({kind})",
            where=where,
            next_step=f"Its columns of numbers are {', '.join(numbers)}"
            if numbers
            else "It has no column of numbers",
        )


def _check_kinds(table: pl.DataFrame, used: set[str], where: Path | str) -> None:
    for column in _KINDS:
        if column not in table.columns or column in used:
            continue
        found = table[column].drop_nulls().cast(pl.String).unique().sort().to_list()
        if len(found) > 1:
            raise InvalidData(
                f"holds rows of several kinds: {column} is {', '.join(found)}",
                where=where,
                next_step=f"Choose one: --where \"{column} = '{found[0]}'\"",
            )


def _check_source(table: pl.DataFrame, value: str, used: set[str], where: Path | str) -> None:
    """A tissue parameter of several sources is not one value; where other parameters come from does not matter."""
    parameter = {f"{kind}_{column}": name for name, column in PARAMETER_COLUMNS.items() for kind in ("median", "std")}
    if value not in parameter or "parameters" not in table.columns or "parameters" in used:
        return
    name = parameter[value]
    with_source = rf"(?:^|; )(?:[^;:]*, )?{name}(?:, [^;:]*)?: ([^;]*)"
    rows = table.filter(pl.col(value).is_not_null()).select("parameters")
    found = rows.with_columns(pl.col("parameters").str.extract(with_source).alias("source")).unique().drop_nulls()
    sources = found["source"].unique().sort().to_list()
    if len(sources) > 1:
        texts = ", ".join(f"'{text}'" for text in found.filter(source=sources[0])["parameters"].sort())
        raise InvalidData(
            f"holds values that are not comparable: the source of {name} is {', '.join(sources)}",
            where=where,
            next_step=f'Choose one: --where "parameters IN ({texts})"',
        )


def _complete_rows(
    rows: pl.DataFrame, value: str, group: str, subject: str, by: str | None
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows with a value, a group, a subject and a label, and how many lacked what."""
    dropped = {}
    named = {"value": value, "group": group, "subject_id": subject, "by": by or ""}
    for column, name in named.items():
        present = pl.col(column).is_not_null()
        if column == "value":
            present &= pl.col(column).is_finite()
        kept = rows.filter(present)
        if len(kept) < len(rows):
            dropped[f"without {name}"] = len(rows) - len(kept)
        rows = kept
    images = rows.filter(pl.col("image").is_not_null())
    if len(images) < len(rows):
        dropped["without image_id"] = len(rows) - len(images)
    return images, dropped


def _chosen(
    rows: pl.DataFrame, dropped: dict[str, int], groups: Sequence[str], where: Path | str
) -> tuple[pl.DataFrame, dict[str, int]]:
    known = rows["group"].unique().to_list()
    for name in groups:
        if name not in known:
            raise UsageError(f"has no group '{name}'", where=where, next_step=nearest(name, known))
    kept = rows.filter(pl.col("group").is_in(list(groups)))
    return kept, dropped | ({"of other groups": len(rows) - len(kept)} if len(kept) < len(rows) else {})


def _counts(dropped: dict[str, int]) -> str:
    return "Left out: " + ", ".join(f"{count:,} rows {why}" for why, count in dropped.items()) if dropped else ""
