"""Whose an image is: the rules that find a subject."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from stroma.core.errors import ConfigError, InvalidData, UsageError, nearest
from stroma.study.config import SubjectRule
from stroma.study.layouts.layout import identifier
from stroma.study.matching import key_column, loose_name, match_rows, read_any_table

SUBJECT_COLUMNS = (
    "subject_id", "subject", "patient_id", "patient", "patient_number", "participant_id", "participant", "case_id",
    "case_submitter_id", "case", "donor_id", "donor", "animal_id", "animal", "individual", "person_id",
)  # fmt: skip
"""Usual names of the column that says whose an image is, the first one wins."""
_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])")
_SHOWN = 5


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
        InvalidData: the rule gives no subject for an image, or a table names one twice with different subjects.
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
    elif rule.rule == "tcga":
        found = [tcga_participant(f"{path}") for path in catalog["path"]]
    elif rule.table is not None:
        found = subjects_from_table(catalog, where.parent / rule.table, rule.column)
    else:
        found = _by_column(catalog, rule.column or "subject_id", where)
    missing = [image for image, subject in zip(catalog["image_id"], found, strict=True) if subject in (None, "")]
    if missing:
        example = ", ".join(f"'{name}'" for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        source = f"the table {Path(rule.table).name}" if rule.table is not None else f"the rule '{rule.rule}'"
        raise InvalidData(
            f"{source} gives no subject for {len(missing)} of {len(catalog)} images: {example}{more}",
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


def tcga_participant(name: str) -> str:
    """The participant in a TCGA barcode, `TCGA-A2-A0YE` of `TCGA-A2-A0YE-01Z-00-DX1.<UUID>.svs`; else empty.

    Source: barcodes of The Cancer Genome Atlas (NCI GDC documentation): project, tissue source site, participant.
    """
    found = _TCGA.findall(name)
    return str(found[-1]) if found else ""


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


def subjects_from_table(catalog: pl.DataFrame, path: Path, column: str | None) -> list[Any]:
    """The subject of each image of a catalog in a table of subjects, None where it has none.

    Args:
        catalog: With `image_id` and `path`.
        path: CSV, TSV or Parquet: a column that names images, slides or cases (`KEYS`), and one with subjects.
        column: The one with subjects; by default the first with a usual name, else the other one of two.

    Raises:
        MissingFile: there is no such table.
        InvalidData: it cannot be read, has no column that names images, or names one twice with different subjects.
        UsageError: it has no column of that name, or none that could be meant.
    """
    table = read_any_table(path)
    images: list[tuple[str, str]] = catalog.select("image_id", "path").rows()
    chosen = subject_column(table.columns) if column is None else column
    others = table.drop(chosen) if chosen in table.columns else table
    try:
        key = key_column(others, images, path)
    except InvalidData:
        if others is table:
            raise
        key = str(chosen)  # a table of patients, by whose names the images are called
    if chosen is None:
        rest = [name for name in table.columns if name != key]
        chosen = rest[0] if len(rest) == 1 else key if not rest else None
    if chosen is None or chosen not in table.columns:
        raise UsageError(
            "has no column with subjects" if chosen is None else f"has no column '{chosen}'",
            where=path,
            next_step="Name it with --subject-column. " + nearest(chosen or "subject", table.columns),
        )
    _check_agreement(table, key, chosen, path)
    return [None if row is None else table[chosen][row] for row in match_rows(table[key].to_list(), images).rows]


def _check_agreement(table: pl.DataFrame, key: str, column: str, path: Path) -> None:
    """Every image listed twice has one subject."""
    seen: dict[str, Any] = {}
    conflicts = []
    for name, subject in table.select(pl.col(key).alias("_key"), pl.col(column).alias("_subject")).iter_rows():
        folder, slash, file = str(name).replace("\\", "/").rpartition("/")
        loose = f"{folder}{slash}{loose_name(file)}"
        if subject is not None and seen.setdefault(loose, subject) != subject:
            conflicts.append(f"'{loose}' has '{seen[loose]}' and '{subject}'")
    if conflicts:
        more = f" (and {len(conflicts) - _SHOWN} more)" if len(conflicts) > _SHOWN else ""
        raise InvalidData(
            f"gives different subjects for one image: {'; '.join(conflicts[:_SHOWN])}{more}",
            where=path,
            next_step=f"Keep one row for each value of '{key}'",
        )


def subject_column(columns: Iterable[str]) -> str | None:
    """The column that says whose an image is, by its name."""
    lower = {name.lower().replace(" ", "_"): name for name in columns}
    return next((lower[name] for name in SUBJECT_COLUMNS if name in lower), None)
