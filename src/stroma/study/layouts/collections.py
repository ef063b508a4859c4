"""Annotation files that hold the objects of many images: COCO, and tables of boxes or points."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import shapely

from stroma.core.errors import InvalidData, StromaError
from stroma.regions.annotation import Annotation
from stroma.regions.coco import read_coco
from stroma.study.layouts.drawn import LAYER, object_rows
from stroma.study.listing import Listing, Problem, is_hidden
from stroma.study.matching import KEYS, match_rows, read_any_table
from stroma.study.patterns import suffix_of

_COCO = (b'"images"', b'"annotations"', b'"categories"')
_HEAD_BYTES = 65_536
_LABELS = ("label", "class", "class_name", "category", "name", "type")
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"))
_SIZES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_POINTS = (("x", "y"), ("x_px", "y_px"), ("centroid_x", "centroid_y"))


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table of objects mean.

    Attributes:
        image: Column that names the image.
        places: Columns with two numbers (points) or four (boxes).
        corners: Whether the last two are the right and the bottom edge rather than a size.
        label: Column with the class, or None.
    """

    image: str
    places: tuple[str, ...]
    corners: bool
    label: str | None


def find_collections(listing: Listing) -> list[str]:
    """The files of a folder that hold objects of images which they name."""
    return [
        path
        for path in listing.files
        if not is_hidden(path) and (_is_coco(listing, path) or _is_table(listing, path))
    ]


def collection_rows(
    listing: Listing,
    images: Sequence[Mapping[str, Any]],
    paths: Sequence[str],
    problems: list[Problem],
    *,
    named: bool,
) -> list[dict[str, Any]]:
    """Rows of the annotations table from files that name their images.

    Args:
        listing: The folder.
        images: Catalog rows: `image_id`, `path`, `height`, `width`.
        paths: The files.
        problems: Files and objects that cannot be used are added.
        named: Whether the files are of different annotators, called like the files.
    """
    rows: list[dict[str, Any]] = []
    keys = [(str(image["image_id"]), str(image["path"])) for image in images]
    for path in paths:
        try:
            objects = _read_coco(listing, path) if suffix_of(path) == ".json" else _read_table(listing, path)
        except StromaError as error:
            problems.append(Problem(path, f"{error.what}; it is left out"))
            continue
        names = list(objects)
        found = match_rows(names, keys).rows
        for image, row in zip(images, found, strict=True):
            if row is not None:
                common = {"image_id": image["image_id"], "layer": LAYER, "path": path}
                annotator = path.rpartition("/")[2].rpartition(".")[0] if named else ""
                size = (int(image["height"]), int(image["width"]))
                rows += object_rows(path, objects[names[row]], size, {**common, "annotator": annotator}, problems)
        missing = [name for number, name in enumerate(names) if number not in found]
        if missing:
            more = f" (and of {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            problems.append(Problem(path, f"has objects of '{missing[0]}', which is no image here{more}"))
    return rows


def _is_coco(listing: Listing, path: str) -> bool:
    if suffix_of(path) != ".json":
        return False
    try:
        with (listing.root / path).open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except OSError:
        return False
    if head.lstrip()[:1] != b"{" or b'"Feature' in head or not any(mark in head for mark in _COCO):
        return False
    missing = [mark for mark in _COCO if mark not in head]  # large files may hold them after their beginning
    content = (listing.root / path).read_bytes() if missing else b""
    return all(mark in content for mark in missing)


def _is_table(listing: Listing, path: str) -> bool:
    if suffix_of(path) not in (".csv", ".tsv"):
        return False
    try:
        with (listing.root / path).open("rb") as handle:
            first = handle.readline(_HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return _columns([cell.strip().strip('"') for cell in re.split(r"[,;\t]", first)]) is not None


def _columns(names: Sequence[str]) -> _Columns | None:
    lower = {name.lower(): name for name in reversed(names)}
    image = next((lower[name] for name in KEYS if name in lower and name not in ("id", "name")), None)
    image = image or lower.get("id")
    for wanted in (*_CORNERS, *_SIZES, *_POINTS):
        if image is not None and all(name in lower for name in wanted):
            label = next((lower[name] for name in _LABELS if name in lower and lower[name] != image), None)
            if wanted in _POINTS and label is None:  # rather where each image lies
                return None
            return _Columns(image, tuple(lower[name] for name in wanted), wanted in _CORNERS, label)
    return None


def _read_coco(listing: Listing, path: str) -> dict[str, Sequence[Annotation]]:
    return {image.file_name: image.annotations for image in read_coco(listing.root / path)}


def _read_table(listing: Listing, path: str) -> dict[str, Sequence[Annotation]]:
    """Objects by image; coordinates are level-0 pixels from the outer corner of the first pixel."""
    table = read_any_table(listing.root / path)
    columns = _columns(table.columns)
    if columns is None:
        raise InvalidData("has no columns with places of objects", where=listing.root / path)
    numbers = table.select(pl.col(columns.places).cast(pl.Float64, strict=False)).to_numpy()
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise InvalidData(f"object {bad[0]} has coordinates that are no numbers", where=listing.root / path)
    if len(columns.places) == 2:
        shapes = shapely.points(numbers)
    else:
        end = numbers[:, 2:] if columns.corners else numbers[:, :2] + numbers[:, 2:]
        shapes = shapely.box(numbers[:, 0], numbers[:, 1], end[:, 0], end[:, 1])
    labels = [None] * len(table) if columns.label is None else table[columns.label].cast(pl.String).to_list()
    found: dict[str, list[Annotation]] = {}
    for name, shape, label in zip(table[columns.image].cast(pl.String), shapes, labels, strict=True):
        found.setdefault(str(name), []).append(Annotation(shape, label=label))
    return dict(found)
