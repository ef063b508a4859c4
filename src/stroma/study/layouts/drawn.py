"""Annotation files that lie beside images: which belongs to which image, and its objects as rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import shapely

from stroma.core.errors import StromaError
from stroma.core.text import plural
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.regions.annotation import Annotation
from stroma.regions.check import find_problems
from stroma.regions.coordinates import read_contour_table, read_polygon_list
from stroma.regions.dialects import kind_of
from stroma.regions.geojson import read_geojson
from stroma.regions.geojson_coordinates import geometry_texts
from stroma.regions.xml_annotations import SlideFrame, read_xml
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.layouts.layout import Proposal, identifier
from stroma.study.listing import Listing, Problem, is_hidden
from stroma.study.matching import loose_name
from stroma.study.patterns import without_suffix

LAYER = "polygon"
UNCLASSIFIED = "object"
"""Class of objects in studies whose objects have neither classes nor names."""
_ENDINGS = (".geojson.gz", ".geojson", ".json.gz", ".json", ".xml", ".ndpa", ".csv", ".tsv")
_ADDED = re.compile(r"[ ._-]?(annotations?|polygons?|contours?|outlines?|regions?|qupath)$", re.IGNORECASE)
_MARKS = (b'"Feature', b"<ASAP_Annotations", b"<Annotations", b"<annotations", b"coords_x")
_HEAD_BYTES = 65_536
_NAMED = 5


@dataclass(frozen=True)
class DrawnFiles:
    """Annotation files.

    Attributes:
        of: Path of an image → (annotator, path) of its annotation files.
        orphans: Path of an annotation file that fits no image, or several → what is wrong.
    """

    of: Mapping[str, Sequence[tuple[str, str]]]
    orphans: Mapping[str, str]

    @property
    def paths(self) -> set[str]:
        """All annotation files."""
        return {path for files in self.of.values() for _, path in files} | set(self.orphans)


def find_drawn(listing: Listing, images: Sequence[str]) -> DrawnFiles:
    """Find the annotation files among the files of a folder and the images they are called like.

    `a.geojson`, `a.svs.geojson`, `a_annotations.xml` and `drawn by me/a.json` belong to `a.svs`; UUIDs of TCGA's
    file names may lack. Of several images of one name the one in the most similar folder is taken. Where an image
    has several files they are of several annotators, named after their folders, else their suffixes.

    Args:
        listing: The folder.
        images: Paths of its images.
    """
    by_name: dict[str, list[str]] = {}
    for image in images:
        file = identifier(image).rpartition("/")[2]
        for name in {file, without_suffix(file), loose_name(file)}:
            by_name.setdefault(name, []).append(image)
    found: dict[str, list[str]] = {}
    orphans: dict[str, str] = {}
    for path in listing.files:
        ending = next((ending for ending in _ENDINGS if path.lower().endswith(ending)), "")
        if not ending or is_hidden(path):
            continue
        stem = identifier(path[: -len(ending)]).rpartition("/")[2]
        names = dict.fromkeys((stem, loose_name(stem), _ADDED.sub("", stem), loose_name(_ADDED.sub("", stem))))
        candidates = next((by_name[name] for name in names if name in by_name), [])
        if not _is_drawn(listing.root / path):
            continue
        nearest = _nearest(path, candidates)
        if len(nearest) == 1:
            found.setdefault(nearest[0], []).append(path)
        elif nearest:
            orphans[path] = f"is an annotation file that fits {len(nearest)} images called '{stem}'; it is left out"
        else:
            orphans[path] = f"is an annotation file, but no image is called '{stem}'; it is left out"
    return DrawnFiles(_annotators(found), orphans)


def _is_drawn(path: Path) -> bool:
    """Whether a file holds outlines, by its beginning."""
    if path.name.lower().endswith((".geojson", ".geojson.gz", ".json.gz", ".ndpa")):
        return True
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
    except OSError:
        return False
    return b"".join(head.split()).startswith(b"[[") or any(mark in head for mark in _MARKS)


def _nearest(path: str, images: Sequence[str]) -> list[str]:
    """The images whose folders share the most with that of a file, counted from its end and its beginning."""

    def shared(image: str) -> tuple[int, int]:
        one, other = path.split("/")[:-1], image.split("/")[:-1]
        return _common(one[::-1], other[::-1]), _common(one, other)

    most = max(map(shared, images), default=(0, 0))
    return [image for image in images if shared(image) == most]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _annotators(found: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[str, str]]]:
    if all(len(paths) == 1 for paths in found.values()):
        return {image: [("", path) for path in paths] for image, paths in found.items()}
    folders = all(len({path.rpartition("/")[0] for path in paths}) == len(paths) for paths in found.values())
    names: dict[str, list[tuple[str, str]]] = {}
    for image, paths in found.items():
        for path in paths:
            folder, _, file = path.rpartition("/")
            name = folder.rpartition("/")[2] if folders else file.partition(".")[2] if "." in file else file
            names.setdefault(image, []).append((identifier(name), path))
    return names


def read_drawn(path: Path, image: Image, *, qupath_bounds: bool = False) -> list[Annotation]:
    """Read an annotation file of an image.

    Args:
        path: GeoJSON, XML of ASAP, ImageScope or NDP.view, a contour table, or a JSON list of polygons.
        image: The image.
        qupath_bounds: Whether GeoJSON counts from the corner of the scanned area, as QuPath does.

    Raises:
        StromaError: as the reader of the dialect raises; the message has the index of the object.
    """
    kind = kind_of(path)
    if kind == "xml":
        return read_xml(path, frame=slide_frame(image))
    if kind == "contour-table":
        return read_contour_table(path)
    if kind == "polygon-list":
        return [Annotation(shape) for shape in read_polygon_list(path)]
    corner = scan_corner(image) if qupath_bounds else (0, 0)
    return read_geojson(path, offset=(float(corner[0]), float(corner[1])))


def scan_corner(image: Image) -> tuple[int, int]:
    """(x, y) of the scanned area in level-0 pixels; (0, 0) for most files."""
    bounds = getattr(image, "scan_bounds", image.bounds)
    return bounds.x, bounds.y


def slide_frame(image: Image) -> SlideFrame | None:
    """What NDP.view's positions are counted from; None where the file does not tell."""
    properties: Mapping[str, str] = getattr(image, "properties", {})
    texts = [properties.get(f"hamamatsu.{axis}OffsetFromSlideCentre", "") for axis in "XY"]
    try:
        x, y = (float(text) for text in texts)
    except ValueError:
        return None
    return None if image.mpp is None else SlideFrame(image.shape[1], image.shape[0], image.mpp, (x, y))


