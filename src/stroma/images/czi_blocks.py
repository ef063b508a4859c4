"""The pieces of a ZEISS CZI file (ZISRAW): where each lies in the image and in the file, and how it is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UnreadableImage
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.jpeg_xr import decode_jpeg_xr

MAGIC = b"ZISRAWFILE"
_SEGMENT = struct.Struct("<16sqq")
_FILE_HEADER = struct.Struct("<iiii16s16siqqiq")
_ENTRY = struct.Struct("<2siqiiB5si")
_DIMENSION = struct.Struct("<4siifi")
_BLOCK_SIZES = struct.Struct("<iiq")
_FIRST_DATA = 256  # metadata and pixels begin here, or later where the entry is longer
_MOST_BLOCKS = 5_000_000
_MOST_DIMENSIONS = 40
_LARGEST_METADATA = 256 * 2**20
_PIXELS: dict[int, tuple[str, int]] = {
    0: ("<u1", 1),
    1: ("<u2", 1),
    2: ("<f4", 1),
    3: ("<u1", 3),
    4: ("<u2", 3),
    9: ("<u1", 4),
}
"""Pixel type → type of a sample and samples a pixel; colours are stored blue first."""
_UNCOMPRESSED, _JPEG, _JPEG_XR, _ZSTD_0, _ZSTD_1 = 0, 1, 4, 5, 6
_FIELDS = ("x", "y", "w", "h", "stored_w", "stored_h", "m", "s", "c", "z", "t", "pixels", "packing", "position")
_DAMAGE = (imagecodecs.ZstdError, imagecodecs.JpegxrError, imagecodecs.Jpeg8Error)


@dataclass(frozen=True)
class Blocks:
    """The directory of a CZI file.

    Attributes:
        path: The file.
        table: One row a block, columns `_FIELDS`: its place in pixels of the finest level, its stored size, its
            number in the mosaic (later ones lie above), scene, channel, z and t, how it is stored, and where.
        metadata: XML text; empty without.
    """

    path: Path
    table: NDArray[np.int64]
    metadata: str

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of the table."""
        return self.table[:, _FIELDS.index(name)]

    def kept(self, rows: NDArray[np.bool_]) -> Blocks:
        """Some of the blocks."""
        return Blocks(self.path, self.table[rows], self.metadata)

    def read(self, handle: BinaryIO, row: int) -> NDArray[Any]:
        """Decode a block: (stored_h, stored_w, samples), colours as red, green, blue.

        Raises:
            UnreadableImage: the file is damaged there, or packed in a way that is not read.
        """
        entry = dict(zip(_FIELDS, self.table[row].tolist(), strict=True))
        with foreign_bytes(self.path, *_DAMAGE):
            with stage("read"):
                data = _block_data(handle, entry["position"], self.path)
            shape = (entry["stored_h"], entry["stored_w"], _PIXELS[entry["pixels"]][1])
            with stage("decode"):
                return _decode(data, entry["packing"], np.dtype(_PIXELS[entry["pixels"]][0]), shape, self.path)


def read_blocks(path: Path) -> Blocks:
    """Read the directory and the metadata of a CZI file.

    Raises:
        UnreadableImage: it is no CZI file, is damaged, is one of several files, or has pixels that are not read.
    """
    with foreign_bytes(path), path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(0)
        name, _, _ = _SEGMENT.unpack(handle.read(_SEGMENT.size))
        if not name.startswith(MAGIC):
            raise UnreadableImage("is no CZI file", where=path)
        header = _FILE_HEADER.unpack(handle.read(_FILE_HEADER.size))
        part, directory, metadata = header[6], header[7], header[8]
        if part:
            raise UnreadableImage("is one part of a slide of several files, which are not read", where=path)
        rows = _directory(handle, directory, size, path)
        text = _metadata(handle, metadata, size) if metadata else ""
    if not rows:
        raise UnreadableImage("holds no pixels", where=path)
    table = np.array(rows, dtype=np.int64)
    blocks = Blocks(path, table, text)
    _check(blocks, size)
    return blocks


