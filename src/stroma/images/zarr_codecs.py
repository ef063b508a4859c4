"""From the bytes of a Zarr chunk to its values: the codecs of versions 2 and 3, never more than the chunk's size."""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData

COMPRESSIONS = ("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "crc32c")
_ENDIAN: dict[str, Literal["<", ">"]] = {"big": ">", "little": "<"}
_BLOSC_HEADER = 16
_SLACK_BYTES = 4096  # what a checksum or an index adds between two codecs
_ABSENT = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Codecs:
    """How a chunk is stored.

    Attributes:
        dtype: Of the stored values, with their byte order.
        order: Stored axes, slowest first.
        compressions: Names from `COMPRESSIONS`, in the order in which they were applied.
        inner: Shape of the chunks inside a shard, or None where the chunk is stored as one piece.
        inner_codecs: Of the chunks inside a shard.
        index_codecs: Of the index of a shard.
        index_first: Whether the index is at the beginning of the shard, else at its end.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    compressions: tuple[str, ...] = ()
    inner: tuple[int, ...] | None = None
    inner_codecs: Codecs | None = None
    index_codecs: Codecs | None = None
    index_first: bool = False

    def decode(self, data: bytes | bytearray, shape: Sequence[int]) -> NDArray[Any]:
        """The values of one chunk.

        Raises:
            InvalidData: the bytes are damaged, or not as many as `shape` needs.
        """
        expected = self.dtype.itemsize * math.prod(shape)
        for number, name in reversed(list(enumerate(self.compressions))):
            data = _expand(name, data, expected + (_SLACK_BYTES if number else 1))
        if len(data) != expected:
            raise InvalidData(f"a chunk has {len(data):,} bytes, {tuple(shape)} of {self.dtype} needs {expected:,}")
        stored = np.frombuffer(data, dtype=self.dtype).reshape([shape[axis] for axis in self.order])
        return stored.transpose(np.argsort(self.order))

    def part(self, handle: BinaryIO, size: int, outer: Sequence[int], place: Sequence[int]) -> NDArray[Any] | None:
        """One chunk inside a shard; only the index and its bytes are read.

        Args:
            handle: The open shard.
            size: Its bytes.
            outer: Shape of the shard.
            place: Which chunk inside it, by axis.

        Returns:
            The values, or None where nothing was stored.

        Raises:
            InvalidData: the shard is damaged.
        """
        if self.inner is None or self.inner_codecs is None or self.index_codecs is None:
            raise InvalidData("it is no shard")
        counts = [side // inner for side, inner in zip(outer, self.inner, strict=True)]
        length = 16 * math.prod(counts) + 4 * self.index_codecs.compressions.count("crc32c")
        if length > size:
            raise InvalidData(f"a shard of {size:,} bytes has no room for its index of {length:,}")
        handle.seek(0 if self.index_first else size - length)
        index = self.index_codecs.decode(handle.read(length), (*counts, 2))
        offset, count = index[tuple(place)]
        if offset == _ABSENT and count == _ABSENT:
            return None
        if int(offset) + int(count) > size:
            raise InvalidData("a shard ends before one of its chunks")
        handle.seek(int(offset))
        return self.inner_codecs.decode(handle.read(int(count)), self.inner)


def _expand(name: str, data: bytes | bytearray, limit: int) -> bytes | bytearray:
    """Undo one compression; more than `limit` bytes are an error before they are made."""
    result: bytes | bytearray
    if name == "crc32c":
        return data[:-4]
    if name in ("gzip", "zlib"):
        result = zlib.decompressobj(wbits=47).decompress(data, limit)
    elif name == "bz2":
        result = bz2.BZ2Decompressor().decompress(data, limit)
    elif name == "lzma":
        result = lzma.LZMADecompressor().decompress(data, limit)
    elif name == "zstd":
        result = imagecodecs.zstd_decode(data, out=limit)
    elif name == "lz4":
        _check_stated(int.from_bytes(data[:4], "little"), limit)
        result = imagecodecs.lz4_decode(data, header=True)
    else:
        if len(data) < _BLOSC_HEADER or int.from_bytes(data[12:16], "little") != len(data):
            raise InvalidData(f"a Blosc chunk has {len(data):,} bytes and states another number")
        _check_stated(int.from_bytes(data[4:8], "little"), limit)
        result = imagecodecs.blosc_decode(data)
    return result


def _check_stated(stated: int, limit: int) -> None:
    if stated > limit:
        raise InvalidData(f"a chunk states {stated:,} bytes, more than its shape has")


def codecs_of_2(metadata: Mapping[str, Any], dtype: np.dtype[Any], axes: int) -> Codecs:
    """Codecs of an array of version 2 (`.zarray`).

    Raises:
        InvalidData: it uses a filter or a compression that is not read.
    """
    if metadata.get("filters"):
        raise InvalidData(f"has filters ({metadata['filters']}), which are not read")
    compressor = metadata.get("compressor")
    names = () if compressor is None else (_known(compressor["id"]),)
    forward = tuple(range(axes))
    return Codecs(dtype, forward if metadata.get("order", "C") == "C" else forward[::-1], names)


def codecs_of_3(entries: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], axes: int, depth: int = 0) -> Codecs:
    """Codecs of an array of version 3 (`zarr.json`).

    Raises:
        InvalidData: it uses a codec that is not read.
    """
    order, stored = tuple(range(axes)), dtype
    compressions: list[str] = []
    shard: Mapping[str, Any] | None = None
    for entry in entries:
        name, configuration = str(entry["name"]), entry.get("configuration") or {}
        if name == "transpose":
            turned = [int(axis) for axis in configuration["order"]]
            if sorted(turned) != list(range(axes)):
                raise InvalidData(f"has the axes {turned}")
            order = tuple(order[axis] for axis in turned)
        elif name == "bytes":
            stored = dtype.newbyteorder(_ENDIAN[configuration.get("endian", "little")])
        elif name == "sharding_indexed" and depth == 0:
            shard = configuration
        else:
            compressions.append(_known(name))
    if shard is None:
        return Codecs(stored, order, tuple(compressions))
    if compressions or order != tuple(range(axes)):
        raise InvalidData("has shards that are compressed or turned as a whole, which are not read")
    return Codecs(
        stored,
        order,
        inner=tuple(int(side) for side in shard["chunk_shape"]),
        inner_codecs=codecs_of_3(shard["codecs"], dtype, axes, depth + 1),
        index_codecs=codecs_of_3(
            shard.get("index_codecs") or [{"name": "bytes"}], np.dtype("<u8"), axes + 1, depth + 1
        ),
        index_first=shard.get("index_location", "end") == "start",
    )


def _known(name: object) -> str:
    if name not in COMPRESSIONS:
        raise InvalidData(f"uses the codec '{name}', which is not read; known are {', '.join(COMPRESSIONS)}")
    return str(name)