def drawn_rows(
    root: Path,
    image_id: str,
    image: str,
    files: Iterable[tuple[str, str]],
    problems: list[Problem],
    *,
    qupath_bounds: bool = False,
    layer: str = LAYER,
) -> list[dict[str, Any]]:
    """The rows of the annotations table of an image, one an object.

    Files that cannot be read become problems. So do objects without an inside or beyond the image; these stay in
    the table and mark no pixel.
    """
    rows: list[dict[str, Any]] = []
    for annotator, path in files:
        try:
            with open_image(root / image) as opened:
                objects = read_drawn(root / path, opened, qupath_bounds=qupath_bounds)
                size = (opened.shape[0], opened.shape[1])
                corner = scan_corner(opened)
        except StromaError as error:
            problems.append(Problem(path, f"{error.what}; it is left out"))
            continue
        if corner != (0, 0) and not qupath_bounds and ".geojson" in path.lower():
            text = f"belongs to a slide whose scanned area begins at x={corner[0]}, y={corner[1]}"
            problems.append(Problem(path, f"{text}; if QuPath wrote it, set 'qupath_bounds: true' in the layout"))
        common = {"image_id": image_id, "layer": layer, "annotator": annotator, "path": path}
        rows += object_rows(path, objects, size, common, problems)
    return rows


