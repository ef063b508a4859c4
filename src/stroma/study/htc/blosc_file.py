"""Writing `.blosc` files as htc does, for users who go on with it; `stroma.images.htc_blosc` reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.files import atomic_path

_MAX_BYTES = 2_147_483_631
"""The longest buffer of the Blosc-1 format."""
_LEVEL = 5
"""htc itself writes with level 9, which takes 20 to 80 times as long and saves 3 % of a cube."""

_NATIVE = {1: "u1", 2: "u2", 4: "u4", 8: "u8", 16: "c16"}


def write_htc_blosc(path: Path | str, content: NDArray[Any] | Mapping[Any, NDArray[Any]]) -> Path:
    """Write an array, or a table of arrays, so that htc reads it.

    The file is a pickled header (protocol 4, spelled out here: shapes, data types, lengths) and, for each array,
    one Blosc-1 frame (zstd, byte shuffle).

    Args:
        path: The file; written atomically. The same content gives the same bytes.
        content: Numbers or booleans of up to 2 GiB an array; a single number becomes shape (1,).

    Raises:
        InvalidData: an array holds other things than numbers, or is too large.
    """
    path = Path(path)
    is_table = isinstance(content, Mapping)
    entries = dict(content) if isinstance(content, Mapping) else {"": content}
    arrays = {key: np.ascontiguousarray(value) for key, value in entries.items()}
    for key, array in arrays.items():
        named = f"'{key}'" if is_table else "the array"
        if array.dtype.kind not in "biufc" or array.itemsize not in _NATIVE:
            raise InvalidData(f"{named} holds {array.dtype}, which are no numbers", where=path)
        if array.nbytes > _MAX_BYTES:
            raise InvalidData(f"{named} has {array.nbytes:,} bytes, the format allows {_MAX_BYTES:,}", where=path)
    with stage("write"), atomic_path(path) as temporary, temporary.open("wb") as handle:
        frames = {key: _frame(array) for key, array in arrays.items()}
        if is_table:
            pairs = [_value(key) + _entry(array, len(frames[key])) for key, array in arrays.items()]
            body = b"}(" + b"".join(pairs) + b"u" if pairs else b"}"
        else:
            body = _entry(arrays[""])
        handle.write(_framed(body + b"."))
        for frame in frames.values():
            handle.write(frame)
    return path


def _frame(array: NDArray[Any]) -> bytes:
    # the encoder takes the size of an item from the array itself, and cannot take an empty one
    items: Any = array.reshape(-1).view(_NATIVE[array.itemsize]) if array.size else b""
    return bytes(imagecodecs.blosc_encode(items, level=_LEVEL, compressor="zstd", shuffle="shuffle"))


def _framed(body: bytes) -> bytes:
    """PROTO 4 and FRAME, as Python writes them."""
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def _entry(array: NDArray[Any], frame_bytes: int | None = None) -> bytes:
    """`(shape, dtype)`, or `(shape, dtype, frame_bytes)`."""
    shape = b"(" + b"".join(map(_value, array.shape)) + b"t"
    dtype = _dtype(array.dtype)
    if frame_bytes is None:
        return shape + dtype + b"\x86"
    return shape + dtype + _value(frame_bytes) + b"\x87"


def _dtype(dtype: np.dtype[Any]) -> bytes:
    """The call `numpy.dtype(text, False, True)` and its state with the byte order."""
    made = _value("numpy") + _value("dtype") + b"\x93" + _value(dtype.str[1:]) + b"\x89\x88\x87R"
    state = b"(" + _value(3) + _value(dtype.str[0]) + b"NNN" + _value(-1) * 2 + _value(0) + b"tb"
    return made + state


def _value(value: str | int) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if 0 <= value < 256:
        return b"K" + struct.pack("<B", value)
    return b"J" + struct.pack("<i", value)
