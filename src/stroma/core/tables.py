"""Parquet tables that carry their provenance, and the columns every sample table begins with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import atomic_path, canonical_json
from stroma.core.provenance import Provenance, check_format

ADDRESS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "region": pl.Int64(),
    "x": pl.Int64(),
    "y": pl.Int64(),
    "w": pl.Int64(),
    "h": pl.Int64(),
    "mpp": pl.Float64(),
}
"""A sample's address: tile, feature, cluster, object and attention tables begin with these columns.

`x, y, w, h` are level-0 pixels, origin at the outer corner of the top-left pixel; `region` is unique in an
image; `mpp` is the resolution at which the sample is read, null for images without a physical scale.
"""

FAILURES_SCHEMA: dict[str, pl.DataType] = {
    "item": pl.String(),
    "stage": pl.String(),
    "error": pl.String(),
    "message": pl.String(),
}
"""Columns of every `failures.parquet`."""

UNREADABLE_TABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises on damaged files; fuzzing them yields all three."""

_KEY = "stroma"


def write_table(
    table: pl.DataFrame | pl.LazyFrame, path: Path, provenance: Provenance, *, row_group_size: int | None = None
) -> Path:
    """Write a table as Parquet with its provenance in the file's metadata, atomically.

    The same table and provenance give the same bytes.

    Args:
        table: The table; a lazy one is written as it streams, without being held in memory.
        path: The file to write.
        provenance: What it was made from and with.
        row_group_size: Rows that are written, and can be read, at once; by default polars chooses.

    Raises:
        DiskFull: there is no space left.
    """
    metadata = {_KEY: canonical_json(provenance.to_dict())}
    with atomic_path(path) as temporary, polars_writes(temporary):
        if isinstance(table, pl.LazyFrame):
            table.sink_parquet(temporary, compression="zstd", metadata=metadata, row_group_size=row_group_size)
        else:
            table.write_parquet(temporary, compression="zstd", metadata=metadata, row_group_size=row_group_size)
    return path


@contextmanager
def polars_writes(path: Path) -> Iterator[None]:
    """Raise the system's own error where polars fails to write because the disk is full, which it does not say.

    Args:
        path: What it writes.
    """
    try:
        yield
    except pl.exceptions.PolarsError:
        with path.open("ab") as handle:  # a file that cannot grow is the reason
            handle.write(bytes(2**20))
        raise


def read_table(path: Path, *, format: str | None = None) -> pl.DataFrame:
    """Read a Parquet table.

    Args:
        path: The file.
        format: When given, the table must carry a provenance record of this format, for example `tiles/1`.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is not Parquet, or of another format.
        NewerFormat: it was written by a newer Stroma.
    """
    if not Path(path).is_file():
        raise MissingFile("there is no such table", where=path)
    try:
        table = pl.read_parquet(path, glob=False)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable Parquet file ({error})", where=path) from error
    if format is not None:
        check_format(read_provenance(path).format, format, where=Path(path))
    return table


def read_provenance(path: Path) -> Provenance:
    """Read the provenance of a table that `write_table` wrote.

    Raises:
        InvalidData: the table carries none.
    """
    try:
        metadata = pl.read_parquet_metadata(path)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable Parquet file ({error})", where=path) from error
    if _KEY not in metadata:
        raise InvalidData("carries no provenance, so it was not written by Stroma", where=path)
    try:
        record = json.loads(metadata[_KEY])
    except json.JSONDecodeError as error:
        raise InvalidData(f"holds a damaged provenance record ({error})", where=path) from error
    return Provenance.from_dict(record, where=Path(path))


def require_columns(table: pl.DataFrame, columns: Sequence[str], *, where: Path | str) -> None:
    """Check that `table` has `columns`.

    Raises:
        InvalidData: one is missing; the message lists what is there.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InvalidData(
            f"has no column {', '.join(repr(name) for name in missing)}",
            where=where,
            next_step=f"Its columns are {', '.join(table.columns)}",
        )
