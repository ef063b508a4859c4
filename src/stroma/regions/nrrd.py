"""Segmentations that MITK keeps as NRRD files: layers of labels with names and colours."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UnreadableImage
from stroma.core.files import write_bytes

_GROUPS = "org.mitk.multilabel.segmentation.labelgroups"
_TYPES = {
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1", "signed char": "i1", "int8": "i1",
    "short": "i2", "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4",
}  # fmt: skip


@dataclass(frozen=True)
class MaskLabel:
    """A label of a layer: its value in the mask, its name, its colour as (red, green, blue), 0-255."""

    value: int
    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class LayeredMask:
    """A segmentation whose layers may overlap.

    Attributes:
        mask: (layers, height, width); 0 is not annotated.
        labels: The labels of each layer.
        names: The name of each layer, or None.
    """

    mask: NDArray[Any]
    labels: tuple[tuple[MaskLabel, ...], ...]
    names: tuple[str | None, ...]


def read_mitk_nrrd(path: Path | str) -> LayeredMask:
    """Read a segmentation of MITK, of the old kind (XML in the header) or the new one (JSON).

    Args:
        path: A `.nrrd` file of one slice.

    Returns:
        The layers as stored; a number and `_` before a name (`03_liver`) are part of the name.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is no NRRD file, damaged, or packed in an unknown way.
        InvalidData: it has no labels of MITK, or values without a label.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    with stage("read"):
        content = path.read_bytes()
    end = re.search(rb"\r?\n\r?\n", content)
    if not content.startswith(b"NRRD") or not end:
        raise UnreadableImage("is no NRRD file", where=path)
    head, body = content[: end.start()], content[end.end() :]
    with stage("decode"):
        try:
            fields = _fields(head.decode("utf-8").replace("\r\n", "\n"))
            stored = _array(fields, body)
            labels, names = _labels(fields)
        except (UnicodeDecodeError, ValueError, KeyError, zlib.error, OSError, EOFError) as error:
            raise UnreadableImage(f"is a damaged or unknown NRRD file ({error})", where=path) from error
        except InvalidData as error:
            raise InvalidData(error.what, where=path) from error
    mask = _layers(stored, len(labels), path)
    for index, (layer, known) in enumerate(zip(mask, labels, strict=True)):
        unknown = sorted(set(np.unique(layer).tolist()) - {label.value for label in known} - {0})
        if unknown:
            raise InvalidData(f"has the value {unknown[0]} in layer {index}, which has no label", where=path)
    return LayeredMask(mask, labels, names)


def _fields(head: str) -> dict[str, str]:
    fields = {}
    for line in head.splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, found, value = line.partition(":=")
        if not found:
            key, found, value = line.partition(":")
        if found:
            fields[key.strip()] = value.strip()
    return fields


def _array(fields: Mapping[str, str], body: bytes) -> NDArray[Any]:
    if fields["type"] not in _TYPES:
        raise ValueError(f"values of type {fields['type']}")
    order = ">" if fields.get("endian", "little") == "big" else "<"
    dtype = np.dtype(order + _TYPES[fields["type"]])
    sizes = [int(text) for text in fields["sizes"].split()]
    encoding = fields["encoding"]
    if encoding not in ("raw", "gzip", "gz"):
        raise ValueError(f"encoding {encoding}")
    content = body if encoding == "raw" else gzip.decompress(body)
    expected = int(np.prod(sizes)) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"{len(content):,} bytes where sizes {sizes} need {expected:,}")
    return np.frombuffer(content, dtype=dtype).reshape(sizes, order="F")


def _layers(stored: NDArray[Any], count: int, path: Path) -> NDArray[Any]:
    """(layers, height, width) from (width, height[, 1]) or (layer, width, height[, 1])."""
    plane = np.squeeze(stored)
    if plane.ndim == 2 and count == 1:
        plane = plane[None]
    if plane.ndim != 3 or plane.shape[0] != count:
        raise InvalidData(f"has the sizes {stored.shape} and {count} layers of labels", where=path)
    layers = np.ascontiguousarray(np.swapaxes(plane, 1, 2))
    return layers.astype(np.uint8 if layers.max(initial=0) < 256 and layers.min(initial=0) >= 0 else np.int64)