def object_rows(
    path: str,
    objects: Sequence[Annotation],
    size: tuple[int, int],
    common: Mapping[str, Any],
    problems: list[Problem],
) -> list[dict[str, Any]]:
    """The rows of objects of one image, an empty outline when there are none; their problems are added."""
    problems += _object_problems(path, objects, size)
    texts = geometry_texts([one.geometry for one in objects], decimals=None)
    if not objects:
        empty = shapely.to_geojson(shapely.Polygon())
        return [{**common, "kind": "polygon", "label": None, "geometry": empty}]
    return [
        {**common, "kind": _kind(one), "label": one.class_name, "geometry": text}
        for one, text in zip(objects, texts, strict=True)
    ]


def _object_problems(path: str, objects: Sequence[Annotation], size: tuple[int, int]) -> list[Problem]:
    """What is wrong with the objects of a file, the first few of each kind by their index."""
    found: dict[str, list[Problem]] = {}
    for one in find_problems(objects, size=size):
        about = "; what is wound round twice is outside" if one.kind == "self-crossing" else ""
        harmless = one.kind in ("self-crossing", "partly outside")
        found.setdefault(one.kind, []).append(Problem(path, f"{one}{about}", harmless))
    for kind, problems in found.items():
        if len(problems) > _NAMED:
            text = f"has {plural(len(problems) - _NAMED, 'more object')} of this kind ({kind})"
            problems[_NAMED:] = [Problem(path, text, problems[0].harmless)]
    return [problem for problems in found.values() for problem in problems]


def with_classes(rows: list[dict[str, Any]], unclassified: str | None) -> list[dict[str, Any]]:
    """Rows in which objects without class have the class `unclassified`.

    When it is None and no object of the study has a class, they are all of the class `UNCLASSIFIED`.
    """
    if unclassified is None and any(row["label"] is not None for row in rows):
        return rows
    name = unclassified or UNCLASSIFIED
    empty = shapely.to_geojson(shapely.Polygon())
    return [row if row["geometry"] == empty else {**row, "label": row["label"] or name} for row in rows]


def _kind(annotation: Annotation) -> str:
    return "points" if annotation.geometry.geom_type.endswith("Point") else "polygon"


def propose_drawn(annotations: pl.DataFrame) -> Proposal:
    """Classes of drawn objects, as a proposal for `study.yaml`.

    Args:
        annotations: The annotations table.
    """
    drawn = annotations.filter(annotations["kind"].is_in(["polygon", "points"]))
    classes = drawn["label"].drop_nulls().unique().sort().to_list()
    ignored = [name for name in classes if name.endswith("*")]
    names = [name for name in classes if name not in ignored]
    kinds = Counter(drawn["kind"].to_list())
    parts = [plural(kinds[kind], noun) for kind, noun in (("polygon", "outline"), ("points", "point")) if kinds[kind]]
    notes = [f"{' and '.join(parts)} in {plural(drawn['path'].n_unique(), 'file')}"]
    counts = dict(drawn.filter(drawn["label"].is_not_null()).group_by("label").len().iter_rows())
    without = len(drawn.filter(pl.col("label").is_null() & ~pl.col("geometry").str.contains(r"\[\]")))
    if without:
        notes.append(f"{plural(without, 'object')} without a class and a name: not drawn ('unclassified: …' draws)")
    if ignored:
        notes.append(f"{', '.join(ignored)} count as not annotated")
    counted = {name: counts[name] for name in names}
    if not names or not kinds["polygon"]:
        return Proposal(notes=notes, counts=counted)
    outside = "background"
    order = [outside, *(name for name in names if name != outside)]
    labels = LabelMapping.of(order, ignore=(IGNORE, *ignored))
    notes.append(f"pixels in no outline count as '{outside}'; write 'outside: null' if not all was outlined")
    notes.append("where outlines overlap, the later one in the file counts")
    return Proposal(labels, outside, counts=counted, notes=notes, overlap="last")
