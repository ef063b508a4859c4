"""The tables that statistics are computed on: read, put together, joined with metadata, filtered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData, UsageError
from stroma.study.config import STUDY_FILE
from stroma.study.htc.feather import read_feather
from stroma.study.matching import read_any_table
from stroma.study.study import open_study

TABLE_COLUMN = "table"
"""Column that says which table a row comes from, where there are several."""
_FEATHER = {".feather", ".arrow", ".ipc"}


def read_tables(paths: Sequence[Path]) -> pl.DataFrame:
    """Read one table, or several with the same columns one under the other.

    Several get a column `table`: the part of their paths in which they differ.

    Args:
        paths: Parquet, Feather (Arrow), CSV or TSV.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no table, or the tables have no common columns of the same kind.
    """
    tables = [_read(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    common = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    if not common:
        raise InvalidData("the tables have no column in common", where=paths[1])
    named = zip(tables, table_names(paths), strict=True)
    parts = [table.select(common).with_columns(pl.lit(name).alias(TABLE_COLUMN)) for table, name in named]
    try:
        return pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InvalidData(f"the tables have columns of different kinds ({error})", where=paths[1]) from error


def table_names(paths: Sequence[Path]) -> list[str]:
    """The part of each path in which they differ: `first` and `second` of `runs/first/s.csv`, `runs/second/s.csv`.

    Raises:
        UsageError: a table is given twice.
    """
    parts = [path.resolve().with_suffix("").parts for path in paths]
    if len(set(parts)) < len(parts):
        raise UsageError("one table is given twice", next_step="Give each table once")
    while len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while all(len(part) > 1 for part in parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    return ["/".join(part) for part in parts]


def join_metadata(table: pl.DataFrame, path: Path, subject: str) -> pl.DataFrame:
    """Add the columns of a metadata table, or of a study's catalog, by image or by subject.

    Args:
        table: With `image_id` or `subject`.
        path: A table with one of these columns too, `study.yaml`, or its folder.
        subject: Column of the subjects.

    Returns:
        The rows with the columns that they lacked; null where the metadata says nothing.

    Raises:
        InvalidData: there is no common column, or the metadata names one thing twice.
    """
    is_study = path.is_dir() or path.name == STUDY_FILE or path.suffix.lower() in {".yaml", ".yml"}
    metadata = open_study(path).catalog if is_study else _read(path)
    key = next((name for name in ("image_id", subject) if name in table.columns and name in metadata.columns), None)
    if key is None:
        raise InvalidData(
            f"has neither 'image_id' nor '{subject}' in common with the table",
            where=path,
            next_step=f"Its columns are {', '.join(metadata.columns)}",
        )
    added = metadata.select(key, *(name for name in metadata.columns if name not in table.columns))
    added = added.with_columns(pl.col(key).cast(pl.String)).unique(maintain_order=True)
    if added[key].is_duplicated().any():
        twice = added.filter(pl.col(key).is_duplicated())[key][0]
        raise InvalidData(f"says different things about '{twice}' ({key})", where=path)
    return table.with_columns(pl.col(key).cast(pl.String)).join(added, on=key, how="left", maintain_order="left")


def filter_rows(table: pl.DataFrame, where: str) -> pl.DataFrame:
    """Rows that fulfil an SQL condition.

    Raises:
        UsageError: it is no condition on the table's columns, or no row fulfils it.
    """
    try:
        chosen = table.filter(pl.sql_expr(where))
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            f'cannot read the condition "{where}" ({str(error).splitlines()[0]})',
            next_step=f"Write it as \"column = 'text' AND other > 1\"; the columns are {', '.join(table.columns)}",
        ) from error
    if chosen.is_empty():
        raise UsageError(f'no row fulfils "{where}"')
    return chosen


def _read(path: Path) -> pl.DataFrame:
    if path.is_dir():
        found = (file.relative_to(path).as_posix() for file in path.rglob("*.parquet"))
        tables = sorted(found, key=lambda name: (name.count("/"), name))  # that of the verb before those of images
        raise UsageError(
            "is a folder, a table is needed",
            where=path,
            next_step=f"Its tables are {', '.join(tables[:12])}" if tables else "It holds no Parquet table",
        )
    if path.suffix.lower() not in _FEATHER:
        return read_any_table(path)
    return read_feather(path)
