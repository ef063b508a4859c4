"""Regions of a slide that tiles are restricted to: outlines or a mask, and how much of each tile they cover."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import id_to_name
from stroma.images.image import Image
from stroma.images.slide import SlideImage
from stroma.images.tiff import TiffImage
from stroma.prepare.inputs import Source
from stroma.prepare.tile_options import TileOptions
from stroma.regions.geojson import read_geojson
from stroma.regions.grid import box_coverage
from stroma.regions.masks import grey_from_rgb, read_mask
from stroma.regions.polygons import mask_from_polygons

_OUTLINES = (".geojson", ".json", ".geojson.gz", ".json.gz")
_TIFFS = (".tif", ".tiff")
_MASKS = (".png", *_TIFFS, ".bmp", ".gif", ".npy")
_SAMPLES = 128
_ASPECT_TOLERANCE = 0.01


def regions_file(source: Source, options: TileOptions) -> Path | None:
    """The file with the regions of a slide, or None when tiles are not restricted.

    In a folder it is called like the slide's id, with folders or percent-encoded, and ends as GeoJSON or, where there
    is none, as a mask.

    Raises:
        MissingFile: there is none.
        InvalidData: there are several of a kind.
    """
    if options.regions is None:
        return None
    if not options.regions.is_dir():
        if not options.regions.exists():
            raise MissingFile("there are no such regions", where=options.regions)
        return options.regions
    stems = dict.fromkeys((source.image_id, id_to_name(source.image_id)))
    outlines, masks = (
        [path for stem in stems for suffix in kinds if (path := options.regions / f"{stem}{suffix}").is_file()]
        for kinds in (_OUTLINES, _MASKS)
    )
    found = outlines or masks
    if not found:
        raise MissingFile(
            f"has no regions in {options.regions}",
            where=source.image_id,
            next_step=f"Put '{source.image_id}.geojson' or a mask of that name there, or name other slides",
        )
    if len(found) > 1:
        raise InvalidData(f"has regions in {found[0].name} and in {found[1].name}", where=source.image_id)
    return found[0]


def region_columns(path: Path, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> pl.DataFrame:
    """How much of each box the regions cover.

    Args:
        path: From `regions_file`. Polygons of GeoJSON files count by their class, else their name; QuPath's
            `Ignore*` is taken out of all others. Values of a mask count as classes, 0 is outside.
        image: The slide.
        boxes: (n, 4): x, y, w, h in level-0 pixels.
        options: Where the origin of the outlines lies.

    Returns:
        Columns `annotated` (fraction in any region, 0-1) and, sorted, `fraction_<class>`.

    Raises:
        InvalidData: the file has no regions, or a mask has another shape than the slide.
        UnreadableImage: a mask is damaged.
    """
    name = path.name.lower()
    if name.endswith(_OUTLINES):
        fractions = _of_outlines(path, image, boxes, options)
    elif name.endswith(_MASKS):
        fractions = _of_mask(path, image, boxes)
    else:
        raise InvalidData(
            "is neither GeoJSON nor a mask", where=path, next_step=f"Use one of: {' '.join((*_OUTLINES, *_MASKS))}"
        )
    annotated = fractions.pop("")
    return pl.DataFrame({"annotated": annotated, **{f"fraction_{key}": fractions[key] for key in sorted(fractions)}})


Fractions = dict[str, NDArray[np.float64]]


def _of_outlines(path: Path, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> Fractions:
    offset = (0.0, 0.0)
    if options.regions_origin == "scan" and isinstance(image, SlideImage):
        offset = (float(image.scan_bounds.x), float(image.scan_bounds.y))
    found = [entry for entry in read_geojson(path, offset=offset) if entry.geometry.geom_type.endswith("Polygon")]
    names = [entry.class_name or "unlabelled" for entry in found]
    ignored = [name.startswith("Ignore") and entry.ignored for name, entry in zip(names, found, strict=True)]
    if not found or all(ignored):
        raise InvalidData("holds no polygon that tiles could lie in", where=path)
    groups: dict[str, tuple[NDArray[np.object_], NDArray[np.int64]]] = {}
    for label in ["", *sorted({name for name, out in zip(names, ignored, strict=True) if not out})]:
        kept = [i for i, name in enumerate(names) if ignored[i] or not label or name == label]
        kept.sort(key=lambda i: ignored[i])  # drawn last, so taken out
        groups[label] = (_objects([found[i].geometry for i in kept]), np.array([int(not ignored[i]) for i in kept]))

    def parts(x: int, y: int, w: int, h: int) -> Mapping[str, _Part]:
        step = max(1.0, h / _SAMPLES)
        return {
            label: _Part(
                mask_from_polygons(shapes, x, y, w, h, downsample=step, values=values).astype(bool),
                (float(x), float(y)),
                (step, step),
            )
            for label, (shapes, values) in groups.items()
        }

    return _by_bands(boxes, parts)


def _objects(geometries: list[Any]) -> NDArray[np.object_]:
    result = np.empty(len(geometries), dtype=object)
    result[:] = geometries
    return result


def _of_mask(path: Path, image: Image, boxes: NDArray[np.int64]) -> Fractions:
    height, width, read = _mask_reader(path)
    down, across = image.shape[0] / height, image.shape[1] / width
    slack = max(down, across) / min(image.shape[:2])  # sizes of masks are rounded
    if abs(down / across - 1) > _ASPECT_TOLERANCE + slack:
        raise InvalidData(
            f"is {height} × {width} (height × width), which is no reduced size of its slide, "
            f"{image.shape[0]} × {image.shape[1]}",
            where=path,
        )

    def parts(x: int, y: int, w: int, h: int) -> Mapping[str, _Part]:
        top, bottom = (min(height, max(0, int(edge))) for edge in (y // down, -(-(y + h) // down)))
        values = read(top, bottom)
        place, step = (0.0, top * down), (down, across)
        found = {str(v): _Part(values == v, place, step) for v in np.unique(values).tolist() if v}
        return {"": _Part(values != 0, place, step), **found}

    return _by_bands(boxes, parts)


def _mask_reader(path: Path) -> tuple[int, int, Callable[[int, int], NDArray[Any]]]:
    """Height, width, and what reads rows of a mask; a TIFF is not read whole."""
    if path.suffix.lower() not in _TIFFS:
        mask = grey_from_rgb(read_mask(path), where=path)
        return mask.shape[0], mask.shape[1], lambda top, bottom: mask[top:bottom]
    stored = TiffImage(path)
    height, width, channels = stored.shape
    if channels != 1 or not np.issubdtype(stored.dtype, np.integer):
        raise InvalidData(
            f"has {channels} channels of {stored.dtype} where a mask has one of whole numbers", where=path
        )

    def read(top: int, bottom: int) -> NDArray[Any]:
        if bottom <= top:
            return np.zeros((0, width), dtype=stored.dtype)
        return stored.read(0, top, width, bottom - top)[:, :, 0]

    return height, width, read


@dataclass(frozen=True)
class _Part:
    """A piece of a mask: where it begins, (x, y), and level-0 pixels per pixel, (vertical, horizontal)."""

    mask: NDArray[np.bool_]
    place: tuple[float, float]
    downsample: tuple[float, float]


def _by_bands(boxes: NDArray[np.int64], parts: Callable[[int, int, int, int], Mapping[str, _Part]]) -> Fractions:
    """Coverage of the boxes, band by band of boxes of one row, so that no mask of the whole slide is held."""
    result: Fractions = {"": np.zeros(len(boxes))}
    with stage("transform"):
        for members, (x, y, w, h) in _bands(boxes):
            for label, part in parts(x, y, w, h).items():
                if part.mask.any():
                    moved = boxes[members].astype(np.float64) - (*part.place, 0, 0)
                    fractions = box_coverage(part.mask, moved, part.downsample)
                    result.setdefault(label, np.zeros(len(boxes)))[members] = fractions
                result.setdefault(label, np.zeros(len(boxes)))
    return result


def _bands(boxes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], tuple[int, int, int, int]]]:
    """Indices of the boxes of one row and the window around them."""
    rows, owner = np.unique(boxes[:, [1, 3]], axis=0, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1) if len(boxes) else []:
        y, h = rows[owner[members[0]]].tolist()
        left, right = int(boxes[members, 0].min()), int((boxes[members, 0] + boxes[members, 2]).max())
        yield members, (left, y, right - left, h)
