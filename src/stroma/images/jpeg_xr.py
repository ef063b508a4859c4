"""JPEG XR: what its decoder must not be given. It takes sizes and places in a damaged file at their word."""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_FORMAT, _WIDTH, _HEIGHT, _OFFSET, _COUNT = 0xBC01, 0xBC80, 0xBC81, 0xBCC0, 0xBCC1
_FORMAT_BYTES = 16
_MARK = b"WMPHOTO\0"
_FORMATS = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
_GREY, _RGB = 0, 7
_KINDS = {8: (_GREY, 1), 11: (_GREY, 2), 17: (_GREY, 7), 12: (_RGB, 1), 13: (_RGB, 1), 21: (_RGB, 2)}
"""Last byte of the pixel format (table A.6) → colours and depth (8.3.17, 8.3.18) that the codestream must have.

The decoder makes room for the one and writes the other.
"""
_INSIDE = {_GREY: (0,), _RGB: (1, 2, 3)}  # formats within the codestream (8.4.2)


def decode_jpeg_xr(data: bytes, height: int, width: int) -> NDArray[Any]:
    """Decode a JPEG XR file (ITU-T T.832, annex A) after its directory was found to be sound.

    Args:
        data: The file.
        height: Rows it has to have.
        width: Columns it has to have.

    Returns:
        (height, width, samples) of any type; colours as red, green, blue.

    Raises:
        ValueError: the directory is damaged, or the picture has another size.
    """
    _check(data, height, width)
    pixels = np.asarray(imagecodecs.jpegxr_decode(data))
    if pixels.shape[:2] != (height, width):
        raise ValueError(f"the JPEG XR picture has {pixels.shape[1]} × {pixels.shape[0]} pixels")
    return pixels.reshape(height, width, -1)


def _check(data: bytes, height: int, width: int) -> None:
    if data[:3] != b"II\xbc" or len(data) < 8:
        raise ValueError("no JPEG XR picture")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    found: dict[int, int] = {}
    for number in range(count):
        tag, kind, _, value = struct.unpack_from("<HHII", data, start + 2 + 12 * number)
        if tag in found:
            raise ValueError(f"the directory of a JPEG XR picture holds the tag {tag} twice")
        found[tag] = value & 0xFFFF if kind == 3 else value
    if (found.get(_HEIGHT), found.get(_WIDTH)) != (height, width):
        raise ValueError("a JPEG XR picture has another size than it should")
    first, length = found.get(_OFFSET, 0), found.get(_COUNT, 0)
    if found.get(_FORMAT, len(data)) + _FORMAT_BYTES > len(data) or not 0 < length <= len(data) - first:
        raise ValueError("the parts of a JPEG XR picture lie outside it")
    name = data[found[_FORMAT] : found[_FORMAT] + _FORMAT_BYTES]
    if name[:-1] != _FORMATS or name[-1] not in _KINDS:
        raise ValueError("a JPEG XR picture has pixels of a type that is not read")
    _check_codestream(data[first : first + length], height, width, _KINDS[name[-1]])


def _check_codestream(data: bytes, height: int, width: int, kind: tuple[int, int]) -> None:
    """The image header (8.3): size and kind of pixels there count for the decoder too."""
    if not data.startswith(_MARK) or len(data) < 20:
        raise ValueError("no JPEG XR codestream")
    short_sizes, extra = bool(data[10] & 0x80), 12
    stored = struct.unpack_from(">HH" if short_sizes else ">II", data, extra)
    if stored != (width - 1, height - 1):
        raise ValueError("the codestream of a JPEG XR picture has another size than it should")
    tiles, window = data[9] & 0x80, data[10] & 0x20
    plane = extra + (4 if short_sizes else 8)
    inside = None if tiles or window else data[plane] >> 5
    if (data[11] >> 4, data[11] & 15) != kind or not (inside is None or inside in _INSIDE[kind[0]]):
        raise ValueError("the codestream of a JPEG XR picture has pixels of another type than its directory says")