def _labels(fields: Mapping[str, str]) -> tuple[tuple[tuple[MaskLabel, ...], ...], tuple[str | None, ...]]:
    if _GROUPS in fields:
        groups = json.loads(fields[_GROUPS])
        labels = tuple(tuple(_from_json(label) for label in group.get("labels") or ()) for group in groups)
        return labels, tuple(group.get("name") for group in groups)
    if "layers" in fields:
        layers = range(int(fields["layers"]))
        labels = tuple(
            tuple(_from_xml(fields[f"org.mitk.label_{i:03d}_{k:05d}"]) for k in range(int(fields[f"layer_{i:03d}"])))
            for i in layers
        )
        return tuple(tuple(label for label in layer if label.value) for layer in labels), (None,) * len(labels)
    raise InvalidData("is an NRRD file without labels of MITK")


def _from_json(label: Mapping[str, Any]) -> MaskLabel:
    return MaskLabel(int(label["value"]), str(label["name"]), _colour(label["color"]["value"]))


def _from_xml(text: str) -> MaskLabel:
    """A label as an XML element with properties; line ends are written as a backslash and an n."""
    try:
        root = ElementTree.fromstring(text.replace("\\n", "\n"))
    except ElementTree.ParseError as error:
        raise ValueError(f"a label is no XML ({error})") from error
    values = {entry.get("key"): next(iter(entry), entry) for entry in root.iterfind("property")}
    red, green, blue = (float(values["color"].get(part, "0")) for part in "rgb")
    return MaskLabel(
        int(values["value"].get("value", "")), values["name"].get("value", ""), _colour((red, green, blue))
    )


def _colour(parts: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(255 * float(part)))) for part in parts)
    return red, green, blue


def write_mitk_nrrd(path: Path, segmentation: LayeredMask) -> Path:
    """Write a segmentation that MITK opens; the same segmentation gives the same bytes.

    Raises:
        InvalidData: values without a label, or another number of layers than of label lists.
    """
    mask = segmentation.mask
    if len(mask) != len(segmentation.labels):
        raise InvalidData(f"{len(mask)} layers have {len(segmentation.labels)} lists of labels", where=path)
    groups = []
    for index, (layer, labels) in enumerate(zip(mask, segmentation.labels, strict=True)):
        unknown = sorted(set(np.unique(layer).tolist()) - {label.value for label in labels} - {0})
        if unknown:
            raise InvalidData(f"layer {index} has the value {unknown[0]} without a label", where=path)
        group: dict[str, Any] = {"labels": [_to_json(label) for label in labels]}
        name = segmentation.names[index]
        groups.append({"name": name} | group if name else group)
    count, height, width = mask.shape
    vector = count > 1
    sizes = f"{count} {width} {height} 1" if vector else f"{width} {height} 1"
    lead = "none " if vector else ""
    header = [
        "NRRD0004",
        "type: unsigned short",
        f"dimension: {4 if vector else 3}",
        "space: left-posterior-superior",
        f"sizes: {sizes}",
        f"space directions: {lead}(1,0,0) (0,1,0) (0,0,1)",
        f"kinds: {'vector ' if vector else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        "space origin: (0,0,0)",
        "modality:=org.mitk.multilabel.segmentation",
        f"{_GROUPS}:={json.dumps(groups, separators=(',', ':'))}",
        "org.mitk.multilabel.segmentation.unlabeledlabellock:=0",
        "org.mitk.multilabel.segmentation.version:=1",
    ]
    stored = np.swapaxes(mask, 1, 2) if vector else mask[0].T
    content = gzip.compress(stored.astype("<u2").tobytes(order="F"), mtime=0)
    with stage("write"):
        return write_bytes(path, "\n".join(header).encode() + b"\n\n" + content)


def _to_json(label: MaskLabel) -> dict[str, Any]:
    return {
        "color": {"type": "ColorProperty", "value": [part / 255 for part in label.colour]},
        "locked": True,
        "name": label.name,
        "opacity": 0.6,
        "value": label.value,
        "visible": True,
    }


def plain_name(name: str) -> str:
    """A label's name without the number that htc puts before it (`03_liver`)."""
    return re.sub(r"^\d+_", "", name)
