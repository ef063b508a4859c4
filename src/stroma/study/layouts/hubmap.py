"""The layout of the HuBMAP competitions: TIFF files, a CSV file of ids with run lengths, outlines as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from stroma.core.errors import ConfigError, InvalidData, MissingFile
from stroma.core.text import plural
from stroma.regions.rle_csv import ENCODING_COLUMNS, csv_columns, read_rle_csv
from stroma.study.labels import LabelMapping
from stroma.study.layouts.drawn import drawn_rows, find_drawn, propose_drawn, with_classes
from stroma.study.layouts.layout import (
    Proposal,
    Recognition,
    Scan,
    annotation_table,
    catalog_table,
    identifier,
    image_counts,
    other_files,
)
from stroma.study.layouts.masks import image_row
from stroma.study.listing import Listing, Problem, is_hidden, list_files
from stroma.study.patterns import IMAGE_SUFFIXES, suffix_of, without_suffix

_STRUCTURE = "-anatomical-structure"
_RUNS = re.compile(r"\d+ \d+( \d+ \d+)*")
Source = Literal["runs", "polygons", "structures"]


@dataclass(frozen=True)
class HubmapFolder:
    """Images that a CSV file of ids and run lengths lists, as HuBMAP and Kaggle hand them out.

    Args:
        table: The CSV file with columns `id` and `encoding` (or `rle`, or one column a class), relative to the root.
        annotations: What is read: the `runs` of the table, the `polygons` of the JSON file of each image, or the
            `structures` of the files `<id>-anatomical-structure.json`.
        label: Class of the runs of a table with one column of them, and of outlines without a class.
    """

    table: str = "train.csv"
    annotations: Source = "runs"
    label: str = "foreground"

    def __post_init__(self) -> None:
        if self.annotations not in ("runs", "polygons", "structures"):
            raise ConfigError(f"layout.annotations: '{self.annotations}' is none of runs, polygons, structures")

    @classmethod
    def recognise(cls, listing: Listing) -> Recognition | None:
        """Recognise a folder with a CSV file of run lengths whose ids are names of images."""
        tables = [path for path in listing.files if path.lower().endswith(".csv") and path.count("/") <= 1]
        best: tuple[int, str] = (0, "")
        for path in sorted(tables, key=lambda path: ("train" not in path.lower(), path)):
            columns = csv_columns(listing.root / path)
            if "id" in columns and run_columns(listing.root / path):
                try:
                    count = len(_listed(listing, path)[0])
                except InvalidData:  # images and masks of one name, or an id twice: another layout
                    continue
                best = max(best, (count, path), key=lambda one: one[0])
        if not best[0]:
            return None
        count, table = best
        images = list(_listed(listing, table)[0].values())
        label = _class_of_outlines(listing, images)
        parameters = {"table": table, "annotations": "runs", **({"label": label} if label else {})}
        return Recognition("hubmap", f"{plural(count, 'image')} with run lengths in {table} (HuBMAP)", parameters)

    def listing(self, root: Path) -> Listing:
        """List everything below the root."""
        return list_files(root)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens the header of each image. Ids are those of the CSV file.

        Raises:
            MissingFile: the CSV file is not there.
        """
        if self.table not in listing.files:
            raise MissingFile("there is no such table", where=listing.root / self.table)
        images, missing = _listed(listing, self.table)
        problems = list(listing.problems)
        problems += [Problem(self.table, f"lists '{name}', but there is no such image") for name in missing]
        rows = [image_row(listing.root, name, None, path, problems) for name, path in images.items()]
        found = [row for row in rows if row is not None]
        marks = self._runs(listing, [row["image_id"] for row in found]) if self.annotations == "runs" else []
        for row in found:
            files = [] if self.annotations == "runs" else self._outlines(listing, row["path"])
            if self.annotations != "runs" and not files:
                problems.append(Problem(row["path"], f"has no JSON file with {self.annotations}"))
            layer = "polygon" if self.annotations == "polygons" else _STRUCTURE.strip("-")
            of_image = [("", file) for file in files]
            marks += drawn_rows(listing.root, row["image_id"], row["path"], of_image, problems, layer=layer)
        used = {self.table, *images.values(), *(str(mark["path"]) for mark in marks)}
        others = [path for path in listing.files if path not in used and not is_hidden(path)]
        problems += _other_images(others, self.table)
        problems += other_files([path for path in others if suffix_of(path) not in IMAGE_SUFFIXES])
        return Scan(
            catalog_table(found, where=listing.root),
            annotation_table(marks if self.annotations == "runs" else with_classes(marks, self.label)),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def _runs(self, listing: Listing, names: Sequence[str]) -> list[dict[str, object]]:
        columns = run_columns(listing.root / self.table)
        labels = [self.label] if len(columns) == 1 else columns
        common = {"layer": "mask", "annotator": "", "kind": "runs", "path": self.table}
        return [{"image_id": name, "label": label, **common} for name in names for label in labels]

    def _outlines(self, listing: Listing, image: str) -> list[str]:
        name = identifier(without_suffix(image)).rpartition("/")[2]
        wanted = f"{name}{_STRUCTURE}.json" if self.annotations == "structures" else f"{name}.json"
        return [path for path in listing.files if identifier(path).rpartition("/")[2] == wanted]

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """The classes of the runs, or of the outlines."""
        if self.annotations != "runs":
            return propose_drawn(scan.annotations)
        columns = run_columns(listing.root / self.table)
        classes = columns if len(columns) > 1 else [self.label]
        names = ["background", *(name for name in classes if name != "background")]
        notes = ["pixels in no run count as 'background'"]
        if self._outlines(listing, str(scan.catalog["path"][0])):
            notes.append("the JSON files hold outlines too; 'annotations: polygons' or 'structures' reads those")
        counts = image_counts(scan.annotations, classes)
        return Proposal(LabelMapping.of(names), "background", counts=counts, notes=notes)


def run_columns(path: Path) -> list[str]:
    """The columns of a CSV file that hold run lengths: the usual one, else all whose first value is such a text."""
    try:
        table = pl.read_csv(path, infer_schema=False, n_rows=50, glob=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError):
        return []
    usual = [name for name in ENCODING_COLUMNS if name in table.columns]
    if usual:
        return usual[:1]
    first = {name: table[name].drop_nulls() for name in table.columns if name != "id"}
    return [name for name, values in first.items() if len(values) and _RUNS.fullmatch(values[0].strip())]


def _listed(listing: Listing, table: str) -> tuple[dict[str, str], list[str]]:
    """Id → path of the image, and ids without one."""
    path = listing.root / table
    column = run_columns(path)
    names: list[str] = read_rle_csv(path, columns=column[:1])["image_id"].to_list()
    by_name: dict[str, list[str]] = {}
    for file in listing.files:
        if suffix_of(file) in IMAGE_SUFFIXES and not is_hidden(file):
            by_name.setdefault(identifier(without_suffix(file)).rpartition("/")[2], []).append(file)
    found: dict[str, str] = {}
    for name in names:
        files = by_name.get(identifier(name), [])
        if len(files) > 1:
            raise InvalidData(f"two images have the id '{name}': '{files[0]}' and '{files[1]}'", where=path)
        found |= {identifier(name): files[0]} if files else {}
    return found, [name for name in names if identifier(name) not in found]


def _class_of_outlines(listing: Listing, images: Sequence[str]) -> str | None:
    """The class of the outlines in the JSON files, where they all have the same one."""
    drawn = find_drawn(listing, images).of
    rows: list[dict[str, object]] = []
    for image, files in list(drawn.items())[:1]:
        rows = drawn_rows(listing.root, image, image, files, [])
    classes = {row["label"] for row in rows}
    only = next(iter(classes)) if len(classes) == 1 else None
    return str(only) if only is not None else None


def _other_images(others: Sequence[str], table: str) -> list[Problem]:
    """One line for each folder of images that the table does not list."""
    folders: dict[str, list[str]] = {}
    for path in others:
        if suffix_of(path) in IMAGE_SUFFIXES:
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    problems = []
    for paths in folders.values():
        more = f" (nor are {len(paths) - 1} other images beside it)" if len(paths) > 1 else ""
        problems.append(Problem(paths[0], f"is not listed in {table}{more}; it is left out", harmless=True))
    return problems
