"""What every layout gives: recognition of a folder, its tables, and a proposal for `study.yaml`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import polars as pl

from stroma.core.errors import InvalidData
from stroma.study.labels import LabelMapping
from stroma.study.listing import Listing, Problem
from stroma.study.patterns import IMAGE_SUFFIXES
from stroma.study.schema import ANNOTATIONS_SCHEMA, CATALOG_SCHEMA

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Recognition:
    """A layout that a folder can be read as.

    Attributes:
        name: Of the layout.
        reason: What was found, for the user.
        parameters: Of the layout, as they go into `study.yaml`.
    """

    name: str
    reason: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scan:
    """What a layout found.

    Attributes:
        catalog: `CATALOG_SCHEMA` and metadata; `subject_id` is null where the layout does not say.
        annotations: `ANNOTATIONS_SCHEMA`.
        problems: What was left out, and why.
    """

    catalog: pl.DataFrame
    annotations: pl.DataFrame
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Proposal:
    """What `stroma init` writes into `study.yaml` unless the user says otherwise.

    Attributes:
        labels: The classes, or None where the layout has none.
        outside: Label of pixels outside every binary mask; None means not annotated.
        split_column: Catalog column with the layout's own train, validation and test parts.
        counts: Label → number of images that show it.
        notes: What was found and assumed, one sentence each.
        preferred: Annotations that the data set itself prefers: `semantic#primary`.
        overlap: What pixels in the masks or outlines of several labels get; None leaves it to the default.
    """

    labels: LabelMapping | None = None
    outside: str | None = None
    split_column: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    preferred: Sequence[str] = ()
    overlap: str | None = None

    def values(self, annotations: pl.DataFrame) -> dict[str, Any]:
        """Labels, layer and annotators, as they go into `study.yaml`; the most frequent layer makes the masks."""
        values: dict[str, Any] = {}
        if self.labels is not None:
            values["labels"] = self.labels.plain()
        if self.outside is not None:
            values["outside"] = self.outside
        if self.overlap is not None:
            values["overlap"] = self.overlap
        layers = Counter(annotations["layer"].to_list())
        wanted = [name.split("#")[0] for name in self.preferred if name.split("#")[0] in layers]
        layer = wanted[0] if wanted else next((name for name, _ in layers.most_common(1)), None)
        if len(layers) > 1:
            values["layer"] = layer
        known = annotations.filter(pl.col("layer").eq_missing(layer))["annotator"].unique().sort().to_list()
        first = [name.partition("#")[2] for name in self.preferred if name.split("#")[0] == layer]
        if len(known) > 1:
            values["annotators"] = [*(name for name in first if name in known), *(n for n in known if n not in first)]
        return values


class Layout(Protocol):
    """A layout with its parameters."""

    def listing(self, root: Path) -> Listing:
        """List what `scan` looks at."""

    def scan(self, listing: Listing) -> Scan:
        """Make the tables of a study from file names, and from small text files where they hold metadata."""

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Find labels and the layout's own split; may read a sample of the annotations."""


def catalog_table(rows: Iterable[Mapping[str, Any]], *, where: Path) -> pl.DataFrame:
    """Make a catalog from rows with `image_id`, `path`, perhaps `subject_id`, and metadata.

    A metadata column whose values are of several types becomes text; a column of empty values is dropped.

    Raises:
        InvalidData: two rows have the same id; both paths are named.
    """
    rows = sorted(rows, key=itemgetter("image_id", "path"))
    for first, second in zip(rows, rows[1:], strict=False):
        if first["image_id"] == second["image_id"]:
            raise InvalidData(
                f"two images have the id '{first['image_id']}': '{first['path']}' and '{second['path']}'",
                where=where,
                next_step="Rename or remove one of them",
            )
    columns = {name: pl.Series(name, [row.get(name) for row in rows], kind) for name, kind in CATALOG_SCHEMA.items()}
    for name in dict.fromkeys(chain.from_iterable(rows)):
        if name not in columns:
            column = metadata_column(name, [row.get(name) for row in rows])
            if column is not None:
                columns[name] = column
    return pl.DataFrame(list(columns.values()))


def metadata_column(name: str, values: Sequence[Any]) -> pl.Series | None:
    """A column of the narrowest type that holds all values; None when there is no value at all."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return None
    if kinds == {int} and any(value is not None and not -(2**63) <= value < 2**63 for value in values):
        kinds = {int, str}  # too long for a number of a table
    if kinds == {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    if kinds == {list} and all(type(item) is str for value in values if value for item in value):
        lists = [None if value is None else tuple(value) for value in values]
        rows = {value: row for row, value in enumerate(dict.fromkeys(lists))}  # polars is slow with each list
        return pl.Series(name, list(rows), pl.List(pl.String)).gather([rows[value] for value in lists])
    if len(kinds) == 1:
        return pl.Series(name, values)
    return pl.Series(name, [None if value is None else str(value) for value in values], pl.String)


def annotation_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Make an annotations table, sorted by image, layer, annotator and, for mask files, label and path.

    Drawn objects stay in the order of their files, in which they are drawn.
    """
    table = pl.DataFrame(list(rows), schema=ANNOTATIONS_SCHEMA)
    of_file = pl.when(pl.col("geometry").is_null()).then(pl.col("label"))
    return table.sort("image_id", "layer", "annotator", of_file, "path", nulls_last=False, maintain_order=True)


def identifier(path: str) -> str:
    """An id made from a path: composed Unicode (NFC), so that files from macOS and tables agree."""
    return unicodedata.normalize("NFC", path)


def image_counts(annotations: pl.DataFrame, labels: Iterable[str]) -> dict[str, int]:
    """Label → number of images with an annotation of that label, in the order of `labels`."""
    counted = dict(
        annotations.filter(pl.col("label").is_not_null())
        .group_by("label")
        .agg(pl.col("image_id").n_unique())
        .iter_rows()
    )
    return {label: counted.get(label, 0) for label in [*labels, *sorted(set(counted) - set(labels))]}


def other_files(paths: Iterable[str]) -> list[Problem]:
    """One line for each suffix of files that are no part of a layout; tables get a line each."""
    by_suffix: dict[str, list[str]] = {}
    for path in sorted(paths):
        suffix = PurePosixPath(path).suffix.lower()
        by_suffix.setdefault(path if suffix in _TABLES else suffix, []).append(path)
    problems = []
    for suffix, found in by_suffix.items():
        more = f" (nor are {len(found) - 1} other '{suffix}' files)" if len(found) > 1 else ""
        what = "is an image, but no part of this layout" if suffix in IMAGE_SUFFIXES else "is no part of this layout"
        problems.append(Problem(found[0], what + more, harmless=True))
    return problems


def split_column(scan: Scan) -> str | None:
    """`split` when the catalog has such a column with a train part and another one."""
    if "split" not in scan.catalog.columns:
        return None
    parts = {str(part).lower() for part in scan.catalog["split"].drop_nulls()}
    return "split" if parts & {"train", "training"} and len(parts) > 1 else None
