"""GeoJSON as QuPath reads and writes it (0.2 to 0.6): a FeatureCollection, a bare list, or single features.

Coordinates are level-0 pixels with the origin at the outer corner of the top-left pixel, as everywhere in
Stroma. QuPath moves that origin to the corner of the scanned area where a file declares one (`openslide.bounds-x`
and `-y`): such files need that corner as `offset`, in both directions.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import shapely

from stroma.core.clock import stage
from stroma.core.collector import paused_collector
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import write_bytes
from stroma.regions.annotation import Annotation
from stroma.regions.geojson_coordinates import geometry_texts, parse_polygons

GZIP_BYTES = 50_000_000
"""Files above this size are compressed."""

_COORDINATES = re.compile(r'("coordinates"\s*:\s*)(\[[\[\]\s0-9eE+.,-]*\])')
_NO_LIST = re.compile(r'("coordinates"\s*:\s*)-?[0-9][0-9eE+.-]*')
_TYPES = ("Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString")
_GZIP_MAGIC = b"\x1f\x8b"
_BATCH = 20_000


def read_geojson(path: Path, *, offset: tuple[float, float] = (0.0, 0.0)) -> list[Annotation]:
    """Read a GeoJSON file.

    Args:
        path: `.geojson` or `.json`, or one of them compressed with gzip.
        offset: (x, y) of the file's origin in level-0 pixels: the scan bounds for files that QuPath wrote for
            slides that have them.

    Returns:
        The objects in the order of the file.

    Raises:
        MissingFile: there is no such file.
        InvalidData: no GeoJSON, or an object without a usable geometry; the message gives its index from 0.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    return parse_geojson(_read_text(path), offset=offset, where=path)


def _read_text(path: Path) -> str:
    with stage("read"):
        content = path.read_bytes()
    with stage("decode"):
        try:
            content = gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
            return content.decode("utf-8-sig")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise InvalidData(f"is not valid GeoJSON ({error})", where=path) from error


def parse_geojson(
    text: str, *, offset: tuple[float, float] = (0.0, 0.0), where: Path | str | None = None
) -> list[Annotation]:
    """Read GeoJSON text; see `read_geojson`.

    The coordinates, most of such a text, go straight to the geometry library; only the rest passes through
    Python's JSON, which is several times faster for half a million cells.
    """
    with stage("decode"), paused_collector():
        short, coordinates = _without_coordinates(text)
        del text  # as long as the coordinates are
        return _parse(short, coordinates, offset, where)


def _parse(
    short: str, coordinates: list[str], offset: tuple[float, float], where: Path | str | None
) -> list[Annotation]:
    try:
        content = json.loads(short)
    except json.JSONDecodeError as error:
        raise InvalidData(f"is not valid JSON ({_without_position(error)})", where=where) from error
    features = _features(content, where)
    has_nuclei = '"nucleusGeometry"' in short
    del content, short
    result: list[Annotation] = []
    for first in range(0, len(features), _BATCH):  # what has been used is let go and its memory used again
        part = features[first : first + _BATCH]
        features[first : first + _BATCH] = [{}] * len(part)
        outlines = _geometries([one["geometry"] for one in part], first, coordinates, offset, where, "geometry")
        nuclei: Iterable[Any] = repeat(None)
        if has_nuclei:
            nuclei = _geometries([_nucleus(one) for one in part], first, coordinates, offset, where, "nucleus")
        for index, (feature, outline, nucleus) in enumerate(zip(part, outlines, nuclei, strict=False), start=first):
            try:
                result.append(_annotation(feature, outline, nucleus, index, where))
            except (AttributeError, TypeError, ValueError) as error:
                raise InvalidData(
                    f"object {index} has properties that cannot be read ({error})", where=where
                ) from error
    return result


def _without_coordinates(text: str) -> tuple[str, list[str]]:
    """The text with a number in place of each list of coordinates, and the lists."""
    parts = _COORDINATES.split(text)  # text, key, coordinates, text, key, coordinates, …, text
    parts[::3] = [_NO_LIST.sub(r"\1null", part) if '"coordinates"' in part else part for part in parts[::3]]
    coordinates = parts[2::3]
    # a list that breaks off holds something else than numbers: it stays, and is told by the index of its object
    parts[2::3] = [str(i) if t.count("[") == t.count("]") else t for i, t in enumerate(coordinates)]
    return "".join(parts), coordinates


def _without_position(error: json.JSONDecodeError) -> str:
    """The message without the position, which counts in a text the user has never seen."""
    return error.msg


def _features(content: Any, where: Path | str | None) -> list[dict[str, Any]]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    elif isinstance(content, dict) and content.get("type") in _TYPES:
        content = [{"type": "Feature", "geometry": content}]
    if not isinstance(content, list):
        raise InvalidData(
            "is JSON, but neither a FeatureCollection nor a list of features",
            where=where,
            next_step="Export from QuPath with File > Export objects as GeoJSON",
        )
    for index, feature in enumerate(content):
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            raise InvalidData(f"object {index} is no feature with a geometry", where=where)
    return content


