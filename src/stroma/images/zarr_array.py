"""Arrays of a Zarr folder (versions 2 and 3): found and described by their metadata, read chunk by chunk."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UnreadableImage
from stroma.core.threads import in_threads
from stroma.images.cache import DECODED, file_key
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.zarr_codecs import Codecs, codecs_of_2, codecs_of_3

METADATA = ("zarr.json", ".zarray", ".zgroup")
_DAMAGE = (zlib.error, LZMAError, imagecodecs.ZstdError, imagecodecs.Lz4Error, imagecodecs.BloscError)
_NUMBER = re.compile(r"[<>|][biuf]\d")
_TYPES_3 = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
            "float64"}  # fmt: skip
_LARGEST_METADATA = 16 * 2**20
_MOST_FOLDERS = 2_000
_DEEPEST = 3


@dataclass(frozen=True)
class ZarrArray:
    """An array of a Zarr folder, without its values.

    Attributes:
        folder: Where its metadata lies.
        shape: As stored.
        dtype: In native byte order.
        chunks: Shape of what one file holds.
        codecs: How a file is stored.
        fill: Value of chunks that were not written.
        key: How files are called: what stands before the numbers of a chunk, and between them.
        dimensions: Names of the axes, or empty.
        attributes: The user's own.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    codecs: Codecs
    fill: Any
    key: tuple[str, str]
    dimensions: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    def read(self, indices: tuple[NDArray[np.int64], ...]) -> NDArray[Any]:
        """Read what lies at the product of indices, one ascending or descending list of whole numbers an axis.

        Returns:
            An array of their lengths, in native byte order.

        Raises:
            UnreadableImage: a chunk is damaged.
        """
        pieces = self.codecs.inner or self.chunks
        result = np.empty([len(axis) for axis in indices], dtype=self.dtype)
        parts = [_parts(axis, side) for axis, side in zip(indices, pieces, strict=True)]
        places = list(np.ndindex(*(len(axis) for axis in parts)))

        def copy(number: int) -> None:
            chosen = [axis[i] for axis, i in zip(parts, places[number], strict=True)]
            place, inner = tuple(number for number, _, _ in chosen), tuple(inside for _, inside, _ in chosen)
            values = self._piece(place, keep=not self._is_whole(place, inner))
            target = tuple(target for _, _, target in chosen)
            result[target] = self.fill if values is None else values[inner]

        with stage("decode"):
            in_threads(copy, len(places))
        return result

    def _is_whole(self, place: tuple[int, ...], inner: tuple[Any, ...]) -> bool:
        """Whether all of a chunk that lies in the array is wanted."""
        sides = zip(place, inner, self.codecs.inner or self.chunks, self.shape, strict=True)
        return all(
            isinstance(part, slice) and part.stop - part.start == min(side, length - number * side)
            for number, part, side, length in sides
        )

    def _piece(self, place: tuple[int, ...], *, keep: bool) -> NDArray[Any] | None:
        """The chunk (or the chunk inside a shard) at `place`; None where none was written.

        With `keep` it stays in the cache of decoded blocks: a chunk that was wanted whole is hardly needed again.
        """
        per_file = [1] * len(place)
        if self.codecs.inner is not None:
            per_file = [side // inner for side, inner in zip(self.chunks, self.codecs.inner, strict=True)]
        numbers = [number // count for number, count in zip(place, per_file, strict=True)]
        inside = tuple(number % count for number, count in zip(place, per_file, strict=True))
        prefix, separator = self.key
        path = self.folder / (prefix + separator.join(str(number) for number in numbers))
        if not path.is_file():
            return None
        file = file_key(path)
        values = DECODED.find(file, inside)
        if values is None:
            values = self._decoded(path, inside)
            if keep and values is not None:
                decoded = values
                DECODED.get(file, inside, lambda: decoded)
        return values

    def _decoded(self, path: Path, inside: tuple[int, ...]) -> NDArray[Any] | None:
        with _chunk_of(path, self.folder):
            if self.codecs.inner is None:
                return self.codecs.decode(path.read_bytes(), self.chunks)
            with path.open("rb") as handle:
                return self.codecs.part(handle, path.stat().st_size, self.chunks, inside)

    def require_plausible(self) -> None:
        """Refuse a shape, and chunks, that the bytes on disk cannot hold, before memory is asked for.

        Raises:
            UnreadableImage: they are out of proportion.
        """
        most = max(math.prod(self.shape), math.prod(self.codecs.inner or self.chunks))
        stored = _stored_bytes(self.folder, most)
        check_plausible(self.folder, 1, max(1, most), 1, self.dtype.itemsize, stored)


def list_arrays(root: Path) -> dict[str, ZarrArray]:
    """Arrays of a Zarr folder by their path in it (`''` for the folder itself), those of three dimensions first.

    Arrays of values that are no numbers are left out.

    Raises:
        UnreadableImage: metadata is damaged, or the array uses what is not read.
    """
    found: dict[str, ZarrArray] = {}
    refused: list[UnreadableImage] = []
    for folder in _nodes(root):
        try:
            array = _read_array(folder)
        except UnreadableImage as error:
            refused.append(error)
            continue
        if array is not None:
            found[folder.relative_to(root).as_posix() if folder != root else ""] = array
    if refused and not any(len(array.shape) == 3 for array in found.values()):
        raise refused[0]
    return dict(sorted(found.items(), key=lambda entry: (len(entry[1].shape) != 3, entry[0])))


def read_attributes(folder: Path) -> dict[str, Any]:
    """The user's attributes of a group or an array; empty where there are none."""
    content = _metadata(folder / "zarr.json").get("attributes") or _metadata(folder / ".zattrs")
    return content if isinstance(content, dict) else {}


def _nodes(root: Path) -> Iterator[Path]:
    """`root` and the groups and arrays below it."""
    pending, seen = [(root, 0)], 0
    while pending and seen < _MOST_FOLDERS:
        folder, depth = pending.pop()
        yield folder
        is_array = (folder / ".zarray").is_file() or _metadata(folder / "zarr.json").get("node_type") == "array"
        if depth == _DEEPEST or is_array:
            continue
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            seen += 1
            if entry.is_dir() and any((folder / entry.name / name).is_file() for name in METADATA):
                pending.append((folder / entry.name, depth + 1))


def _read_array(folder: Path) -> ZarrArray | None:
    new, old = _metadata(folder / "zarr.json"), _metadata(folder / ".zarray")
    where = folder / ("zarr.json" if new else ".zarray")
    if not old and new.get("node_type") != "array":
        return None
    try:
        with foreign_bytes(where):
            return _described_3(folder, new) if new else _described_2(folder, old)
    except InvalidData as error:
        raise UnreadableImage(error.what, where=where, next_step="Save it again without that, or as .npy") from error


def _described_2(folder: Path, metadata: dict[str, Any]) -> ZarrArray | None:
    if not isinstance(metadata["dtype"], str) or not _NUMBER.fullmatch(metadata["dtype"]):
        return None
    stored, attributes = np.dtype(metadata["dtype"]), read_attributes(folder)
    shape, chunks = _sides(metadata["shape"], "shape"), _sides(metadata["chunks"], "chunks", minimum=1)
    names = attributes.get("_ARRAY_DIMENSIONS")
    return _checked(
        ZarrArray(
            folder, shape, stored.newbyteorder("="), chunks, codecs_of_2(metadata, stored, len(shape)),
            _fill(metadata.get("fill_value"), stored), ("", str(metadata.get("dimension_separator", "."))),
            tuple(map(str, names)) if isinstance(names, list) else (), attributes,
        )
    )  # fmt: skip


def _described_3(folder: Path, metadata: dict[str, Any]) -> ZarrArray | None:
    if metadata["data_type"] not in _TYPES_3:
        return None
    dtype, shape = np.dtype(metadata["data_type"]), _sides(metadata["shape"], "shape")
    if metadata["chunk_grid"]["name"] != "regular":
        raise InvalidData(f"has chunks of the kind '{metadata['chunk_grid']['name']}', which are not read")
    chunks = _sides(metadata["chunk_grid"]["configuration"]["chunk_shape"], "chunk_shape", minimum=1)
    encoding = metadata.get("chunk_key_encoding") or {"name": "default"}
    separator = (encoding.get("configuration") or {}).get("separator", "/" if encoding["name"] == "default" else ".")
    names = metadata.get("dimension_names") or ()
    return _checked(
        ZarrArray(
            folder, shape, dtype, chunks, codecs_of_3(metadata["codecs"], dtype, len(shape)),
            _fill(metadata.get("fill_value"), dtype),
            ("c" + separator if encoding["name"] == "default" else "", separator),
            tuple(str(name or "") for name in names), read_attributes(folder),
        )
    )  # fmt: skip


def _checked(array: ZarrArray) -> ZarrArray:
    inner = array.codecs.inner
    if len(array.chunks) != len(array.shape) or (inner is not None and len(inner) != len(array.shape)):
        raise InvalidData(f"has the shape {array.shape} and chunks {array.chunks}")
    if inner is not None and any(side <= 0 or outer % side for outer, side in zip(array.chunks, inner, strict=True)):
        raise InvalidData(f"has shards {array.chunks} of chunks {inner}")
    if array.key[1] not in (".", "/"):
        raise InvalidData(f"separates the numbers of its chunks by '{array.key[1]}'")
    return array


def _sides(value: Any, name: str, minimum: int = 0) -> tuple[int, ...]:
    sides = tuple(value)
    if not all(type(side) is int and minimum <= side < 2**48 for side in sides):
        raise InvalidData(f"has the {name} {str(sides)[:80]}")
    return sides


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    if value is None:
        return dtype.type(0)
    if isinstance(value, str) and value.startswith("0x"):
        return np.frombuffer(bytes.fromhex(value[2:]), dtype=dtype.newbyteorder(">"))[0]
    return dtype.type(float(value) if dtype.kind == "f" else int(value))


def _metadata(path: Path) -> dict[str, Any]:
    """Content of a metadata file; empty where there is none.

    Raises:
        UnreadableImage: it is no JSON table.
    """
    if not path.is_file():
        return {}
    with foreign_bytes(path, RecursionError):
        if path.stat().st_size > _LARGEST_METADATA:
            raise UnreadableImage(f"is {path.stat().st_size:,} bytes, too large for metadata", where=path)
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise UnreadableImage("holds no table", where=path)
    return content


def _parts(indices: NDArray[np.int64], side: int) -> list[tuple[int, Any, Any]]:
    """Along one axis: (number of the chunk, where in the chunk, where in the result)."""
    numbers = indices // side
    parts = []
    for number in np.unique(numbers):
        target = np.flatnonzero(numbers == number)
        parts.append((int(number), _span(indices[target] - number * side), _span(target)))
    return parts


def _span(indices: NDArray[np.int64]) -> Any:
    """A slice where the indices are consecutive, so that nothing is copied twice."""
    first, last = int(indices[0]), int(indices[-1])
    return slice(first, last + 1) if last - first == len(indices) - 1 and first <= last else indices


def _stored_bytes(folder: Path, enough: int) -> int:
    """Bytes of the files of an array; counting stops when they are `enough`."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += Path(place, name).stat().st_size
            if total >= enough:
                return total
    return total


@contextmanager
def _chunk_of(path: Path, folder: Path) -> Iterator[None]:
    """Name the chunk and what to do, whatever is wrong with it."""
    next_step = f"Copy {folder.name} again"
    with foreign_bytes(path, *_DAMAGE, next_step=next_step):
        try:
            yield
        except InvalidData as error:
            raise UnreadableImage(f"is damaged: {error.what}", where=path, next_step=next_step) from error
