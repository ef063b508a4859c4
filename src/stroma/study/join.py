"""A metadata table joined to the catalog of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData
from stroma.regions.rle_csv import ENCODING_COLUMNS
from stroma.study.htc.identifiers import is_identifying
from stroma.study.layouts.layout import identifier
from stroma.study.listing import Problem
from stroma.study.matching import Matches, key_column, match_rows, read_any_table

PIXEL_SIZES = ("mpp", "pixel_size", "pixel_size_um", "um_per_px")
"""Columns that tell the resolution in µm per pixel of images whose files do not."""


def join_table(
    catalog: pl.DataFrame, path: Path, *, keep: Iterable[str] = (), unlisted: str = "keep"
) -> tuple[pl.DataFrame, list[Problem]]:
    """Join a metadata table to a catalog, by the names of its images (`match_rows`).

    Args:
        catalog: With `image_id` and `path`.
        path: CSV, TSV or Parquet with one of the columns `KEYS`. Its `subject_id` replaces the layout's; other
            columns that the catalog has already (`height`, `mpp`) stay as the files say, and a resolution
            (`PIXEL_SIZES`) is taken for images whose files state none. Run lengths and columns that can name a
            patient are left out.
        keep: Columns that are taken although they could name a patient, since the study asks for them.
        unlisted: `keep` images without a row, or `leave-out` those.

    Returns:
        The catalog with the table's columns (null for images without a row), and what did not match.

    Raises:
        MissingFile: there is no such table.
        InvalidData: it cannot be read, has no key column, or its rows and the images do not fit one to one.
    """
    table = read_any_table(path)
    images: list[tuple[str, str]] = catalog.select("image_id", "path").rows()
    key = key_column(table, images, path)
    _check_unique(table, key, path)
    found = match_rows(table[key].to_list(), images)
    _check_one_to_one(table, key, found, path)
    identifying = [
        name for name in table.columns if is_identifying(name) and name not in {*keep, "subject_id"} and name != key
    ]
    known = {key, *catalog.columns, *identifying, *(n for n in table.columns if n.lower() in ENCODING_COLUMNS)}
    known -= {"subject_id"} | ({key} & set(keep) - set(catalog.columns))
    sizes = next((name for name in table.columns if name.lower() in PIXEL_SIZES), None)
    added = table.drop([name for name in table.columns if name in known])
    joined = (
        catalog.drop([name for name in added.columns if name in catalog.columns])
        .with_columns(pl.Series("_row", found.rows, pl.UInt32))
        .join(added.with_row_index("_row"), on="_row", how="left", maintain_order="left")
    )
    if sizes is not None:
        joined = _with_pixel_size(joined, table, sizes, path)
    order = [name for name in catalog.columns if name in joined.columns]
    joined = joined.select(*order, *(name for name in joined.columns if name not in {*order, "_row"}))
    problems = [*_unmatched(table, key, found, images, path, unlisted)]
    if identifying:
        text = f"has the columns {', '.join(identifying)}, which can name patients; they are not taken over"
        problems.append(Problem(path.name, text, harmless=True))
    if unlisted == "leave-out":
        joined = joined.filter(pl.Series([row is not None for row in found.rows]))
    return joined, problems


def _check_unique(table: pl.DataFrame, key: str, path: Path) -> None:
    counted = Counter(identifier(str(value)) for value in table[key].drop_nulls().to_list())
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise InvalidData(
            f"has several rows for the image '{twice[0]}'" + (f" (and {len(twice) - 1} more)" if twice[1:] else ""),
            where=path,
            next_step=f"Keep one row for each value of '{key}'",
        )


def _check_one_to_one(table: pl.DataFrame, key: str, found: Matches, path: Path) -> None:
    beginnings = set(found.by_beginning)
    whole = Counter(row for place, row in enumerate(found.rows) if row is not None and place not in beginnings)
    twice = next((row for row, count in whole.items() if count > 1), None)
    if twice is not None:
        raise InvalidData(
            f"the row '{table[key][twice]}' fits several images",
            where=path,
            next_step="Name the images in it by their id or path",
        )


def _with_pixel_size(joined: pl.DataFrame, table: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    values = table[name].cast(pl.Float64, strict=False)
    wrong = table.filter(values.is_null() & table[name].is_not_null() | (values <= 0))
    if len(wrong):
        raise InvalidData(
            f"has '{wrong[name][0]}' in the column '{name}', where a size in µm per pixel is needed", where=path
        )
    by_row = pl.DataFrame({"_row": range(len(table)), "_mpp": values}, schema={"_row": pl.UInt32, "_mpp": pl.Float64})
    known = pl.col("mpp").cast(pl.Float64) if "mpp" in joined.columns else pl.lit(None, pl.Float64)
    with_size = joined.join(by_row, on="_row", how="left", maintain_order="left")
    return with_size.with_columns(pl.coalesce(known, "_mpp").alias("mpp")).drop("_mpp")


def _unmatched(
    table: pl.DataFrame,
    key: str,
    found: Matches,
    images: Sequence[tuple[str, str]],
    path: Path,
    unlisted: str,
) -> Iterable[Problem]:
    for (_, file), row in zip(images, found.rows, strict=True):
        if row is None and unlisted == "leave-out":
            yield Problem(file, f"is not listed in {path.name}; it is left out", harmless=True)
        elif row is None:
            yield Problem(file, f"has no row in {path.name}")
    used = set(found.rows)
    rest = [name for row, name in enumerate(table[key].to_list()) if row not in used and name is not None]
    if rest:
        text = f"has a row for '{rest[0]}', which is no image of the study"
        text += f" (and {len(rest) - 1:,} more such rows)" if len(rest) > 1 else ""
        yield Problem(path.name, text, harmless=None not in used)  # a table may describe more than what is here
    if found.by_beginning:
        place = found.by_beginning[0]
        row = found.rows[place] or 0
        example = f"'{table[key][row]}' for '{images[place][0]}'"
        text = f"names {len(found.by_beginning)} images by the beginning of their names or by their folder: {example}"
        yield Problem(path.name, text, harmless=True)
