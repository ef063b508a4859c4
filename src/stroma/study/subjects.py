"""Whose an image is: the metadata table of a study, and the rules that find a subject."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import ConfigError, InvalidData, MissingFile, nearest
from stroma.study.config import SubjectRule
from stroma.study.layouts.layout import identifier
from stroma.study.listing import Problem

KEYS = ("image_id", "path", "file", "filename", "file_name", "image", "slide", "slide_id", "name", "id")
"""Columns by which a metadata table is joined; the first of them that the table has."""


def read_any_table(path: Path) -> pl.DataFrame:
    """Read a user's table: Parquet by its suffix, else CSV or TSV.

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
            separator = "\t" if path.suffix.lower() in {".tsv", ".tab"} else ","
            return pl.read_csv(path.read_bytes(), separator=separator, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidData(f"is not a readable table ({error})", where=path) from error


def join_table(catalog: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[Problem]]:
    """Join a metadata table to a catalog, by image id, path, or file name with or without suffix.

    Args:
        catalog: With `image_id` and `path`.
        path: CSV, TSV or Parquet with one of the columns `KEYS`. Its `subject_id` replaces the layout's; other
            columns that the catalog has already (`height`, `mpp`) stay as the files say.

    Returns:
        The catalog with the table's columns (null for images without a row), and what did not match.

    Raises:
        MissingFile: there is no such table.
        InvalidData: it cannot be read, has no key column, or its rows and the images do not fit one to one.
    """
    table = read_any_table(path)
    key = next((name for name in KEYS if name in table.columns), None)
    if key is None:
        columns = ", ".join(table.columns)
        raise InvalidData(
            "has no column that names the image", where=path, next_step=f"Call it image_id (its columns: {columns})"
        )
    rows = {identifier(str(value)).replace("\\", "/"): row for row, value in enumerate(table[key].to_list())}
    if len(rows) < len(table):
        raise InvalidData(f"has several rows for the image '{_repeated(table[key].to_list())}'", where=path)
    images = catalog.select("image_id", "path").rows()
    matches = [_row_of(image_id, file, rows) for image_id, file in images]
    if len({match for match in matches if match is not None}) < sum(match is not None for match in matches):
        twice = _repeated([match for match in matches if match is not None])
        raise InvalidData(
            f"the row '{table[key][int(twice)]}' fits several images",
            where=path,
            next_step="Name the images in it by their id or path",
        )
    known = {key, *catalog.columns} - {"subject_id"}
    added = table.drop([name for name in table.columns if name in known])
    joined = (
        catalog.drop([name for name in added.columns if name in catalog.columns])
        .with_columns(pl.Series("_row", matches, pl.UInt32))
        .join(added.with_row_index("_row"), on="_row", how="left", maintain_order="left")
        .drop("_row")
    )
    order = [name for name in catalog.columns if name in joined.columns]
    joined = joined.select(*order, *(name for name in joined.columns if name not in order))
    missing = [file for (_, file), match in zip(images, matches, strict=True) if match is None]
    unused = sorted(name for name, row in rows.items() if row not in matches)
    return joined, [
        *(Problem(file, f"has no row in {path.name}") for file in missing),
        *(Problem(path.name, f"has a row for '{name}', which is no image of the study") for name in unused),
    ]


def _row_of(image_id: str, path: str, rows: dict[str, int]) -> int | None:
    file = PurePosixPath(identifier(path))
    candidates = (image_id, file.as_posix(), file.name, file.stem)
    return next((rows[candidate] for candidate in candidates if candidate in rows), None)


def _repeated(values: list[Any]) -> str:
    return str(Counter(map(str, values)).most_common(1)[0][0])


def find_subjects(catalog: pl.DataFrame, rule: SubjectRule, *, where: Path) -> pl.DataFrame:
    """Fill in the column `subject_id`.

    Args:
        catalog: With `image_id`, `path`, the layout's `subject_id` (null where it does not say), metadata.
        rule: Where the subject comes from.
        where: `study.yaml`, for messages.

    Returns:
        The catalog; where subjects are unknown, each image is its own.

    Raises:
        ConfigError: the rule names an unknown column, or a pattern that is none.
        InvalidData: the rule gives no subject for an image.
    """
    found: list[Any]
    if rule.rule == "layout" and catalog["subject_id"].null_count() < len(catalog):
        found = catalog["subject_id"].to_list()
    elif rule.rule in {"layout", "none"}:
        found = catalog["image_id"].to_list()
    elif rule.rule == "path-level":
        found = [_folder_at(path, int(rule.level or 1)) for path in catalog["path"]]
    elif rule.rule == "regex":
        found = _by_pattern(catalog["image_id"].to_list(), str(rule.pattern), where)
    else:
        found = _by_column(catalog, rule.column or "subject_id", where)
    missing = [image for image, subject in zip(catalog["image_id"], found, strict=True) if not subject]
    if missing:
        raise InvalidData(
            f"the rule '{rule.rule}' gives no subject for {len(missing)} of {len(catalog)} images, "
            f"for example '{missing[0]}'",
            where=where,
            next_step="Change 'subjects' so that every image has one, or use rule none",
        )
    return catalog.with_columns(pl.Series("subject_id", [str(subject) for subject in found], pl.String))


def subjects_known(catalog: pl.DataFrame, rule: SubjectRule) -> bool:
    """Whether the subjects that `find_subjects` filled in are more than the images' own ids."""
    if rule.rule == "layout":
        return bool((catalog["subject_id"] != catalog["image_id"]).any())
    return rule.rule != "none"


def _by_column(catalog: pl.DataFrame, column: str, where: Path) -> list[Any]:
    if column not in catalog.columns or catalog[column].null_count() == len(catalog):
        known = [name for name in catalog.columns if name not in {"image_id", "path", "subject_id"}]
        raise ConfigError(
            f"subjects: there is no column '{column}'", where=where, next_step=nearest(column, known) or "Add a table"
        )
    return catalog[column].to_list()


def _folder_at(path: str, level: int) -> str:
    folders = identifier(path).split("/")[:-1]
    return folders[level - 1] if level <= len(folders) else ""


def _by_pattern(image_ids: list[str], pattern: str, where: Path) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"subjects.pattern '{pattern}' is no regular expression ({error})", where=where) from error
    group: int | str = "subject" if "subject" in compiled.groupindex else min(1, compiled.groups)
    matches = [compiled.search(image_id) for image_id in image_ids]
    return [(match[group] or "") if match else "" for match in matches]
