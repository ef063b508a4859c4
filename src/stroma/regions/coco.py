"""COCO instance files: one JSON for many images, objects as lists of polygons or as run lengths.

Polygons are exact both ways. COCO has no holes in polygons, so objects with holes are written as run lengths,
which keep them to the pixel; names, measurements and colours have no place in COCO and are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.files import read_json, write_json
from stroma.regions.annotation import Annotation
from stroma.regions.outlines import polygons_from_mask
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import RunEncoder, Runs

_MANY = 2**31


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a COCO file.

    Attributes:
        file_name: Its path as the file gives it.
        height, width: In pixels.
        annotations: Its objects.
    """

    file_name: str
    height: int
    width: int
    annotations: tuple[Annotation, ...]


def read_coco(path: Path) -> list[AnnotatedImage]:
    """Read a COCO instance file.

    Args:
        path: The JSON file.

    Returns:
        The images in the order of the file, with their objects in the order of the file; run lengths become
        outlines along the borders of pixels.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no COCO file, or an object refers to an unknown image or class or has no usable
            segmentation; the message has its index from 0.
    """
    content = read_json(path)
    with stage("decode"):
        try:
            return _images(content)
        except InvalidData as error:
            raise InvalidData(error.what, where=path, next_step=error.next_step) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidData(f"is no COCO file ({error!r})", where=path) from error


def _images(content: Any) -> list[AnnotatedImage]:
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    sizes = {entry["id"]: (int(entry["height"]), int(entry["width"])) for entry in content["images"]}
    found: dict[Any, list[Annotation]] = {identifier: [] for identifier in sizes}
    for index, entry in enumerate(content["annotations"]):
        if entry.get("image_id") not in sizes:
            raise InvalidData(f"object {index} lies on the unknown image {entry.get('image_id')!r}")
        if entry.get("category_id") not in names:
            raise InvalidData(f"object {index} has the unknown class {entry.get('category_id')!r}")
        shape = _shape(entry.get("segmentation"), *sizes[entry["image_id"]], index)
        annotation = Annotation(shape, label=names[entry["category_id"]], identifier=str(entry.get("id", index)))
        found[entry["image_id"]].append(annotation)
    return [
        AnnotatedImage(str(entry["file_name"]), *sizes[entry["id"]], tuple(found[entry["id"]]))
        for entry in content["images"]
    ]


def _shape(segmentation: Any, height: int, width: int, index: int) -> Any:
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width, index)
    if not isinstance(segmentation, list) or not segmentation:
        raise InvalidData(f"object {index} has no segmentation")
    rings = []
    for ring in segmentation:
        numbers = np.array(ring, dtype=np.float64) if _is_flat(ring) else np.zeros(0)
        if len(numbers) < 6 or len(numbers) % 2 or not np.isfinite(numbers).all():
            raise InvalidData(f"object {index} has a polygon that is no list of three or more x, y")
        rings.append(shapely.Polygon(numbers.reshape(-1, 2)))
    return rings[0] if len(rings) == 1 else shapely.MultiPolygon(rings)


def _is_flat(ring: Any) -> bool:
    return isinstance(ring, list) and all(isinstance(value, int | float) for value in ring)


def _from_runs(segmentation: dict[str, Any], height: int, width: int, index: int) -> Any:
    if list(segmentation.get("size", ())) != [height, width]:
        raise InvalidData(
            f"object {index} has run lengths for size {segmentation.get('size')}, its image is [{height}, {width}]"
        )
    counts = segmentation.get("counts")
    lengths = _unpack(counts, index) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(isinstance(n, int) and 0 <= n < _MANY for n in lengths):
        raise InvalidData(f"object {index} has run lengths that are no list of whole numbers")
    edges = np.cumsum([0, *lengths], dtype=np.int64)
    if edges[-1] != height * width:
        raise InvalidData(
            f"object {index} has run lengths of {edges[-1]:,} pixels in total, its image has {height * width:,}"
        )
    starts, ends = edges[1:-1:2], edges[2::2]
    filled = ends > starts
    runs = Runs.join(starts[filled], ends[filled], height, width)
    if not len(runs):
        raise InvalidData(f"object {index} has no pixels")
    x, y, w, h = _bounds(runs)
    parts = polygons_from_mask(runs.window(x, y, w, h), x=x, y=y)[1]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(list(parts))


def _bounds(runs: Runs) -> tuple[int, int, int, int]:
    """A box around the pixels of runs: exact in x, and in y unless a run crosses columns."""
    first, last = int(runs.starts[0] // runs.height), int((runs.ends[-1] - 1) // runs.height)
    top, bottom = runs.starts % runs.height, (runs.ends - 1) % runs.height
    crossing = (runs.starts // runs.height) != ((runs.ends - 1) // runs.height)
    low, high = (0, runs.height - 1) if crossing.any() else (int(top.min()), int(bottom.max()))
    return first, low, last - first + 1, high - low + 1


def _unpack(text: str, index: int) -> list[int]:
    """Counts from COCO's text: base 32, five bits a character, each count less the one two before it."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise InvalidData(f"object {index} has the character {character!r} in its run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise InvalidData(f"object {index} has run lengths that break off")
    return counts


def write_coco(path: Path, images: Sequence[AnnotatedImage], labels: Sequence[str]) -> Path:
    """Write a COCO instance file.

    Args:
        path: The file.
        images: Images with their annotations.
        labels: Class names; their ids are 1, 2, … in this order.

    Raises:
        InvalidData: an annotation that is no polygon, or of a class that is not among `labels`; the message
            has its image and its index in it.
    """
    numbers = {name: number for number, name in enumerate(labels, start=1)}
    entries: list[dict[str, Any]] = []
    for image_number, image in enumerate(images, start=1):
        for index, annotation in enumerate(image.annotations):
            name = annotation.class_name
            if name not in numbers:
                raise InvalidData(
                    f"object {index} has the class {name!r}, which is not listed", where=image.file_name
                )
            if annotation.geometry.geom_type not in ("Polygon", "MultiPolygon"):
                kind = annotation.geometry.geom_type
                raise InvalidData(f"object {index} is a {kind}, COCO has polygons only", where=image.file_name)
            left, top, right, bottom = annotation.geometry.bounds
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": image_number,
                    "category_id": numbers[name],
                    "segmentation": _segmentation(annotation.geometry, image.height, image.width),
                    "area": annotation.geometry.area,
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                }
            )
    content = {
        "images": [
            {"id": number, "file_name": image.file_name, "width": image.width, "height": image.height}
            for number, image in enumerate(images, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": entries,
    }
    with stage("write"):
        return write_json(path, content)


def _segmentation(shape: Any, height: int, width: int) -> Any:
    parts = shapely.get_parts(shape)
    if not shapely.get_num_interior_rings(parts).any():
        return [np.asarray(part.exterior.coords)[:-1].ravel().tolist() for part in parts]
    return {"size": [height, width], "counts": _counts(shape, height, width).tolist()}


def _counts(shape: Any, height: int, width: int) -> NDArray[np.int64]:
    left, top, right, bottom = (int(np.floor(value)) for value in shape.bounds)
    x, y = max(0, left), max(0, top)
    w, h = min(width, right + 1) - x, min(height, bottom + 1) - y
    encoder = RunEncoder(height, width)
    if w > 0 and h > 0:
        encoder.add(mask_from_polygons([shape], x, y, w, h), x, y)
    runs = encoder.finish()
    edges = np.stack([runs.starts, runs.ends], axis=1).ravel()
    return np.diff(np.concatenate([[0], edges, [height * width]]))
