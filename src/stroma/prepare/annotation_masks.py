"""Annotations as mask files: classes or single objects, and what of them no mask can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.core.files import id_to_name
from stroma.prepare.annotation_files import AnnotatedFile
from stroma.regions.annotation import Annotation, index_of
from stroma.regions.mask_files import write_mask_png, write_mask_pyramid
from stroma.regions.polygons import mask_from_polygons
from stroma.study.labels import IGNORE, LabelMapping

Write = partial[Path]
_LARGEST_PNG_PX = 8192
_MOST_IN_PNG = 2**16 - 1
_SMALL_PX = 2.0


def size_of(file: AnnotatedFile) -> tuple[int, int]:
    """(height, width) of the image of a file.

    Raises:
        UsageError: nobody says how large it is.
    """
    if file.size is None:
        raise UsageError(f"the size of the image '{file.image_id}' is unknown", next_step="Give it with --images")
    return file.size


def mask_outputs(
    files: Sequence[AnnotatedFile], labels: dict[int, str], folder: Path, *, instances: bool
) -> list[tuple[Path, Write]]:
    """One mask file an image, and what writes it.

    Args:
        files: The annotations.
        labels: Value → class.
        folder: Where the masks go.
        instances: Whether each object has a value of its own, instead of that of its class.

    Raises:
        InvalidData: an image has several layers or annotators.
        UsageError: the size of an image is unknown.
    """
    several = Counter(file.image_id for file in files)
    outputs: list[tuple[Path, Write]] = []
    for file in files:
        if several[file.image_id] > 1:
            raise InvalidData(
                f"the image '{file.image_id}' has several layers or annotators, which are never merged",
                next_step="Convert them one at a time",
            )
        png = max(size_of(file)) <= _LARGEST_PNG_PX and not (instances and len(file.annotations) > _MOST_IN_PNG)
        path = folder / f"{id_to_name(file.image_id)}{'.png' if png else '.tiff'}"
        work = partial(_write_instances, path, file) if instances else partial(_write_classes, path, file, labels)
        outputs.append((path, work))
    return outputs


def _areas(file: AnnotatedFile) -> tuple[list[tuple[int, Annotation]], NDArray[np.object_]]:
    """Objects with an area and their place in the file, and their shapes."""
    areas = [(i, a) for i, a in enumerate(file.annotations) if a.geometry.geom_type.endswith("Polygon")]
    shapes = np.empty(len(areas), dtype=object)
    shapes[:] = [annotation.geometry for _, annotation in areas]
    return areas, shapes


def _write_classes(path: Path, file: AnnotatedFile, labels: dict[int, str]) -> Path:
    numbers = {name: value for value, name in labels.items()}
    areas, shapes = _areas(file)
    values = [index_of(annotation, numbers, index=i, ignore=IGNORE) for i, annotation in areas]
    height, width = size_of(file)
    background = IGNORE if 0 in labels else 0
    if path.suffix == ".tiff":
        mpp = None if file.facts is None else file.facts.mpp
        return write_mask_pyramid(path, shapes, values, (height, width), mpp=mpp, background=background)
    mapping = LabelMapping.of(labels[value] for value in sorted(labels))
    palette = np.zeros((256, 3), dtype=np.uint8)
    for value, name in labels.items():
        palette[value] = mapping.palette[mapping.index(name)]
    mask = mask_from_polygons(shapes, 0, 0, width, height, values=values, background=background)
    return write_mask_png(path, mask, palette)


def _write_instances(path: Path, file: AnnotatedFile) -> Path:
    areas, shapes = _areas(file)
    values = _numbers_of([annotation for _, annotation in areas])
    dtype: Any = np.uint16 if max(values, default=0) <= _MOST_IN_PNG else np.uint32
    height, width = size_of(file)
    if path.suffix == ".tiff":
        mpp = None if file.facts is None else file.facts.mpp
        return write_mask_pyramid(path, shapes, values, (height, width), mpp=mpp, dtype=dtype)
    return write_mask_png(path, mask_from_polygons(shapes, 0, 0, width, height, values=values, dtype=np.uint16))


def _numbers_of(annotations: Sequence[Annotation]) -> list[int]:
    """The numbers that objects of an instance mask had; for others 1, 2, … in their order."""
    own = [annotation.identifier or "" for annotation in annotations]
    numbers = [int(text) if text.isascii() and text.isdigit() else 0 for text in own]
    if len(set(numbers)) == len(numbers) and all(0 < number <= _MOST_IN_PNG for number in numbers):
        return numbers
    return list(range(1, len(annotations) + 1))


def not_in_masks(files: Sequence[AnnotatedFile], labels: dict[int, str], to: str) -> list[str]:
    """Notes about the objects that masks or run lengths cannot hold."""
    flat = tiny = other = 0
    for file in files:
        areas, shapes = _areas(file)
        flat += len(file.annotations) - len(areas)
        tiny += sum(not _has_pixel(shapes[index]) for index in np.flatnonzero(shapely.area(shapes) < _SMALL_PX))
        if to == "rle":
            other += sum(a.class_name not in labels.values() for _, a in areas)
    notes = [
        (flat, "points and lines have no area and are in no mask"),
        (tiny, "objects lie between the centres of pixels and are in no mask"),
        (other, "objects have no class or an ignored one, and are in no file"),
    ]
    return [f"note: {count:,} {text}" for count, text in notes if count]


def _has_pixel(shape: Any) -> bool:
    left, top, right, bottom = (int(np.floor(value)) for value in shape.bounds)
    return bool(mask_from_polygons([shape], left, top, right - left + 1, bottom - top + 1).any())
