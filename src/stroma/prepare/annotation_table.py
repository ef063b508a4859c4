"""`annotations.parquet`: drawn objects of many images in the table that studies use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import shapely

from stroma.core.collector import paused_collector
from stroma.core.errors import InvalidData
from stroma.core.files import json_default
from stroma.core.provenance import Provenance
from stroma.core.tables import read_table, require_columns, write_table
from stroma.regions.annotation import Annotation
from stroma.regions.geojson_coordinates import geometries_from_texts, geometry_texts
from stroma.study.schema import ANNOTATIONS_FORMAT, ANNOTATIONS_SCHEMA

Key = tuple[str, str, str]
"""(image_id, layer, annotator)."""
_OPTIONAL = ("object_type", "attributes")
_BATCH = 20_000
_MORE = ("name", "colour", "measurements", "metadata", "identifier", "plane", "locked")
_EMPTY = {name: getattr(Annotation(None), name) for name in _MORE}
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=json_default).encode
"""As `canonical_json` writes it; one encoder for half a million objects."""
TABLE_SCHEMA: dict[str, pl.DataType] = ANNOTATIONS_SCHEMA | {"object_type": pl.String(), "attributes": pl.String()}
"""The columns of every annotations table, then the kind of object and, as JSON, what else its file said."""


def write_annotation_table(
    path: Path, annotations: Mapping[Key, tuple[Annotation, ...]], settings: Mapping[str, Any]
) -> Path:
    """Write annotations as a table; nothing of them is lost.

    Args:
        path: The Parquet file.
        annotations: (image_id, layer, annotator) → objects.
        settings: What they depend on, for the provenance.
    """
    with paused_collector():
        parts = [
            _rows(key, annotations[key][first : first + _BATCH])
            for key in sorted(annotations)
            for first in range(0, len(annotations[key]), _BATCH)
        ]
    table = pl.concat([pl.DataFrame(schema=TABLE_SCHEMA), *parts])
    return write_table(table, path, Provenance(ANNOTATIONS_FORMAT, settings))


def _rows(key: Key, annotations: tuple[Annotation, ...]) -> pl.DataFrame:
    count = len(annotations)
    texts = geometry_texts([a.geometry for a in annotations], decimals=None)
    kinds = ["points" if a.geometry.geom_type.endswith("Point") else "polygon" for a in annotations]
    columns = {
        "image_id": [key[0]] * count,
        "layer": [key[1]] * count,
        "annotator": [key[2]] * count,
        "kind": kinds,
        "label": [a.label for a in annotations],
        "path": [None] * count,
        "geometry": texts.tolist(),
        "object_type": [a.kind for a in annotations],
        "attributes": [_canonical(_attributes(a)) for a in annotations],
    }
    return pl.DataFrame(columns, schema=TABLE_SCHEMA)


def _attributes(annotation: Annotation) -> dict[str, Any]:
    values = {name: value for name, empty in _EMPTY.items() if (value := getattr(annotation, name)) != empty}
    if "measurements" in values:
        numbers = values["measurements"].items()
        values["measurements"] = {name: value if np.isfinite(value) else None for name, value in numbers}
    if annotation.nucleus is not None:
        values["nucleus"] = json.loads(shapely.to_geojson(annotation.nucleus))
    return values


def read_annotation_table(path: Path) -> dict[Key, tuple[Annotation, ...]]:
    """Read drawn objects from a table.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no annotations table, or a row has no usable geometry; the message has its number.
    """
    table = read_table(path, format=ANNOTATIONS_FORMAT)
    require_columns(table, list(ANNOTATIONS_SCHEMA), where=path)
    masks = table.filter(pl.col("geometry").is_null())
    if len(masks):
        raise InvalidData(
            f"refers to masks ('{masks['kind'][0]}') beside drawn objects",
            where=path,
            next_step="Convert the mask files themselves",
        )
    shapes = geometries_from_texts(table["geometry"].to_list())
    missing = np.flatnonzero(shapely.is_missing(shapes))
    if len(missing):
        raise InvalidData(f"object {missing[0]} has a geometry that cannot be read", where=path)
    names = ["image_id", "layer", "annotator", "label", *(name for name in _OPTIONAL if name in table.columns)]
    found: dict[Key, list[Annotation]] = {}
    with paused_collector():
        columns = [table[name].to_list() for name in names]
        for shape, *values in zip(shapes, *columns, strict=True):
            row = dict(zip(names, values, strict=True))
            key = (row["image_id"], row["layer"] or "", row["annotator"] or "")
            found.setdefault(key, []).append(_annotation(row, shape))
    return {key: tuple(annotations) for key, annotations in found.items()}


def _annotation(row: Mapping[str, Any], shape: Any) -> Annotation:
    more = json.loads(row.get("attributes") or "{}")
    for name in ("colour", "plane"):
        if name in more:
            more[name] = tuple(more[name])
    if "measurements" in more:
        numbers = more["measurements"].items()
        more["measurements"] = {name: float("nan") if value is None else value for name, value in numbers}
    if "nucleus" in more:
        more["nucleus"] = shapely.from_geojson(json.dumps(more["nucleus"]))
    return Annotation(shape, label=row["label"], kind=row.get("object_type") or "annotation", **more)
