"""Regions of a slide in a file of their own: outlines (GeoJSON) or a mask of any smaller size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.images.image import Image
from stroma.images.slide import SlideImage
from stroma.images.tiff import TiffImage
from stroma.prepare.region_coverage import SAMPLES, Fractions, Part, by_bands, class_parts, wanted
from stroma.prepare.tile_options import TileOptions
from stroma.regions.geojson import read_geojson
from stroma.regions.masks import grey_from_rgb, read_mask
from stroma.regions.polygons import mask_from_polygons

OUTLINES = (".geojson", ".json", ".geojson.gz", ".json.gz")
_TIFFS = (".tif", ".tiff")
MASKS = (".png", *_TIFFS, ".bmp", ".gif", ".npy")
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class FileRegions:
    """Regions in a file.

    Polygons of GeoJSON files count by their class, else their name; QuPath's `Ignore*` is taken out of all others.
    Values of a mask count as classes, 0 is outside.
    """

    path: Path

    def inputs(self) -> dict[str, Path]:
        """What the tiles depend on."""
        return {"regions": self.path}

    def settings(self) -> dict[str, Any]:
        """Nothing but the options."""
        return {}

    def fractions(self, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> Fractions:
        """How much of each box (x, y, w, h in level-0 pixels) the regions cover.

        Raises:
            InvalidData: the file has no regions, or a mask has another shape than the slide.
            UnreadableImage: a mask is damaged.
        """
        name = self.path.name.lower()
        if name.endswith(OUTLINES):
            return _of_outlines(self.path, image, boxes, options)
        if name.endswith(MASKS):
            return _of_mask(self.path, image, boxes, options)
        raise InvalidData(
            "is neither GeoJSON nor a mask",
            where=self.path,
            next_step=f"Use one of: {' '.join((*OUTLINES, *MASKS))}, or a study.yaml",
        )


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
    used = [wanted(name, options.region_classes) and not out for name, out in zip(names, ignored, strict=True)]
    for label in ["", *sorted({name for name, use in zip(names, used, strict=True) if use})]:
        kept = [i for i, name in enumerate(names) if ignored[i] or (used[i] and name == (label or name))]
        kept.sort(key=lambda i: ignored[i])  # drawn last, so taken out
        groups[label] = (_objects([found[i].geometry for i in kept]), np.array([int(not ignored[i]) for i in kept]))

    def parts(x: int, y: int, w: int, h: int) -> Mapping[str, Part]:
        step = max(1.0, h / SAMPLES)
        return {
            label: Part(
                mask_from_polygons(shapes, x, y, w, h, downsample=step, values=values).astype(bool),
                (float(x), float(y)),
                (step, step),
            )
            for label, (shapes, values) in groups.items()
        }

    return by_bands(boxes, parts)


def _objects(geometries: list[Any]) -> NDArray[np.object_]:
    result = np.empty(len(geometries), dtype=object)
    result[:] = geometries
    return result


def _of_mask(path: Path, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> Fractions:
    height, width, read = _mask_reader(path)
    down, across = image.shape[0] / height, image.shape[1] / width
    slack = max(down, across) / min(image.shape[:2])  # sizes of masks are rounded
    if abs(down / across - 1) > _ASPECT_TOLERANCE + slack:
        raise InvalidData(
            f"is {height} × {width} (height × width), which is no reduced size of its slide, "
            f"{image.shape[0]} × {image.shape[1]}",
            where=path,
        )

    def parts(x: int, y: int, w: int, h: int) -> Mapping[str, Part]:
        top, bottom = (min(height, max(0, int(edge))) for edge in (y // down, -(-(y + h) // down)))
        values = read(top, bottom)
        names = {int(v): str(v) for v in np.unique(values) if v and wanted(str(v), options.region_classes)}
        return class_parts(values, names, (0.0, top * down), (down, across))

    return by_bands(boxes, parts)


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
