"""A user's table beside the images of a study: which row belongs to which image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.tables import UNREADABLE_TABLE
from stroma.study.layouts.layout import identifier
from stroma.study.patterns import IMAGE_SUFFIXES, suffix_of, without_suffix

KEYS = (
    "image_id", "path", "file", "filename", "file_name", "image_file", "image", "image_name", "slide", "slide_id",
    "slide_name", "name", "id", "case_id", "case", "case_submitter_id", "submitter_id", "bcr_patient_barcode",
    "patient_id", "patient",
)  # fmt: skip
"""Columns by which a metadata table is joined; the first of them that the table has."""
_UUID = re.compile(r"[._-][0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
_BOUNDARY = "_-. #@/["


@dataclass(frozen=True)
class Matches:
    """The rows of a table for the images of a study.

    Attributes:
        rows: For each image its row, or None.
        by_beginning: Images whose name only begins with the key of their row, or whose folder is it: tiles of a
            slide, slides of a case.
    """

    rows: tuple[int | None, ...]
    by_beginning: tuple[int, ...]


def read_any_table(path: Path) -> pl.DataFrame:
    """Read a user's table: Parquet by its suffix, else CSV or TSV, also with semicolons.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no such table.
    """
    if not path.is_file():
        raise MissingFile("there is no such table", where=path)
    try:
        with stage("read"):
            if path.suffix.lower() == ".parquet":
                return pl.read_parquet(path, glob=False)
            content = path.read_bytes()
            first = content.split(b"\n", 1)[0]
            tabs = path.suffix.lower() in {".tsv", ".tab"}
            separator = "\t" if tabs else ";" if first.count(b";") > first.count(b",") else ","
            return pl.read_csv(content, separator=separator, infer_schema_length=None, glob=False)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable table ({error})", where=path) from error


def loose_name(name: str) -> str:
    """A name without folder, suffix of an image and the UUID that TCGA appends to the names of its slides."""
    last = PurePosixPath(identifier(name).replace("\\", "/")).name
    stem = without_suffix(last) if suffix_of(last) in IMAGE_SUFFIXES else last
    return _UUID.sub("", stem)


def key_column(table: pl.DataFrame, images: Sequence[tuple[str, str]], path: Path) -> str:
    """The column that names the images: the first of `KEYS` that fits any, else the one that fits most.

    Raises:
        InvalidData: there is none.
    """
    lower = {name.lower(): name for name in reversed(table.columns)}
    known = [lower[name] for name in KEYS if name in lower]
    texts = [name for name, kind in table.schema.items() if kind == pl.String and name not in known]
    fits = {name: fitting(table[name].to_list(), images) for name in (*known, *texts)}
    best = next((name for name in known if fits[name]), max(texts, key=lambda name: fits[name], default=None))
    if known and (best is None or not fits[best]):
        return known[0]
    if best is None or not fits[best]:
        raise InvalidData(
            "has no column that names the image",
            where=path,
            next_step=f"Call it image_id (its columns: {', '.join(table.columns)})",
        )
    return best


def match_rows(keys: Iterable[Any], images: Sequence[tuple[str, str]]) -> Matches:
    """Find the row of each image, most exact first.

    A key is the image's id, path, file name or stem; else equal to it when extensions, folders and UUIDs are
    left aside; else the longest key that the image's name begins with, up to one of ``_-. #@/[``; else the name of
    the innermost folder that is a key.

    Args:
        keys: The key of each row; the first of several equal ones counts.
        images: (image id, path) of each image.
    """
    exact: dict[str, int] = {}
    loose: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key is not None and str(key).strip():
            exact.setdefault(identifier(str(key).strip()).replace("\\", "/"), row)
            loose.setdefault(loose_name(str(key).strip()), row)
    found = [_row_of(image_id, PurePosixPath(identifier(path)), exact, loose) for image_id, path in images]
    beginnings = tuple(place for place, (_, whole) in enumerate(found) if not whole)
    return Matches(tuple(row for row, _ in found), beginnings)


def _row_of(
    image_id: str, file: PurePosixPath, exact: Mapping[str, int], loose: Mapping[str, int]
) -> tuple[int | None, bool]:
    """The row of an image, and whether it was found by the whole name."""
    for name in (image_id, file.as_posix(), file.name, without_suffix(file.name), file.stem):
        if name in exact:
            return exact[name], True
    for name in (loose_name(image_id), loose_name(file.name)):
        if name in loose:
            return loose[name], True
    row = _beginning((loose_name(file.name), loose_name(image_id), image_id), loose)
    if row is None:
        row = next((loose[part] for part in reversed(file.parts[:-1]) if part in loose), None)
    return row, row is None


def fitting(keys: Iterable[Any], images: Sequence[tuple[str, str]]) -> int:
    """How many images have a row."""
    return sum(row is not None for row in match_rows(keys, images).rows)


def _beginning(names: Iterable[str], loose: Mapping[str, int]) -> int | None:
    for name in names:
        for end in range(len(name) - 1, 0, -1):
            if name[end] in _BOUNDARY and name[:end] in loose:
                return loose[name[:end]]
    return None
