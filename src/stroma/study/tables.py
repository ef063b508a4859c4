"""The derived tables of a study: made from its files, kept beside `study.yaml`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from stroma.core.config import to_plain
from stroma.core.errors import ConfigError, InvalidData, nearest
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_provenance, read_table, write_table
from stroma.study.config import STUDY_FILE, StudyConfig
from stroma.study.join import join_table
from stroma.study.layouts.layout import Scan, annotation_table
from stroma.study.listing import Listing, Problem
from stroma.study.schema import ANNOTATIONS_FORMAT, CATALOG_FORMAT
from stroma.study.subjects import find_subjects


@dataclass(frozen=True)
class Tables:
    """The tables of a study.

    Attributes:
        catalog: `CATALOG_SCHEMA` and metadata, sorted by `image_id`.
        annotations: `ANNOTATIONS_SCHEMA`.
        problems: What was left out, and why; empty for tables that were read from disk.
    """

    catalog: pl.DataFrame
    annotations: pl.DataFrame
    problems: tuple[Problem, ...] = ()


def derive_tables(config: StudyConfig, path: Path, scan: Scan) -> Tables:
    """Make the tables from what the layout found.

    Args:
        config: What `study.yaml` holds.
        path: Where that lies.
        scan: What the layout of `config` found.

    Raises:
        InvalidData: there are no images, two of one id, or one without a subject.
        ConfigError: `config` names a column that is not there.
    """
    catalog, annotations, problems = scan.catalog, scan.annotations, scan.problems
    if not len(catalog):
        first = f", first problem: {problems[0].path} {problems[0].message}" if problems else ""
        raise InvalidData(f"holds no usable images of the layout '{config.layout.name}'{first}", where=config.root)
    if config.table is not None:
        keep = [name for name in (config.subjects.column, config.label_column) if name]
        table = path.parent / config.table
        catalog, unmatched = join_table(catalog, table, keep=keep, unlisted=config.unlisted)
        problems = (*problems, *unmatched)
        if not len(catalog):
            raise InvalidData("lists none of the images of the study", where=table)
        annotations = annotations.join(catalog.select("image_id"), on="image_id", how="semi", maintain_order="left")
    if config.label_column is not None:
        annotations = pl.concat([annotations, _image_labels(catalog, config.label_column, path)])
    return Tables(find_subjects(catalog, config.subjects, where=path), annotations, problems)


def _image_labels(catalog: pl.DataFrame, column: str, path: Path) -> pl.DataFrame:
    """A label of each whole image as annotations; images whose cell is empty have none."""
    if column not in catalog.columns:
        raise ConfigError(
            f"label_column: there is no column '{column}'", where=path, next_step=nearest(column, catalog.columns)
        )
    labelled = catalog.filter(pl.col(column).is_not_null()).select("image_id", pl.col(column).cast(pl.String))
    return annotation_table(
        {"image_id": image_id, "layer": "label", "annotator": "", "kind": "image", "label": label}
        for image_id, label in labelled.iter_rows()
    )


def store_tables(tables: Tables, config: StudyConfig, path: Path, listing: Listing) -> None:
    """Write the tables beside `study.yaml`; in a read-only folder they are made each time instead."""
    with suppress(OSError):
        write_table(tables.catalog, table_path(path, "catalog"), _provenance(CATALOG_FORMAT, config, path, listing))
        provenance = _provenance(ANNOTATIONS_FORMAT, config, path, listing)
        write_table(tables.annotations, table_path(path, "annotations"), provenance)


def stored_tables(config: StudyConfig, path: Path, listing: Listing) -> Tables | None:
    """The tables beside `study.yaml`, if they were made from these files with these settings; else None."""
    found = []
    for name, kind in (("catalog", CATALOG_FORMAT), ("annotations", ANNOTATIONS_FORMAT)):
        file = table_path(path, name)
        try:
            if not file.is_file() or read_provenance(file) != _provenance(kind, config, path, listing):
                return None
            found.append(read_table(file))
        except (InvalidData, OSError):  # damaged, or of another kind: made again
            return None
    return Tables(found[0], found[1])


def table_path(path: Path, name: str) -> Path:
    """Where a derived table of the study at `path` lies: `catalog.parquet`, or `<stem>.catalog.parquet`."""
    prefix = "" if path.name == STUDY_FILE else f"{path.stem}."
    return path.with_name(f"{prefix}{name}.parquet")


def _provenance(kind: str, config: StudyConfig, path: Path, listing: Listing) -> Provenance:
    settings: dict[str, Any] = {"layout": to_plain(config.layout), "subjects": to_plain(config.subjects)}
    if config.table is not None:
        settings["unlisted"] = config.unlisted
    if config.label_column is not None:
        settings["label_column"] = config.label_column
    inputs = [listing.record()]
    tables = {"table": config.table, "subjects": config.subjects.table}
    inputs += [InputRecord.of(name, path.parent / file) for name, file in tables.items() if file is not None]
    return Provenance(kind, settings, tuple(inputs))