def _nucleus(feature: Mapping[str, Any]) -> Any:
    """The outline of a cell's nucleus; QuPath writes it beside the cell's, others among the properties."""
    properties = feature.get("properties")
    return feature.get("nucleusGeometry") or (
        properties.get("nucleusGeometry") if isinstance(properties, dict) else None
    )


def _geometries(
    entries: Sequence[Any],
    first: int,
    coordinates: list[str],
    offset: tuple[float, float],
    where: Path | str | None,
    what: str,
) -> Any:
    """Geometries of the objects from number `first` on, None where there is none; their `coordinates` are emptied."""
    if all(entry is None for entry in entries):
        return np.full(len(entries), None, dtype=object)
    kinds, texts = _geometry_sources(entries, first, coordinates, where, what)
    shapes = parse_polygons(texts) if set(kinds) == {"Polygon"} else None
    if shapes is None:
        shapes = _parse_geometries(kinds, texts, first, where, what)
    return shapes if offset == (0.0, 0.0) else shapely.transform(shapes, lambda points: points + offset)


def _geometry_sources(
    entries: Sequence[Any], first: int, coordinates: list[str], where: Path | str | None, what: str
) -> tuple[list[str], list[str]]:
    """Types and coordinates of geometries, both empty where there is no geometry."""
    kinds, texts = [], []
    for index, entry in enumerate(entries, start=first):
        if entry is None:
            kinds.append("")
            texts.append("")
            continue
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind not in _TYPES:
            raise InvalidData(
                f"object {index} has the {what} type {kind!r}, known are {', '.join(_TYPES)}", where=where
            )
        place = entry.get("coordinates")
        if not isinstance(place, int) or not 0 <= place < len(coordinates):
            raise InvalidData(f"object {index} has a {what} without usable coordinates", where=where)
        kinds.append(kind)
        texts.append(coordinates[place])
        coordinates[place] = ""
    return kinds, texts


