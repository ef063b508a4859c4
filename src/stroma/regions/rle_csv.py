"""CSV files with one run-length text per image, as HuBMAP and Kaggle hand them out and take them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import write_text
from stroma.core.tables import require_columns

ENCODING_COLUMNS = ("encoding", "rle", "predicted")
"""The names under which such files keep the runs; the first that a file has is taken."""


def read_rle_csv(path: Path, *, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Read a CSV file with run-length texts.

    Args:
        path: A CSV file with a column `id`.
        columns: The columns with runs, one per class; by default the first of `ENCODING_COLUMNS` that is there.

    Returns:
        Columns `image_id`, `label` (name of the column, null when `columns` is not given) and `encoding`, the
        rows by column, then in the order of the file; an image without runs has an empty text.

    Raises:
        MissingFile: there is no such file.
        InvalidData: no CSV, a column is missing, or an id stands there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    try:
        table = pl.read_csv(path, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InvalidData(f"is not a readable CSV file ({error})", where=path) from error
    found = [name for name in ENCODING_COLUMNS if name in table.columns][:1]
    if not columns and not found:
        raise InvalidData(
            f"has none of the columns {', '.join(ENCODING_COLUMNS)}",
            where=path,
            next_step=f"Name the column with the runs; there are {', '.join(table.columns)}",
        )
    require_columns(table, ["id", *columns], where=path)
    twice = table["id"].filter(table["id"].is_duplicated())
    if len(twice):
        raise InvalidData(f"has the id '{twice[0]}' more than once", where=path)
    parts = [
        table.select(
            image_id=pl.col("id"),
            label=pl.lit(name if columns else None, dtype=pl.String),
            encoding=pl.col(name).fill_null(""),
        )
        for name in (columns or found)
    ]
    return pl.concat(parts)


def csv_columns(path: Path) -> list[str]:
    """The columns of a CSV file; none where it cannot be read as one."""
    try:
        return pl.read_csv(path, infer_schema=False, n_rows=0, glob=False).columns
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError):
        return []


def write_rle_csv(path: Path, encodings: Mapping[str, str], *, column: str = "encoding") -> Path:
    """Write run-length texts as CSV with the columns `id` and `column`, in the given order.

    Args:
        path: The file.
        encodings: Image id → text; empty for an empty mask.
        column: `encoding` (HuBMAP), `rle` (Kaggle's later competitions) or `predicted` (submissions).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", column])
    writer.writerows(encodings.items())
    return write_text(path, text.getvalue())
