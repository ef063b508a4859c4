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
    if not are_drawn(rows):
        return read_labels(
            rows,
            study.root,
            study.labels,
            size=(row["height"], row["width"]) if row.get("height") and row.get("width") else None,
            outside=study.config.outside,
            overlap=study.config.overlap,
        )
    drawing = drawing_of(study, row, rows)
    height, width = drawing.size
    if height * width > LARGEST_PX:
        raise InvalidData(
            f"is {height:,} × {width:,} (height × width), too large to be drawn as one mask",
            where=row["path"],
            next_step="Cut it: stroma annotations pairs STUDY --images STUDY -o pairs; or use Study.mask_region",
        )
    mask, overlap_px = drawing.window(0, 0, width, height)
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
    """Count the pixels of each class; outlines and run lengths are drawn in windows, however large the image is.

    Raises:
        InvalidData: as `Study.read_annotation` raises.
    """
    rows = [row for row in study.annotation_rows(image_id) if (row["layer"], row["annotator"]) == (layer, annotator)]
    if not rows or not are_drawn(rows):
        mask = study.read_annotation(image_id, layer, annotator)
        height, width = mask.labels.shape
        return MarkCounts((height, width), _counts(mask.labels), mask.overlap_px)
    drawing = drawing_of(study, study.row(image_id), rows)
    height, width = drawing.size
    pixels, overlap_px = np.zeros(256, dtype=np.int64), 0
    for y in range(0, height, _WINDOW_PX):
        for x in range(0, width, _WINDOW_PX):
            part, both_px = drawing.window(x, y, min(_WINDOW_PX, width - x), min(_WINDOW_PX, height - y))
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


def are_drawn(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether annotations are outlines, points or run lengths rather than mask files."""
    return all(row["kind"] in DRAWN_KINDS for row in rows)
