"""Decoding one array of numbers from a MATLAB 5 file; SciPy's reader ends the process on some damaged files."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_SLACK_BYTES = 4096
_COMPLEX = 0x0800
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Codes of stored types → NumPy's."""


def read_matlab_array(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the values of a variable as they are stored, which may be in a smaller type than the variable's.

    Raises:
        UnreadableImage: it is not there with this shape, or is damaged.
        ValueError, OSError, zlib.error: damage that the caller words.
    """
    for parts in _matrices(path, 8 * math.prod(shape) + _SLACK_BYTES):
        found = _numbers(parts, name, shape)
        if found is not None:
            return found
    raise UnreadableImage(f"is damaged or not of version 5 to 7: '{name}' cannot be found again", where=path)


def is_complex(path: Path, name: str) -> bool:
    """Whether a variable has an imaginary part; only the beginnings of the file's variables are read.

    Raises:
        ValueError, OSError, zlib.error: damage that the caller words.
    """
    for parts in _matrices(path, _SLACK_BYTES):
        if len(parts.found) > 2 and parts.found[2][1] == name.encode("latin-1", "replace"):
            flags = np.frombuffer(parts.found[0][1][:4], dtype=f"{parts.order}u4")
            return bool(flags[0] & _COMPLEX)
    return False


@dataclass(frozen=True)
class _Matrix:
    """The first parts of a stored variable (flags, sizes, name, real values): code of the type and bytes."""

    order: str
    found: list[tuple[int, bytes]]


def _matrices(path: Path, largest: int) -> Iterator[_Matrix]:
    """The variables of a file, up to `largest` bytes of each."""
    with path.open("rb") as handle:
        handle.seek(_HEADER_BYTES - 2)
        order = {b"IM": "<", b"MI": ">"}.get(handle.read(2))
        while order and (tag := handle.read(8)):
            kind, size = (int(value) for value in np.frombuffer(tag, dtype=f"{order}u4"))
            following = handle.tell() + size
            body = _matrix_body(handle, kind, size, largest, order)
            if body is not None:
                yield _Matrix(order, _parts(body, order))
            handle.seek(following)


def _matrix_body(handle: BinaryIO, kind: int, size: int, largest: int, order: str) -> bytes | None:
    if kind == _MATRIX:
        return handle.read(min(size, largest))
    if kind != _COMPRESSED:
        return None
    content = zlib.decompressobj().decompress(handle.read(size), largest)
    inner = int.from_bytes(content[:4], "little" if order == "<" else "big")
    return content[8:] if inner == _MATRIX else None


def _parts(body: bytes, order: str) -> list[tuple[int, bytes]]:
    parts: list[tuple[int, bytes]] = []
    at = 0
    while len(parts) < 4 and at + 8 <= len(body):
        first, size = (int(value) for value in np.frombuffer(body, dtype=f"{order}u4", count=2, offset=at))
        if first >> 16:  # up to four bytes, in the tag itself
            kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            kind, start = first, at + 8
            end = start + -(-size // 8) * 8
        parts.append((kind, body[start : start + size]))
        at = end
    return parts


def _numbers(matrix: _Matrix, name: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The array, if it is called `name` and has this shape."""
    parts, order = matrix.found, matrix.order
    if len(parts) < 4 or parts[2][1] != name.encode("latin-1", "replace"):
        return None
    dims = np.frombuffer(parts[1][1], dtype=f"{order}i4")
    if tuple(int(size) for size in dims) != shape or parts[3][0] not in _TYPES:
        return None
    values = np.frombuffer(parts[3][1], dtype=order + _TYPES[parts[3][0]])
    return values.reshape(shape, order="F")
