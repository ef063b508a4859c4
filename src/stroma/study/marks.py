"""What was marked in an image of a study, from mask files or drawn from outlines, whole or in a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.regions.rle import sample_positions
from stroma.study.drawing import DRAWN_KINDS, Drawing, draw
from stroma.study.labels import IGNORE
from stroma.study.masks import AnnotatedMask, read_labels

if TYPE_CHECKING:
    from stroma.study.study import Study

LARGEST_PX = 500_000_000
"""Pixels of the largest image whose outlines are drawn as one mask."""
_KEPT = 4
_WINDOW_PX = 4096
_WHOLE_PX = 64_000_000
_WINDOWED = ("mask-index", "mask-instance", "mask-binary", "mask-rgb")


def read_marks(study: Study, row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> AnnotatedMask:
    """Read the annotation rows of one image, layer and annotator as one mask.

    Args:
        study: The study.
        row: The catalog row of the image.
        rows: Rows of the annotations table.

    Raises:
        InvalidData: an unknown label, a mask or outlines that contradict the image, or an image too large to be
            drawn whole.
    """
    drawn = are_drawn(rows)
    height, width = drawing_of(study, row, rows).size if drawn else _size(row) or (0, 0)
    if height * width > LARGEST_PX:
        raise InvalidData(
            f"is {height:,} × {width:,} (height × width), too large to be held as one mask",
            where=row["path"],
            next_step="Cut it: stroma annotations pairs STUDY --images STUDY -o pairs; or use Study.mask_region",
        )
    if not drawn:
        return _of_files(study, row, rows)
    mask, overlap_px = drawing_of(study, row, rows).window(0, 0, width, height)
    return AnnotatedMask(mask, rows[0]["layer"], rows[0]["annotator"], overlap_px)


def read_marks_window(
    study: Study,
    row: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    window: tuple[int, int, int, int],
    downsample: float,
) -> NDArray[np.uint8]:
    """Read a window (x, y, w, h) of the marks; 255 beyond the image. See `Study.mask_region`."""
    columns = sample_positions(window[0], window[2], downsample)
    lines = sample_positions(window[1], window[3], downsample)
    if are_drawn(rows):
        drawing = drawing_of(study, row, rows)
        height, width = drawing.size
        mask, _ = drawing.window(*window, downsample=downsample)
    elif _are_large_tiffs(row, rows):
        height, width = _size(row) or (0, 0)
        mask = np.full((len(lines), len(columns)), IGNORE, dtype=np.uint8)
        x, y = max(0, window[0]), max(0, window[1])
        w, h = min(width, window[0] + window[2]) - x, min(height, window[1] + window[3]) - y
        if w > 0 and h > 0:
            part = _of_files(study, row, rows, (x, y, w, h)).labels
            mask = part[np.ix_((lines - y).clip(0, h - 1), (columns - x).clip(0, w - 1))]
    else:
        whole = read_marks(study, row, rows).labels
        height, width = whole.shape
        mask = whole[np.ix_(lines.clip(0, height - 1), columns.clip(0, width - 1))]
    mask[(lines < 0) | (lines >= height), :] = IGNORE
    mask[:, (columns < 0) | (columns >= width)] = IGNORE
    return mask


@dataclass(frozen=True)
class MarkCounts:
    """How much one annotator marked in one image.

    Attributes:
        size: (height, width) of the mask in pixels.
        pixels: (256,) pixels of each class index; of `IGNORE` at 255.
        overlap_px: Pixels in the masks of several labels that count as not annotated.
    """

    size: tuple[int, int]
    pixels: NDArray[np.int64]
    overlap_px: int


def count_marks(study: Study, image_id: str, layer: str, annotator: str) -> MarkCounts:
    """Count the pixels of each class; outlines, run lengths and large TIFFs are read in windows.

    Raises:
        InvalidData: as `Study.read_annotation` raises.
    """
    rows = [row for row in study.annotation_rows(image_id) if (row["layer"], row["annotator"]) == (layer, annotator)]
    row = study.row(image_id)
    drawing = drawing_of(study, row, rows) if rows and are_drawn(rows) else None
    if drawing is None and not _are_large_tiffs(row, rows):
        mask = study.read_annotation(image_id, layer, annotator)
        height, width = mask.labels.shape
        return MarkCounts((height, width), _counts(mask.labels), mask.overlap_px)
    height, width = drawing.size if drawing is not None else _size(row) or (0, 0)
    pixels, overlap_px = np.zeros(256, dtype=np.int64), 0
    for y in range(0, height, _WINDOW_PX):
        for x in range(0, width, _WINDOW_PX):
            window = (x, y, min(_WINDOW_PX, width - x), min(_WINDOW_PX, height - y))
            if drawing is not None:
                part, both_px = drawing.window(*window)
            else:
                read = _of_files(study, row, rows, window)
                part, both_px = read.labels, read.overlap_px
            pixels += _counts(part)
            overlap_px += both_px
    return MarkCounts((height, width), pixels, overlap_px)


def _counts(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(mask.ravel(), minlength=256)


def drawing_of(study: Study, row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Drawing:
    """The drawing of one image, layer and annotator; the last few are kept.

    Raises:
        InvalidData: there is nothing that has an area, or an object that cannot be drawn.
    """
    if {one["kind"] for one in rows} == {"points"}:
        raise InvalidData(f"'{row['image_id']}' has points only, which mark no area", where=study.root / row["path"])
    key = (rows[0]["image_id"], rows[0]["layer"], rows[0]["annotator"])
    kept: dict[tuple[str, str, str], Drawing] = study.__dict__.setdefault("_drawings", {})
    if key not in kept:
        while len(kept) >= _KEPT:
            kept.pop(next(iter(kept)))
        with study.open(row["image_id"]) as image:
            size = image.shape[:2]
        kept[key] = draw(
            rows,
            study.root,
            study.labels,
            (size[0], size[1]),
            outside=study.config.outside,
            overlap=study.config.overlap,
        )
    return kept[key]


def _of_files(
    study: Study, row: dict[str, Any], rows: Sequence[dict[str, Any]], window: tuple[int, int, int, int] | None = None
) -> AnnotatedMask:
    return read_labels(
        rows,
        study.root,
        study.labels,
        size=_size(row),
        outside=study.config.outside,
        overlap=study.config.overlap,
        window=window,
    )


def _size(row: dict[str, Any]) -> tuple[int, int] | None:
    return (row["height"], row["width"]) if row.get("height") and row.get("width") else None


def _are_large_tiffs(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    """Whether masks are read by window: those of slides, as TIFF files."""
    height, width = _size(row) or (0, 0)
    return height * width > _WHOLE_PX and all(
        row["kind"] in _WINDOWED and str(row["path"]).lower().endswith((".tif", ".tiff")) for row in rows
    )


def are_drawn(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether annotations are outlines, points or run lengths rather than mask files."""
    return all(row["kind"] in DRAWN_KINDS for row in rows)
