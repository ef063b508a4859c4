"""The coordinates of many polygons as GeoJSON text and back, all numbers of a batch at once.

Half a million cells have 25 million numbers. Their text is split into its numbers, which polars reads and writes
several times faster than a geometry library does one polygon at a time, and its brackets, which tell how many corners
each ring has. What is no plain polygon, or looks odd in any way, is left to the geometry library and its messages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

POLYGON_TEXT = '{"type":"Polygon","coordinates":'
_POLYGON = 3
_BATCH = 20_000
_NUMBERS = b"0123456789.+-eE \t\r\n"
_TO_LINES = bytes.maketrans(b",;", b"\n\n")
_NO_NUMBER = b"[] \t\r\n"
_RINGS = re.compile(r"\[(\[\[,\](?:,\[,\])+\](?:,\[\[,\](?:,\[,\])+\])*)\]")


def parse_polygons(coordinates: Sequence[str]) -> NDArray[np.object_] | None:
    """Polygons from the texts of their coordinates, `[[[x,y],…],…]`.

    Returns:
        Shapely polygons (n,), or None when any of the texts is not a closed polygon of finite x and y.
    """
    joined = ";".join(coordinates).encode("utf-8")
    sizes = [_ring_sizes(bones) for bones in joined.translate(None, _NUMBERS).split(b";")]
    if not all(sizes):
        return None
    points = _numbers(joined)
    rings = np.array([size for entry in sizes for size in entry], dtype=np.int64)
    if points is None or len(points) != rings.sum():
        return None
    last = np.cumsum(rings) - 1
    if rings.min() < 4 or not np.array_equal(points[last], points[last - rings + 1]):
        return None
    made = shapely.linearrings(points, indices=np.repeat(np.arange(len(rings)), rings))
    if len(rings) == len(sizes):
        return np.asarray(shapely.polygons(made))
    owner = np.repeat(np.arange(len(sizes)), [len(entry) for entry in sizes])
    return np.asarray(shapely.polygons(made, indices=owner))


@lru_cache(maxsize=65_536)
def _ring_sizes(bones: bytes) -> tuple[int, ...]:
    """Corners of each ring from what is left of `[[[x,y],…],…]` without its numbers; empty for anything else."""
    found = _RINGS.fullmatch(bones.decode("utf-8", "replace"))
    return tuple(ring.count("[,") for ring in found[1].split("]],")) if found else ()


def _numbers(joined: bytes) -> NDArray[np.float64] | None:
    """All x and y as (n, 2); None where something is no number."""
    lines = joined.translate(_TO_LINES, _NO_NUMBER)
    content, schema = io.BytesIO(lines), {"value": pl.Float64}
    table = pl.read_csv(content, has_header=False, schema=schema, ignore_errors=True, glob=False)
    values = table["value"].to_numpy()
    return values.reshape(-1, 2) if len(values) % 2 == 0 and np.isfinite(values).all() else None


def polygon_texts(shapes: NDArray[np.object_], decimals: int | None) -> list[str]:
    """GeoJSON geometries of polygons that are neither missing nor empty, their coordinates rounded.

    Args:
        shapes: Shapely polygons (n,) of finite x and y.
        decimals: Decimals of the coordinates; None keeps them all.
    """
    rings, owner = shapely.get_rings(shapes, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    if decimals is not None:
        points = np.round(points, decimals)
    before = np.zeros(len(points), dtype=np.int64)
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    before[starts] = 1
    before[starts[np.flatnonzero(np.diff(owner, prepend=-1))]] = 2
    prefix = pl.Series(["],[", "]],[[", "]]]};[[["]).gather(before)
    pairs = pl.DataFrame({"prefix": prefix, "x": points[:, 0], "y": points[:, 1]}).select(
        pl.concat_str("prefix", pl.col("x").cast(pl.String), pl.lit(","), pl.col("y").cast(pl.String)).str.join("")
    )
    texts = f"{pairs.item()}]]]}}".split(";")[1:]
    return [POLYGON_TEXT + text for text in texts]


def are_plain_polygons(shapes: NDArray[np.object_]) -> bool:
    """Whether all shapes are polygons with corners, none of them missing, and of finite x and y."""
    if not (shapely.get_type_id(shapes) == _POLYGON).all() or shapely.is_empty(shapes).any():
        return False
    return bool(np.isfinite(shapely.get_coordinates(shapes)).all())


def geometries_from_texts(texts: Sequence[str]) -> Any:
    """Geometries from GeoJSON texts, as `geometry_texts` writes them or any other; None for what cannot be read."""
    shapes = np.full(len(texts), None, dtype=object)
    for first in range(0, len(texts), _BATCH):
        part = texts[first : first + _BATCH]
        plain = None
        if all(text.startswith(POLYGON_TEXT) for text in part):
            plain = parse_polygons([text[len(POLYGON_TEXT) : -1] for text in part])
        shapes[first : first + len(part)] = (
            shapely.from_geojson(np.array(part, dtype=object), on_invalid="ignore") if plain is None else plain
        )
    return shapes


def geometry_texts(
    geometries: Sequence[Any], offset: tuple[float, float] = (0.0, 0.0), decimals: int | None = 3
) -> Any:
    """GeoJSON texts of geometries (None stays None), moved by minus `offset` and rounded."""
    texts = np.full(len(geometries), None, dtype=object)
    for first in range(0, len(geometries), _BATCH):
        shapes = np.empty(len(geometries[first : first + _BATCH]), dtype=object)
        shapes[:] = geometries[first : first + _BATCH]
        texts[first : first + _BATCH] = _batch_texts(shapes, offset, decimals)
    return texts


def _batch_texts(shapes: NDArray[np.object_], offset: tuple[float, float], decimals: int | None) -> Any:
    if offset != (0.0, 0.0):
        shapes = shapely.transform(shapes, lambda points: points - offset)
    if are_plain_polygons(shapes):
        return polygon_texts(shapes, decimals)
    if decimals is not None:
        shapes = shapely.transform(shapes, lambda points: np.round(points, decimals))
    return shapely.to_geojson(shapes)
