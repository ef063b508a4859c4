"""Many small tables as one large one, without holding all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData
from stroma.core.tables import polars_writes

_BATCH = 200  # tables at a time


def gather_tables(paths: Sequence[Path], folder: Path) -> pl.LazyFrame:
    """Put tables below each other; a column that one does not have is null there.

    Where one has numbers and another text in a column, it becomes text.

    Args:
        paths: Parquet files, in order; at least one.
        folder: For intermediate files; they are needed until the result is written.

    Returns:
        A lazy table, to be written as it streams.

    Raises:
        InvalidData: columns of two tables do not go together (spectra of different numbers of channels).
    """
    schema: dict[str, pl.DataType] = {}
    for path in paths:
        for name, kind in pl.read_parquet_schema(path).items():
            schema[name] = _common(schema.get(name, kind), kind, name, path)
    batches = []
    for start in range(0, len(paths), _BATCH):
        tables = [_fitted(pl.read_parquet(path, glob=False), schema) for path in paths[start : start + _BATCH]]
        batch = folder / f"{start:09d}.parquet"
        with polars_writes(batch):
            pl.concat(tables).write_parquet(batch)
        batches.append(batch)
    return pl.scan_parquet(batches, glob=False)


def _fitted(table: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """With the columns of the schema; numbers become text without a needless `.0`."""
    columns = []
    for name, kind in schema.items():
        if name not in table.columns:
            columns.append(pl.lit(None, dtype=kind).alias(name))
        elif kind == pl.String and table[name].dtype.is_numeric():
            columns.append(pl.col(name).cast(pl.String).str.strip_suffix(".0"))
        else:
            columns.append(pl.col(name).cast(kind))
    return table.select(columns)


def _common(one: pl.DataType, other: pl.DataType, name: str, path: Path) -> pl.DataType:
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    simple = (pl.String, pl.Boolean)
    if all(kind.is_numeric() or kind in simple for kind in (one, other)):
        return pl.String()
    raise InvalidData(
        f"has {other} in the column '{name}', other images {one}",
        where=path,
        next_step="Make tables of images of one kind",
    )