def _parse_geometries(
    kinds: Sequence[str], coordinates: Sequence[str], first: int, where: Path | str | None, what: str
) -> Any:
    """Geometries of any type, one at a time; the message has the index of the first that cannot be read."""
    texts = np.full(len(kinds), None, dtype=object)
    for index, (kind, text) in enumerate(zip(kinds, coordinates, strict=True)):
        texts[index] = f'{{"type":"{kind}","coordinates":{text}}}' if kind else None
    shapes = shapely.from_geojson(texts, on_invalid="ignore")
    given = np.array([text is not None for text in texts], dtype=bool)
    bad = np.flatnonzero(given & (shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    if len(bad):
        raise InvalidData(
            f"object {first + bad[0]} has a {what} that cannot be read: {_explain(str(texts[bad[0]]))}", where=where
        )
    return shapes


def _explain(text: str) -> str:
    try:
        shapely.from_geojson(text)
    except shapely.GEOSException as error:
        return str(error).split(":", 1)[-1].strip() or "broken coordinates"
    return "it is empty"


_OLD_KINDS = {"PathAnnotationObject": "annotation", "PathDetectionObject": "detection", "PathCellObject": "cell"}


def _annotation(
    feature: Mapping[str, Any], geometry: Any, nucleus: Any, index: int, where: Path | str | None
) -> Annotation:
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise InvalidData(f"object {index} has properties that are no mapping", where=where)
    label, class_colour = _classification(properties.get("classification"), index, where)
    identifier = feature.get("id")
    name = properties.get("name")
    kind = (
        properties.get("objectType") or properties.get("object_type") or _OLD_KINDS.get(str(identifier), "annotation")
    )
    plane = feature["geometry"].get("plane")
    metadata = properties.get("metadata")
    return Annotation(
        geometry,
        label,
        None if name is None else str(name),
        class_colour or _colour(properties.get("color"), index, where),
        str(kind),
        _measurements(properties.get("measurements"), index, where),
        {str(key): str(value) for key, value in metadata.items()} if metadata else {},
        nucleus,
        None if identifier is None or str(identifier) in _OLD_KINDS else str(identifier),
        (int(plane.get("z", 0)), int(plane.get("t", 0))) if plane else (0, 0),
        bool(properties.get("isLocked", False)),
    )


def _classification(
    value: Any, index: int, where: Path | str | None
) -> tuple[str | None, tuple[int, int, int] | None]:
    if value is None:
        return None, None
    if isinstance(value, str):
        return value, None
    if not isinstance(value, dict):
        raise InvalidData(f"object {index} has a classification that is no mapping", where=where)
    name = value.get("name")
    if name is None and value.get("names"):
        name = ": ".join(map(str, value["names"]))
    return name, _colour(value.get("color", value.get("colorRGB")), index, where)


def _colour(value: Any, index: int, where: Path | str | None) -> tuple[int, int, int] | None:
    if value is None:
        return None
    try:
        return _rgb(*value) if isinstance(value, list) else _rgb((value >> 16) & 255, (value >> 8) & 255, value & 255)
    except TypeError as error:
        text = f"object {index} has the colour {value!r}"
        raise InvalidData(text, where=where, next_step="Write [red, green, blue], 0 to 255") from error


@lru_cache(maxsize=4096)
def _rgb(red: int, green: int, blue: int, *alpha: int) -> tuple[int, int, int]:
    """The colour itself; a packed one (Java's ARGB, signed) comes here in parts."""
    if not all(isinstance(part, int) and 0 <= part <= 255 for part in (red, green, blue)):
        raise TypeError("no whole numbers from 0 to 255")
    return red, green, blue


def _measurements(value: Any, index: int, where: Path | str | None) -> dict[str, float]:
    """Both forms: `{name: value}` and `[{"name": …, "value": …}]`; a value that is missing is NaN."""
    if not value:
        return {}
    try:
        pairs = value.items() if isinstance(value, dict) else [(entry["name"], entry["value"]) for entry in value]
        return {name: math.nan if number is None else float(number) for name, number in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidData(f"object {index} has measurements that cannot be read ({error!r})", where=where) from error


def write_geojson(
    path: Path,
    annotations: Iterable[Annotation],
    *,
    offset: tuple[float, float] = (0.0, 0.0),
    decimals: int | None = 3,
) -> Path:
    """Write annotations as a FeatureCollection that QuPath imports.

    Args:
        path: The file; above `GZIP_BYTES` it is compressed and its name gets `.gz`.
        annotations: What to write, in this order.
        offset: (x, y) of the file's origin in level-0 pixels, see `read_geojson`.
        decimals: Decimals of the coordinates; None keeps them all. Three are a thousandth of a pixel.

    Returns:
        The file written.
    """
    with stage("transform"), paused_collector():
        content = b"".join(_parts(list(annotations), offset, decimals))
    with stage("write"):
        if len(content) > GZIP_BYTES and path.suffix != ".gz":
            path = path.with_name(path.name + ".gz")
        if path.suffix == ".gz":
            content = bytes(imagecodecs.gzip_encode(content, level=1))
        return write_bytes(path, content)


def _parts(annotations: list[Annotation], offset: tuple[float, float], decimals: int | None) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    for first in range(0, len(annotations), _BATCH):
        lines = _lines(annotations[first : first + _BATCH], offset, decimals)
        yield (",\n" if first else "\n").encode() + ",\n".join(lines).encode()
    yield b"\n]}\n"


def _lines(annotations: list[Annotation], offset: tuple[float, float], decimals: int | None) -> Iterator[str]:
    outlines = geometry_texts([a.geometry for a in annotations], offset, decimals)
    nuclei = geometry_texts([a.nucleus for a in annotations], offset, decimals)
    for annotation, outline, inner in zip(annotations, outlines, nuclei, strict=True):
        plane = ""
        if annotation.plane != (0, 0):
            plane = f',"plane":{{"c":-1,"z":{annotation.plane[0]},"t":{annotation.plane[1]}}}'
        identifier = "" if annotation.identifier is None else f'"id":{encode_basestring(annotation.identifier)},'
        nucleus = "" if inner is None else f'"nucleusGeometry":{inner},'
        yield (
            f'{{"type":"Feature",{identifier}"geometry":{outline[:-1]}{plane}}},{nucleus}'
            f'"properties":{{{_properties(annotation)}}}}}'
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _properties(annotation: Annotation) -> str:
    text = _common_properties(annotation.kind, annotation.label, annotation.colour, annotation.locked)
    if annotation.name is not None:
        text += f',"name":{encode_basestring(annotation.name)}'
    if annotation.measurements:
        pairs = (f"{encode_basestring(name)}:{_number(value)}" for name, value in annotation.measurements.items())
        text += f',"measurements":{{{",".join(pairs)}}}'
    if annotation.metadata:
        text += f',"metadata":{_json(dict(annotation.metadata))}'
    return text


@lru_cache(maxsize=4096)
def _common_properties(kind: str, label: str | None, colour: tuple[int, int, int] | None, locked: bool) -> str:
    """What many objects share, so that it is written out once."""
    properties: dict[str, Any] = {"objectType": kind}
    if label is not None:
        properties["classification"] = {"name": label} | ({"color": list(colour)} if colour else {})
    elif colour is not None:
        properties["color"] = list(colour)
    if locked:
        properties["isLocked"] = True
    return _json(properties)[1:-1]


def _number(value: float) -> str:
    """JSON has no NaN; QuPath reads null as a missing value."""
    return repr(float(value)) if math.isfinite(value) else "null"
