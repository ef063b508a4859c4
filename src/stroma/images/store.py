"""Stores: one Blosc2 array a file (`.b2nd`), made once from an image so that samples are read fast."""

from __future__ import annotations

import json
import math
import mmap
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.errors import InvalidData, UnreadableImage
from stroma.core.files import canonical_json, write_bytes
from stroma.core.provenance import Provenance, check_format
from stroma.images.image import Box, Image, Level

STORE_FORMAT = "store/1"
_META = "stroma"
_BLOCK = (16, 64)
_BLOCK_BYTES = 128 * 1024
_CHUNK_BYTES = 64 * 1024 * 1024
_MAKE = "Make stores with: stroma prepare STUDY -o FOLDER"
_HEADER_BYTES = 47
_CHUNK_START = 4096  # bytes of a chunk that hold its header and the offsets of its blocks
_CHECK = struct.Struct("<I")
_MAGIC = b"\x9e\xa8b2frame\0\xd2"
_DTYPES = ("uint8", "uint16", "int32", "float16", "float32")


def store_grid(shape: tuple[int, int, int], itemsize: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Chunks and blocks of a store: strips for whole images, of small boxes for patches; never split by channel.

    A cube of 480 × 640 × 100 float16 gets chunks (32, 640, 100) and blocks (16, 64, 100). Images of fewer channels
    get larger boxes, so that a block has at least 128 KiB.

    Args:
        shape: (height, width, channels).
        itemsize: Bytes of a value.

    Returns:
        (chunks, blocks).
    """
    height, width, channels = shape
    rows, columns = _BLOCK
    while rows * columns * channels * itemsize < _BLOCK_BYTES and (rows < height or columns < width):
        rows, columns = rows * 2, columns * 2
    block = (min(rows, height), min(columns, width), channels)
    strip = max(1, _CHUNK_BYTES // (2 * block[0] * block[1] * channels * itemsize))
    return (min(2 * rows, height), min(strip * block[1], width), channels), block


def write_store(
    path: Path | str,
    pixels: NDArray[Any],
    provenance: Provenance,
    *,
    channels: Sequence[str],
    wavelengths_nm: NDArray[np.float64] | None = None,
    mpp: float | None = None,
    prepared: Sequence[Component] = (),
) -> Path:
    """Write a store; equal arguments give equal bytes.

    Args:
        path: The file, ending in `.b2nd`; written atomically.
        pixels: (height, width, channels) of uint8, uint16, int32, float16 or float32.
        provenance: What it is made from and with.
        channels: Names of the channels.
        wavelengths_nm: Centre wavelength of each channel.
        mpp: Size of a pixel in µm.
        prepared: Steps of a `Preparation` that the pixels have already gone through.

    Returns:
        `path`.

    Raises:
        InvalidData: `pixels` is no image, or of another type.
    """
    import blosc2

    path = Path(path)
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype.name not in _DTYPES:
        raise InvalidData(
            f"an array of shape {pixels.shape} and type {pixels.dtype} cannot be stored",
            where=path,
            next_step=f"Give (height, width, channels) of {', '.join(_DTYPES)}",
        )
    count = pixels.shape[2]
    if len(channels) != count or (wavelengths_nm is not None and len(wavelengths_nm) != count):
        raise InvalidData(f"{count} channels do not have {len(channels)} names, or wavelengths", where=path)
    content = {
        **provenance.to_dict(),
        "format": STORE_FORMAT,
        "channels": list(channels),
        "wavelengths_nm": None if wavelengths_nm is None else [float(value) for value in wavelengths_nm],
        "mpp": mpp,
        "prepared": [step.model_dump(mode="json") for step in prepared],
    }
    chunks, blocks = store_grid(pixels.shape, pixels.dtype.itemsize)
    with stage("write"):
        parameters = blosc2.CParams(
            codec=blosc2.Codec.LZ4,
            clevel=5,
            filters=[blosc2.Filter.BITSHUFFLE],
            nthreads=1,  # several threads would leave blocks in the order in which they finish
        )
        array = blosc2.asarray(np.ascontiguousarray(pixels), chunks=chunks, blocks=blocks, cparams=parameters)
        array.schunk.vlmeta[_META] = canonical_json(content)
        frame = array.schunk.to_cframe()
        return write_bytes(path, frame + _CHECK.pack(_structure_sum(frame)))


class StoreImage(Image):
    """A store as an Image.

    Args:
        path: The `.b2nd` file.

    Attributes:
        provenance: What it was made from and with.

    Raises:
        UnreadableImage: the file is cut off, damaged, or a Blosc2 file of something else.
        NewerFormat: it was written by a newer Stroma.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".b2nd",)

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._array: Any = None
        array = self._open()
        content = self._content(array)
        check_format(str(content.get("format", "")), STORE_FORMAT, where=self.path)
        height, width, count = (int(side) for side in array.shape)
        self.levels = (Level(height, width, 1.0),)
        self.dtype = np.dtype(array.dtype)
        self.provenance = Provenance.from_dict(content, where=self.path)
        try:
            nm = content["wavelengths_nm"]
            self.channels = tuple(str(name) for name in content["channels"])
            self.wavelengths_nm = None if nm is None else np.array(nm, dtype=np.float64)
            self.mpp = None if content["mpp"] is None else float(content["mpp"])
            self.prepared = tuple(Component.model_validate(step) for step in content["prepared"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableImage(f"is a store with a damaged description ({error})", where=self.path) from error
        if len(self.channels) != count:
            raise UnreadableImage(f"has {count} channels and {len(self.channels)} names", where=self.path)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is named like a store."""
        return path.is_file() and path.suffix.lower() == ".b2nd"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def close(self) -> None:
        """Release the file; reading afterwards opens it again."""
        self._array = None

    def _open(self) -> Any:
        if self._array is None:
            import blosc2

            _check_structure(self.path)
            try:
                array = blosc2.open(str(self.path), mode="r", mmap_mode="r")
            except (RuntimeError, ValueError, OSError, TypeError, KeyError) as error:
                raise self._damaged(error) from error
            if not isinstance(array, blosc2.NDArray) or array.ndim != 3 or math.prod(array.shape) == 0:
                raise UnreadableImage("is a Blosc2 file, but no image (height, width, channels)", where=self.path)
            self._array = array
        return self._array

    def _content(self, array: Any) -> dict[str, Any]:
        try:
            content = json.loads(array.schunk.vlmeta[_META])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UnreadableImage(
                "is a Blosc2 array without a description by Stroma",
                where=self.path,
                next_step=_MAKE,
            ) from error
        if not isinstance(content, dict):
            raise UnreadableImage("is a store with a damaged description", where=self.path)
        return content

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        array = self._open()
        with stage("read"):
            try:
                part: NDArray[Any] = array[box.y : box.y + box.h, box.x : box.x + box.w]
            except (RuntimeError, ValueError, OSError) as error:
                raise self._damaged(error) from error
        return part if channels is None else np.ascontiguousarray(part[:, :, channels])

    def read_into(self, out: NDArray[Any], x: int = 0, y: int = 0) -> None:
        """Read the box at (x, y) straight into an array, without a copy where both allow it.

        Args:
            out: (h, w, C) of the store's dtype; what lies outside the image becomes `fill`.
            x: Left column of the box.
            y: Top row of the box.

        Raises:
            UnreadableImage: the store is damaged.
        """
        h, w = out.shape[:2]
        inner = self.inside(x, y, w, h)
        if (inner.w, inner.h) != (w, h) or not out.flags.c_contiguous or out.dtype != self.dtype:
            out[:] = self.read(x, y, w, h)
            return
        array = self._open()
        with stage("read"):
            try:
                array.get_slice_numpy(out, ((y, x, 0), (y + h, x + w, out.shape[2])))
            except (RuntimeError, ValueError, OSError) as error:
                raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UnreadableImage:
        return UnreadableImage(
            f"is damaged ({error})",
            where=self.path,
            next_step="Make it again: stroma prepare STUDY -o FOLDER --verify",
        )


def _check_structure(path: Path) -> None:
    """Compare length and check sum of a store before Blosc2 sees it, whose C code trusts lengths and offsets.

    The sum covers the header, the beginning of each chunk, the index and the description, not the compressed values:
    those cannot lead astray, and to sum them would take longer than to read a patch.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        header = handle.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise UnreadableImage(f"is no Blosc2 file ({size:,} bytes)", where=path)
    stated = int.from_bytes(header[16:24], "big")
    next_step = "Make it again: stroma prepare STUDY -o FOLDER --verify"
    if size < stated:
        raise UnreadableImage(
            f"is {size:,} bytes and states {stated:,}: it was cut off", where=path, next_step=next_step
        )
    if size == stated:
        raise UnreadableImage("is a Blosc2 array, but no store of Stroma", where=path, next_step=_MAKE)
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        ending = content[stated:]
        if len(ending) != _CHECK.size or _CHECK.unpack(ending)[0] != _structure_sum(content, stated):
            raise UnreadableImage("is damaged: its check sum differs", where=path, next_step=next_step)


def _structure_sum(content: bytes | mmap.mmap, length: int | None = None) -> int:
    """CRC-32 of all of a Blosc2 frame but the compressed values."""
    end = len(content) if length is None else length
    position = int.from_bytes(content[11:15], "big")
    values_end = position + int.from_bytes(content[39:47], "big")
    total = zlib.crc32(content[:position])
    while position < min(values_end, end):
        total = zlib.crc32(content[position : min(position + _CHUNK_START, values_end)], total)
        position += max(32, int.from_bytes(content[position + 12 : position + 16], "little"))
    return zlib.crc32(content[min(values_end, end) : end], total)
