"""Any annotation file, told by what it holds, as annotations per image."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.core.files import id_to_name, name_to_id
from stroma.images.htc_blosc import read_htc_blosc
from stroma.prepare.annotation_images import ImageFacts, Images
from stroma.prepare.annotation_table import read_annotation_table
from stroma.regions.annotation import Annotation
from stroma.regions.coco import read_coco
from stroma.regions.coordinates import read_contour_table, read_coordinates_csv, read_polygon_list
from stroma.regions.dialects import kind_of
from stroma.regions.geojson import read_geojson
from stroma.regions.masks import grey_from_rgb, read_mask, rgb_to_index
from stroma.regions.nrrd import read_mitk_nrrd
from stroma.regions.outlines import polygons_from_mask
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import RunEncoder, decode_runs
from stroma.regions.rle_csv import read_rle_csv
from stroma.regions.run_outlines import polygons_from_runs
from stroma.regions.xml_annotations import read_xml

SUFFIXES = (
    ".geojson", ".geojson.gz", ".json", ".json.gz", ".xml", ".ndpa", ".csv", ".tsv", ".nrrd", ".parquet", ".png",
    ".tif", ".tiff", ".bmp", ".npy", ".blosc",
)  # fmt: skip
"""What is looked for in folders."""
_HTC = re.compile(r"(?P<image>.+)#(?P<layer>[^#]+)#(?P<annotator>[^#]+)#(?P<label>[^#]+)#(coordinates|binary)")
_HTC_OVERLAP = 254


@dataclass(frozen=True)
class AnnotatedFile:
    """The annotations of one image from one file.

    Attributes:
        image_id: The image.
        annotations: Its objects, in the order of the file.
        facts: About the image; None when no images were given.
        size: (height, width) of the image where the file or the image tells.
        layer, annotator: What was annotated, and who did it; empty where nobody says.
        exact: Whether the outlines are those of pixels, so that they draw the same mask again.
    """

    image_id: str
    annotations: tuple[Annotation, ...]
    facts: ImageFacts | None = None
    size: tuple[int, int] | None = None
    layer: str = ""
    annotator: str = ""
    exact: bool = False


@dataclass(frozen=True)
class ReadRules:
    """How files are read.

    Attributes:
        images: The images they belong to.
        labels: Value → class for masks; empty names classes by their values.
        colours: `#rrggbb` → class for colour masks; black is background unless it stands here.
        instances: Whether each value of a mask is an object rather than a class.
        qupath_bounds: Whether GeoJSON counts from the corner of the scanned area, as QuPath does.
        pixel_centre: What lists of coordinates call the centre of the first pixel; None is what the mask beside a
            list tells, else 0, for the lists of HuBMAP 0.5.
    """

    images: Images = field(default_factory=Images)
    labels: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    instances: bool = False
    qupath_bounds: bool = False
    pixel_centre: float | None = None


def read_annotation_file(path: Path, rules: ReadRules) -> list[AnnotatedFile]:
    """Read a file of any known dialect.

    Args:
        path: The file; one image's is called like the image.
        rules: How to read it.

    Returns:
        One entry per image, and for tables per layer and annotator.

    Raises:
        StromaError: of the dialect's reader, or the file matches no image.
    """
    kind = kind_of(path)
    several = {"coco": _coco, "rle-csv": _rle_csv, "table": _table, "htc-blosc": _htc_blosc}
    if kind in several:
        return several[kind](path, rules)
    entry = _locate(_stem(path), rules, path)
    readers: dict[str, Callable[[Path, ReadRules, AnnotatedFile], AnnotatedFile]] = {
        "geojson": _geojson, "xml": _xml, "nrrd": _nrrd, "mask": _mask, "coordinates": _coordinates,
        "contour-table": _contours, "polygon-list": _polygons,
    }  # fmt: skip
    return [readers[kind](path, rules, entry)]


def _stem(path: Path) -> str:
    name = path.name
    suffixes = [suffix for suffix in SUFFIXES if name.lower().endswith(suffix)]
    stem = name[: -max(map(len, suffixes))] if suffixes else path.stem
    decoded = name_to_id(stem)
    return decoded if id_to_name(decoded) == stem else stem  # our own files are named by percent-encoded ids


def _locate(key: str, rules: ReadRules, path: Path) -> AnnotatedFile:
    """An entry without annotations for the image that `key` names."""
    found = _HTC.fullmatch(key)
    layer, annotator = (found["layer"], found["annotator"]) if found else ("", "")
    name = found["image"] if found else key.partition("#")[0] if path.suffix == ".nrrd" else key
    return replace(_locate_image(name, rules, path), layer=layer, annotator=annotator)


def _locate_image(name: str, rules: ReadRules, path: Path) -> AnnotatedFile:
    try:
        image_id = rules.images.match(name)
    except InvalidData as error:
        raise InvalidData(error.what, where=path, next_step=error.next_step) from error
    facts = None if image_id is None else rules.images.facts(image_id)
    return AnnotatedFile(image_id or name, (), facts, None if facts is None else facts.size)


def _geojson(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    offset = (0.0, 0.0)
    if rules.qupath_bounds:
        if entry.facts is None:
            raise UsageError("the scan bounds are unknown without the image", where=path, next_step="Give --images")
        offset = (float(entry.facts.scan_corner[0]), float(entry.facts.scan_corner[1]))
    return replace(entry, annotations=tuple(read_geojson(path, offset=offset)))


def _xml(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    frame = None if entry.facts is None else entry.facts.frame
    return replace(entry, annotations=tuple(read_xml(path, frame=frame)))


def _coordinates(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    found = _HTC.fullmatch(_stem(path))
    centre = _centre_told_by_mask(path) if rules.pixel_centre is None else rules.pixel_centre
    polygon = read_coordinates_csv(path, pixel_centre=centre)
    return replace(entry, annotations=(Annotation(polygon, label=found["label"] if found else None),))


def _centre_told_by_mask(path: Path) -> float:
    """0 or 0.5, whichever draws an outline of htc like the `#binary.png` beside it; 0 where there is none."""
    beside = path.with_name(path.name.replace("#coordinates.csv", "#binary.png"))
    if beside == path or not beside.is_file():
        return 0.0
    mask = grey_from_rgb(read_mask(beside), where=beside) != 0

    def different_px(centre: float) -> int:
        polygon = read_coordinates_csv(path, pixel_centre=centre)
        return int(np.count_nonzero(mask_from_polygons([polygon], 0, 0, mask.shape[1], mask.shape[0]) != mask))

    return min((0.0, 0.5), key=different_px)


def _contours(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    return replace(entry, annotations=tuple(read_contour_table(path, pixel_centre=rules.pixel_centre or 0.0)))


def _polygons(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    centre = 0.5 if rules.pixel_centre is None else rules.pixel_centre
    return replace(entry, annotations=tuple(Annotation(p) for p in read_polygon_list(path, pixel_centre=centre)))


def _nrrd(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    stored = read_mitk_nrrd(path)
    factor = _downsample(stored.mask.shape[1:], entry.size, path)
    annotations: list[Annotation] = []
    for layer, labels in zip(stored.mask, stored.labels, strict=True):
        for label in labels:
            shapes = _outlines(layer == label.value, factor)
            annotations += [Annotation(shape, label=label.name, colour=label.colour) for shape in shapes]
    size = entry.size or (stored.mask.shape[1], stored.mask.shape[2])
    return replace(entry, annotations=tuple(annotations), size=size, exact=factor == 1)


def _mask(path: Path, rules: ReadRules, entry: AnnotatedFile) -> AnnotatedFile:
    stored = read_mask(path)
    if rules.colours:
        numbers = {name: value for value, name in enumerate(dict.fromkeys(rules.colours.values()), start=1)}
        table = {"#000000": 0} | {colour: numbers[name] for colour, name in rules.colours.items()}
        mask, labels = rgb_to_index(stored, table, where=path), {value: name for name, value in numbers.items()}
    else:
        mask, labels = grey_from_rgb(stored, where=path), dict(rules.labels)
    factor = _downsample(mask.shape, entry.size, path)
    found = _HTC.fullmatch(_stem(path))
    if found:
        labels = dict.fromkeys(np.unique(mask[mask != 0]).tolist(), found["label"])
    objects = _instances(mask, labels, factor) if rules.instances else _classes(mask, labels, factor, path)
    size = entry.size or (mask.shape[0], mask.shape[1])
    return replace(entry, annotations=tuple(objects), size=size, exact=factor == 1)


def _classes(mask: NDArray[Any], labels: Mapping[int, str], factor: float, path: Path) -> list[Annotation]:
    """Outlines of a mask of classes; 0 is background unless it has a label."""
    objects: list[Annotation] = []
    for value in np.unique(mask).tolist():
        if value == 0 and 0 not in labels:
            continue
        if labels and value not in labels:
            known = ", ".join(f"{number}={name}" for number, name in labels.items())
            raise InvalidData(f"holds the value {value}, which has no label", where=path, next_step=f"Known: {known}")
        label = labels.get(value, str(value))
        objects += [Annotation(shape, label=label) for shape in _outlines(mask == value, factor)]
    return objects


def _instances(mask: NDArray[Any], labels: Mapping[int, str], factor: float) -> list[Annotation]:
    """One annotation per value of an instance mask, all of the first class."""
    values, shapes = polygons_from_mask(mask, downsample=factor)
    label, objects = next(iter(labels.values()), None), list[Annotation]()
    for parts in np.split(np.arange(len(values)), np.flatnonzero(np.diff(values)) + 1):
        if len(parts):
            shape = shapes[parts[0]] if len(parts) == 1 else shapely.MultiPolygon(list(shapes[parts]))
            objects.append(Annotation(shape, label=label, identifier=str(values[parts[0]])))
    return objects


def _htc_blosc(path: Path, rules: ReadRules) -> list[AnnotatedFile]:
    """A segmentation of htc: annotation name → mask of label indices; 254 (overlap) and 255 are not annotated."""
    content = read_htc_blosc(path)
    if not isinstance(content, dict):
        raise InvalidData("is a single array, where a segmentation has one per annotation name", where=path)
    result = []
    for name, stored in content.items():
        image = _locate_image(_stem(path), rules, path)
        layer, _, annotator = str(name).partition("#")
        layers = stored if stored.ndim == 3 else stored[None]
        factor = _downsample(layers.shape[1:], image.size, path)
        objects: list[Annotation] = []
        for plane in layers:
            shifted = np.where(plane >= _HTC_OVERLAP, 0, plane.astype(np.int64) + 1)
            labels = {value + 1: label for value, label in rules.labels.items()} or {
                value: str(value - 1) for value in np.unique(shifted).tolist() if value
            }
            objects += _classes(shifted, labels, factor, path)
        size = image.size or (layers.shape[1], layers.shape[2])
        result.append(
            replace(image, annotations=tuple(objects), size=size, layer=layer, annotator=annotator, exact=factor == 1)
        )
    return result


def _downsample(shape: Sequence[int], size: tuple[int, int] | None, path: Path) -> float:
    """Image pixels per pixel of a mask, which may be a reduced one."""
    if size is None:
        return 1.0
    factor = size[1] / shape[1]
    nearest = round(factor) if abs(factor - round(factor)) < 0.05 and factor > 1 else factor
    fits = all(abs(length - full / nearest) <= 1 for length, full in zip(shape, size, strict=True))
    if not fits or factor < 1:
        raise InvalidData(
            f"is {shape[0]} × {shape[1]} (height × width), no reduction of its image of {size[0]} × {size[1]}",
            where=path,
        )
    return float(nearest)


def _outlines(inside: NDArray[np.bool_], factor: float) -> NDArray[np.object_]:
    encoder = RunEncoder(*inside.shape)
    encoder.add(inside)
    shapes = polygons_from_runs(encoder.finish())
    return shapes if factor == 1 else np.asarray(shapely.transform(shapes, lambda points: points * factor))


def _coco(path: Path, rules: ReadRules) -> list[AnnotatedFile]:
    result = []
    for image in read_coco(path):
        entry = _locate(_without_suffix(image.file_name), rules, path)
        if entry.size not in (None, (image.height, image.width)):
            raise InvalidData(f"states another size for '{image.file_name}' than the image has", where=path)
        result.append(replace(entry, annotations=image.annotations, size=(image.height, image.width)))
    return result


def _without_suffix(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name


def _rle_csv(path: Path, rules: ReadRules) -> list[AnnotatedFile]:
    result = []
    for image, _, text in read_rle_csv(path).iter_rows():
        entry = _locate(image, rules, path)
        if entry.size is None:
            raise UsageError(
                "run lengths mean nothing without the size of the image", where=path, next_step="Give --images"
            )
        runs = decode_runs(text, *entry.size, where=f"{path}, {image}")
        label = next(iter(rules.labels.values()), None)
        annotations = tuple(Annotation(shape, label=label) for shape in polygons_from_runs(runs))
        result.append(replace(entry, annotations=annotations, exact=True))
    return result


def _table(path: Path, rules: ReadRules) -> list[AnnotatedFile]:
    result = []
    for (image, layer, annotator), objects in read_annotation_table(path).items():
        image_id = rules.images.match(image)
        facts = None if image_id is None else rules.images.facts(image_id)
        size: Any = None if facts is None else facts.size
        result.append(AnnotatedFile(image_id or image, objects, facts, size, layer, annotator))
    return result
