"""From the annotation rows of one image to one mask of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.images.open import open_image
from stroma.regions.masks import binary_from_mask, check_size, grey_from_rgb, read_mask, rgb_to_index
from stroma.study.htc.segmentations import read_segmentation
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.mitk_masks import read_mitk_mask


@dataclass(frozen=True)
class AnnotatedMask:
    """What one annotator said about one image.

    Attributes:
        labels: (h, w) uint8 class indices, `IGNORE` (255) where not annotated.
        layer: What was annotated (`polygon`, `semantic`).
        annotator: Who did it; empty where the files do not say.
        overlap_px: Pixels in the masks of several labels; they count as not annotated.
    """

    labels: NDArray[np.uint8]
    layer: str
    annotator: str
    overlap_px: int = 0


@dataclass(frozen=True)
class MergedMask:
    """What several annotators said about one image.

    Attributes:
        labels: (h, w) uint8 class indices, `IGNORE` (255) where nobody annotated.
        taken: (h, w) uint8: which of `annotations` the label is of, 255 where nobody annotated.
        annotations: `<layer>#<annotator>`, in the order in which they were laid over each other.
        disagreed_px: Pixels to which two of them gave different labels.
    """

    labels: NDArray[np.uint8]
    taken: NDArray[np.uint8]
    annotations: tuple[str, ...]
    disagreed_px: int


def merge_masks(masks: Sequence[AnnotatedMask]) -> MergedMask:
    """Lay masks over each other: the last one that annotated a pixel wins (the union of htc).

    Args:
        masks: At least one, all of one size.

    Raises:
        InvalidData: there is none, or they differ in size.
    """
    shapes = {mask.labels.shape for mask in masks}
    if len(shapes) != 1:
        raise InvalidData(f"{len(masks)} masks of the sizes {sorted(shapes)} cannot be merged")
    labels = np.full(shapes.pop(), IGNORE, dtype=np.uint8)
    taken = labels.copy()
    disagreed = np.zeros(labels.shape, dtype=bool)
    for place, mask in enumerate(masks):
        annotated = mask.labels != IGNORE
        disagreed |= annotated & (labels != IGNORE) & (labels != mask.labels)
        labels[annotated] = mask.labels[annotated]
        taken[annotated] = place
    names = tuple(f"{mask.layer}#{mask.annotator}" for mask in masks)
    return MergedMask(labels, taken, names, int(disagreed.sum()))


def compose_binaries(
    masks: Sequence[tuple[int, NDArray[np.bool_]]], *, outside: int = IGNORE, last: bool = False
) -> tuple[NDArray[np.uint8], int]:
    """Make one mask of class indices from one binary mask per annotation.

    Args:
        masks: (class index or `IGNORE`, (h, w) True inside), all of one size; a class may come several times.
            Masks of `IGNORE` only mark pixels as not annotated.
        outside: Value of pixels in no mask.
        last: Whether pixels in the masks of several classes belong to the one of the highest index.

    Returns:
        (h, w) uint8 class indices, where pixels in the masks of two different classes are `IGNORE` unless `last`,
        and the number of pixels that are not annotated for that reason.
    """
    shape = masks[0][1].shape
    result = np.full(shape, outside, dtype=np.uint8)
    taken = np.zeros(shape, dtype=bool)
    overlap = np.zeros(shape, dtype=bool)
    for index in sorted({index for index, _ in masks}):
        inside = np.zeros(shape, dtype=bool)
        for other, mask in masks:
            if other == index:
                inside |= mask
        if index != IGNORE:
            overlap |= inside & taken
            taken |= inside
        result[inside] = index
    if last:
        return result, 0
    result[overlap] = IGNORE
    return result, int(overlap.sum())


def read_labels(
    rows: Sequence[dict[str, Any]],
    root: Path,
    labels: LabelMapping,
    *,
    size: tuple[int, int] | None = None,
    outside: str | None = None,
    overlap: Literal["ignore", "last", "error"] = "ignore",
    window: tuple[int, int, int, int] | None = None,
) -> AnnotatedMask:
    """Read the annotation rows of one image, layer and annotator as one mask.

    Args:
        rows: Rows of the annotations table (`ANNOTATIONS_SCHEMA`).
        root: The study's root.
        labels: The classes.
        size: (height, width) of the image, which every mask must have.
        outside: Label of pixels outside all binary masks; None means not annotated.
        overlap: What pixels in the masks of two classes get: `ignore` counts them as not annotated, `last` gives
            them to the class that the mapping lists last, `error` stops.
        window: (x, y, w, h) inside the image, of TIFF masks only: nothing else of them is read.

    Raises:
        InvalidData: an unknown label or value, a mask of another size, a forbidden overlap, or a kind of
            annotation that makes no mask.
    """
    first = rows[0]
    if any(row["kind"] == "image" for row in rows):
        raise InvalidData(
            f"'{first['image_id']}' has a label for the whole image and no mask",
            next_step="It is in the column 'label' of the catalog",
        )
    if first["kind"] != "mask-binary" and len(rows) > 1:
        names = ", ".join(str(row["path"]) for row in rows)
        raise InvalidData(f"'{first['image_id']}' has {len(rows)} masks of one annotator: {names}", where=root)
    binaries = []
    for row in rows:
        path = root / row["path"]
        if row["kind"] in ("mask-htc", "mask-mitk"):
            if row["kind"] == "mask-htc":
                mask, conflict = read_segmentation(path, f"{row['layer']}#{row['annotator']}", labels)
            else:
                mask, conflict = read_mitk_mask(path, labels)
            if size is not None:
                check_size(mask, *size, where=path)
            return AnnotatedMask(mask, row["layer"], row["annotator"], conflict)
        mask = _read_file(path, size, window)
        if row["kind"] != "mask-binary":
            return AnnotatedMask(_translate(row, mask, labels, path), row["layer"], row["annotator"])
        binaries.append((labels.from_name(row["label"], where=path), binary_from_mask(mask, where=path)))
    if len({mask.shape for _, mask in binaries}) > 1:
        raise InvalidData(f"the masks of '{first['image_id']}' differ in size", where=root / first["path"])
    composed, both_px = compose_binaries(
        binaries, outside=IGNORE if outside is None else labels.index(outside), last=overlap == "last"
    )
    if both_px and overlap == "error":
        raise InvalidData(
            f"{both_px:,} pixels of '{first['image_id']}' lie in the masks of several labels",
            where=(root / first["path"]).parent,
            next_step="Correct the masks, or set 'overlap: ignore' in study.yaml to count them as not annotated",
        )
    return AnnotatedMask(composed, first["layer"], first["annotator"], both_px)


def _read_file(path: Path, size: tuple[int, int] | None, window: tuple[int, int, int, int] | None) -> NDArray[Any]:
    """A mask file, or a window of it, as it is stored."""
    if window is None:
        mask = read_mask(path)
        if size is not None:
            check_size(mask, *size, where=path)
        return mask
    with open_image(path, reader="tiff") as image:
        if size is not None:
            check_size(np.broadcast_to(np.uint8(0), image.shape[:2]), *size, where=path)
        part = image.read(*window)
    return part[..., 0] if part.shape[2] == 1 else part


def _translate(row: dict[str, Any], mask: NDArray[Any], labels: LabelMapping, path: Path) -> NDArray[np.uint8]:
    """Class indices of a mask file that holds several labels."""
    if row["kind"] == "mask-rgb":
        colours = {labels.colour(name): index for index, name in enumerate(labels.names)}
        colours |= {str(value): IGNORE for value in labels.ignore if str(value).startswith("#")}
        return rgb_to_index(mask, colours, where=path)
    if row["kind"] == "mask-instance":
        return np.asarray(grey_from_rgb(mask, where=path) != 0, dtype=np.uint8)
    return labels.from_source(grey_from_rgb(mask, where=path), where=path)