def _directory(handle: BinaryIO, position: int, size: int, path: Path) -> list[list[int]]:
    _seek_segment(handle, position, b"ZISRAWDIRECTORY", size, path)
    (count,) = struct.unpack("<i", handle.read(4))
    if not 0 <= count <= min(_MOST_BLOCKS, size // _ENTRY.size):
        raise UnreadableImage(f"is damaged: it declares {count:,} pieces", where=path)
    handle.seek(124, 1)
    return [_entry(handle, path) for _ in range(count)]


def _entry(handle: BinaryIO, path: Path) -> list[int]:
    schema, pixels, position, part, packing, _, _, count = _ENTRY.unpack(handle.read(_ENTRY.size))
    if schema != b"DV" or part or not 0 < count <= _MOST_DIMENSIONS:
        raise UnreadableImage("is damaged: its directory holds something else than pieces", where=path)
    found = {"M": (0, 1, 1), "S": (-1, 1, 1), "C": (0, 1, 1), "Z": (0, 1, 1), "T": (0, 1, 1)}
    for name, start, length, _, stored in _DIMENSION.iter_unpack(handle.read(_DIMENSION.size * count)):
        axis = name.rstrip(b"\0").decode("ascii")
        found[axis] = (start, length, stored)
        if start and axis not in "XYMSCZT":
            raise UnreadableImage(f"has several images along {axis}, which are not read", where=path)
    (x, w, stored_w), (y, h, stored_h) = found["X"], found["Y"]
    order = [found[axis][0] for axis in "MSCZT"]
    return [x, y, w, h, stored_w or w, stored_h or h, *order, pixels, packing, position]


def _check(blocks: Blocks, size: int) -> None:
    sides = [blocks.column(name) for name in ("w", "h", "stored_w", "stored_h")]
    if any(side.min() < 1 for side in sides) or blocks.column("position").min() < 1:
        raise UnreadableImage("is damaged: it holds pieces without pixels", where=blocks.path)
    kinds = set(blocks.column("pixels").tolist())
    if not kinds <= set(_PIXELS):
        raise UnreadableImage(
            f"holds pixels of type {min(kinds - set(_PIXELS))}, which are not read", where=blocks.path
        )
    largest = int((sides[2] * sides[3]).argmax())
    tall, wide = int(sides[3][largest]), int(sides[2][largest])
    check_plausible(blocks.path, tall, wide, 4, 4, size)


def _seek_segment(handle: BinaryIO, position: int, name: bytes, size: int, path: Path) -> None:
    if not 0 < position <= size - _SEGMENT.size:
        raise UnreadableImage("is cut: it ends before its directory", where=path)
    handle.seek(position)
    found, _, _ = _SEGMENT.unpack(handle.read(_SEGMENT.size))
    if found.rstrip(b"\0") != name:
        raise UnreadableImage(f"is damaged: {name.decode()} is not where its header says", where=path)


def _metadata(handle: BinaryIO, position: int, size: int) -> str:
    handle.seek(position + _SEGMENT.size)
    (length,) = struct.unpack("<i", handle.read(4))
    if not 0 <= length <= min(_LARGEST_METADATA, size):
        return ""
    handle.seek(position + _SEGMENT.size + 256)
    return handle.read(length).decode("utf-8", "replace").strip("\0 \r\n\t\ufeff")


def _block_data(handle: BinaryIO, position: int, path: Path) -> bytes:
    handle.seek(position)
    name, _, _ = _SEGMENT.unpack(handle.read(_SEGMENT.size))
    if name.rstrip(b"\0") != b"ZISRAWSUBBLOCK":
        raise UnreadableImage("is damaged: a piece is not where the directory says", where=path)
    about, _, length = _BLOCK_SIZES.unpack(handle.read(_BLOCK_SIZES.size))
    dimensions = _ENTRY.unpack(handle.read(_ENTRY.size))[-1]
    entry = _BLOCK_SIZES.size + _ENTRY.size + _DIMENSION.size * dimensions
    handle.seek(position + _SEGMENT.size + max(_FIRST_DATA, entry) + about)
    data = handle.read(max(0, length))
    if len(data) < length:
        raise UnreadableImage("is cut: it ends before its last pixels", where=path)
    return data


def _decode(data: bytes, packing: int, dtype: np.dtype[Any], shape: tuple[int, int, int], path: Path) -> NDArray[Any]:
    if packing == _JPEG_XR:
        return _in_shape(decode_jpeg_xr(data, shape[0], shape[1]), dtype, shape, path)
    if packing == _JPEG:
        pixels = np.asarray(imagecodecs.jpeg8_decode(data))
        return _in_shape(pixels.reshape(*pixels.shape[:2], -1), dtype, shape, path)
    count = shape[0] * shape[1] * shape[2] * dtype.itemsize
    halves = False
    if packing == _ZSTD_1:
        head = data[0]
        halves = head == 3 and data[1] == 1 and bool(data[2] & 1)
        data = data[head:]
    if packing in (_ZSTD_0, _ZSTD_1):
        data = bytes(imagecodecs.zstd_decode(data, out=count))
    elif packing != _UNCOMPRESSED:
        raise UnreadableImage(f"is packed in a way (number {packing}) that is not read", where=path)
    stored = np.frombuffer(data, dtype=np.uint8, count=count)
    if halves:  # the low bytes of all samples, then the high ones
        stored = np.ascontiguousarray(stored.reshape(2, -1).T).ravel()
    pixels = stored.view(dtype).reshape(shape)
    return pixels[:, :, 2::-1] if shape[2] >= 3 else pixels


def _in_shape(pixels: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, int, int], path: Path) -> NDArray[Any]:
    pixels = pixels[:, :, :3]
    if pixels.dtype != dtype or pixels.shape != (shape[0], shape[1], min(3, shape[2])):
        raise UnreadableImage("is damaged: a piece has another size or type than the directory says", where=path)
    return pixels
