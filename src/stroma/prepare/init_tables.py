"""Tables that lie beside images: which of them tells something about the images of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData, MissingFile
from stroma.regions.rle_csv import ENCODING_COLUMNS
from stroma.study.htc.identifiers import is_identifying
from stroma.study.layouts.layout import Scan
from stroma.study.listing import Listing, is_hidden
from stroma.study.matching import key_column, match_rows, read_any_table
from stroma.study.patterns import suffix_of
from stroma.study.subjects import subject_column

LABEL_COLUMNS = ("label", "class", "diagnosis", "category", "subtype", "grade", "target")
"""Usual names of a column with a label of each whole image, the first one wins."""
_SUFFIXES = (".csv", ".tsv")
_MOST_LABELS = 50
_LARGEST = 500_000_000  # bytes of a table that is looked into without being asked for
_DEEPEST = 1  # folders below the root in which tables are looked for


@dataclass(frozen=True)
class FoundTable:
    """A table of which rows fit images.

    Attributes:
        path: The file.
        key: Its column that names the images.
        listed: How many images have a row.
        images: How many there are.
        unique: Whether no image has several rows.
        parts: Whether rows stand for several images each (tiles of a slide, slides of a case).
        columns: Its further columns, without run lengths and what could name a patient.
        subject: Its column with subjects, when every image that it lists has one.
        label: Its column with labels of whole images.
        labels: Those labels, sorted.
    """

    path: Path
    key: str
    listed: int
    images: int
    unique: bool
    parts: bool
    columns: tuple[str, ...]
    subject: str | None
    label: str | None
    labels: tuple[str, ...]

    @property
    def tells(self) -> bool:
        """Whether it says more than the names of the images and their subjects."""
        return self.unique and (bool(set(self.columns) - {self.subject}) or self.listed < self.images)


def find_table(listing: Listing, scan: Scan) -> FoundTable | None:
    """The table in a folder that fits most of its images; None when none fits half of its rows or images."""
    paths = [
        path
        for path, size in listing.files.items()
        if suffix_of(path) in _SUFFIXES and path.count("/") <= _DEEPEST and not is_hidden(path) and size < _LARGEST
    ]
    found = [table for path in paths if (table := examine_table(listing.root / path, scan)) is not None]
    return max(found, key=lambda table: (table.listed, len(table.columns), -len(table.path.parts)), default=None)


def examine_table(path: Path, scan: Scan, *, label: str | None = None) -> FoundTable | None:
    """Match a table to the images; None when it is no table, or fits neither half of the images nor of its rows.

    Args:
        path: CSV, TSV or Parquet.
        scan: What the layout found.
        label: The column with labels of whole images; by default one of `LABEL_COLUMNS`.
    """
    images: list[tuple[str, str]] = scan.catalog.select("image_id", "path").rows()
    try:
        table = read_any_table(path)
        key = key_column(table, images, path)
    except (InvalidData, MissingFile):
        return None
    rows = match_rows(table[key].to_list(), images).rows
    used = [row for row in rows if row is not None]
    if not used or (2 * len(used) < len(images) and 2 * len(set(used)) < len(table)):
        return None
    kept = [
        name
        for name in table.columns
        if name not in {key, *scan.catalog.columns} - {"subject_id"}
        and name.lower() not in ENCODING_COLUMNS
        and not is_identifying(name)
    ]
    matched = table[sorted(set(used))]
    subject = subject_column([name for name in table.columns if name != key]) or subject_column([key])
    if subject is not None and not _is_sound(table, key, subject, matched):
        subject = None
    label = label or next((name for name in kept if name.lower() in LABEL_COLUMNS), None)
    labels = _labels(matched, label)
    return FoundTable(
        path,
        key,
        len(used),
        len(images),
        table[key].drop_nulls().n_unique() == table[key].count(),
        len(set(used)) < len(used),
        tuple(kept),
        subject,
        label if labels else None,
        labels,
    )


def _is_sound(table: pl.DataFrame, key: str, subject: str, matched: pl.DataFrame) -> bool:
    """Whether every image of a table has a subject, and only one."""
    several = table.group_by(key).agg(pl.col(subject).n_unique().alias("_subjects")) if key != subject else None
    return not matched[subject].null_count() and (several is None or int(several["_subjects"].max() or 1) == 1)  # type: ignore[arg-type]


def _labels(table: pl.DataFrame, column: str | None) -> tuple[str, ...]:
    if column is None or column not in table.columns:
        return ()
    names: Sequence[str] = table[column].drop_nulls().cast(pl.String).unique().sort().to_list()
    return tuple(names) if len(names) <= _MOST_LABELS else ()
