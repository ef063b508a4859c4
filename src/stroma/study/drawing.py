"""What one annotator drew on one image, as geometry: class indices of any window, at any resolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import Runs, decode_runs
from stroma.regions.rle_csv import csv_columns, read_rle_csv
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.masks import compose_binaries

DRAWN_KINDS = ("polygon", "points", "runs")
"""Kinds of annotations that are drawn when they are read; the others lie in mask files."""
_AREAS = (3, 6)  # shapely's types Polygon and MultiPolygon

Overlap = Literal["ignore", "last", "error"]


@dataclass(frozen=True)
class Drawing:
    """Objects of one image.

    Attributes:
        image_id: The image.
        size: (height, width) of it in pixels.
        shapes: Polygons in level-0 pixels, in drawing order, those that mean "not annotated" last.
        values: Class index of each, `IGNORE` for those that mean "not annotated".
        runs: (class index, pixels) of run-length masks; they lie below the polygons.
        outside: Index of pixels in no object.
        overlap: What pixels in objects of several classes get: `ignore` (not annotated), `last` (the class that
            was drawn last, but "not annotated" lies over all), or `error`.
    """

    image_id: str
    size: tuple[int, int]
    shapes: NDArray[np.object_]
    values: NDArray[np.int64]
    runs: tuple[tuple[int, Runs], ...] = ()
    outside: int = IGNORE
    overlap: Overlap = "ignore"

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)

    def window(self, x: int, y: int, w: int, h: int, *, downsample: float = 1.0) -> tuple[NDArray[np.uint8], int]:
        """Draw a window of the image.

        Args:
            x: Left edge in level-0 pixels.
            y: Top edge.
            w: Width in level-0 pixels.
            h: Height in level-0 pixels.
            downsample: Level-0 pixels per pixel of the result.

        Returns:
            (round(h / downsample), round(w / downsample)) uint8 class indices, and the number of pixels that count
            as not annotated because objects of several classes hold them.

        Raises:
            InvalidData: objects of several classes overlap, and that is an error.
        """
        near = np.sort(self._tree.query(shapely.box(x, y, x + w, y + h)))
        shapes, values = self.shapes[near], self.values[near]
        parts = [(value, runs.window(x, y, w, h, downsample=downsample)) for value, runs in self.runs]
        with stage("transform"):
            if self.overlap == "last":
                drawn = mask_from_polygons(
                    shapes, x, y, w, h, downsample=downsample, values=values, background=-1, dtype=np.int16
                )
                return _laid_over(parts, drawn, self.outside), 0
            for value in np.unique(values).tolist():
                inside = mask_from_polygons(shapes[values == value], x, y, w, h, downsample=downsample)
                parts.append((value, inside.astype(bool)))
            if len({value for value, _ in parts}) < 2:
                mask, count = _filled(parts, (round(h / downsample), round(w / downsample)), self.outside), 0
            else:
                mask, count = compose_binaries(parts, outside=self.outside)
        if count and self.overlap == "error":
            raise InvalidData(
                f"{count:,} pixels of '{self.image_id}' lie in objects of several classes",
                next_step="Correct the objects, or set 'overlap: last' or 'overlap: ignore' in study.yaml",
            )
        return mask, count


def _filled(parts: Sequence[tuple[int, NDArray[np.bool_]]], size: tuple[int, int], outside: int) -> NDArray[np.uint8]:
    mask = np.full((max(1, size[0]), max(1, size[1])), outside, dtype=np.uint8)
    for value, inside in parts:
        mask[inside] = value
    return mask


def _laid_over(
    parts: Sequence[tuple[int, NDArray[np.bool_]]], drawn: NDArray[np.int16], outside: int
) -> NDArray[np.uint8]:
    mask = np.full(drawn.shape, outside, dtype=np.uint8)
    for value, inside in parts:
        mask[inside] = value
    mask[drawn >= 0] = drawn[drawn >= 0]
    for value, inside in parts:
        if value == IGNORE:
            mask[inside] = IGNORE
    return mask


def draw(
    rows: Sequence[dict[str, Any]],
    root: Path,
    labels: LabelMapping,
    size: tuple[int, int],
    *,
    outside: str | None = None,
    overlap: Overlap = "ignore",
) -> Drawing:
    """Make a drawing of the annotation rows of one image, layer and annotator.

    Points and lines have no area and are not drawn, nor are objects without a class.

    Args:
        rows: Rows of the annotations table, all of `DRAWN_KINDS`, in drawing order.
        root: The study's root.
        labels: The classes.
        size: (height, width) of the image in pixels.
        outside: Label of pixels in no object; None means not annotated.
        overlap: See `Drawing`.

    Raises:
        InvalidData: an unknown label (with the index of the object), a geometry or run lengths that cannot be used.
    """
    polygons = [row for row in rows if row["kind"] == "polygon"]
    with stage("decode"):
        texts = np.array([row["geometry"] for row in polygons], dtype=object)
        shapes = np.asarray(shapely.from_geojson(texts, on_invalid="ignore"), dtype=object).reshape(-1)
        areas = np.isin(shapely.get_type_id(shapes), _AREAS) & ~shapely.is_empty(shapes)
    values = np.array(
        [_value(row, index, root, labels) for index, row in _numbered(rows) if row["kind"] == "polygon"]
    )
    values = np.where(areas, values, -1).astype(np.int64)
    order = [*np.flatnonzero((values >= 0) & (values != IGNORE)), *np.flatnonzero(values == IGNORE)]
    runs = tuple(_runs(row, root, labels, size) for row in rows if row["kind"] == "runs")
    return Drawing(
        str(rows[0]["image_id"]),
        size,
        shapes[order],
        values[order],
        runs,
        IGNORE if outside is None else labels.index(outside),
        overlap,
    )


def _numbered(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with the index of its object in its file."""
    counted: Counter[str | None] = Counter()
    for row in rows:
        yield counted[row["path"]], row
        counted[row["path"]] += 1


def _value(row: dict[str, Any], index: int, root: Path, labels: LabelMapping) -> int:
    """Class index of an object, `IGNORE` where its class means that, -1 when it has no class."""
    if row["label"] is None:
        return -1
    if row["label"] in labels.names or row["label"] in labels.ignore:
        return labels.from_name(row["label"])
    return labels.from_name(
        row["label"], where=f"{root / row['path']}, object {index}" if row["path"] else f"object {index}"
    )


def _runs(row: dict[str, Any], root: Path, labels: LabelMapping, size: tuple[int, int]) -> tuple[int, Runs]:
    path = root / row["path"]
    found = path.stat()
    texts = _encodings(path, row["label"], found.st_size, found.st_mtime_ns)
    value = labels.from_name(row["label"], where=path)
    return value, decode_runs(texts.get(row["image_id"], ""), *size, where=f"{path}, {row['image_id']}")


@lru_cache(maxsize=4)
def _encodings(path: Path, label: str, size: int, changed_ns: int) -> dict[str, str]:
    """Image id → run lengths of a CSV file, from the column called like the class where there is one."""
    with stage("read"):
        table = read_rle_csv(path, columns=[label] if label in csv_columns(path) else ())
    return dict(table.select("image_id", "encoding").iter_rows())
