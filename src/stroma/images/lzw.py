"""TIFF's LZW through libtiff, since the decoder of imagecodecs can crash the process on damaged data."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

_LZW = 5
_SHORT, _LONG = 3, 4


def decodes(frame: Any) -> bool:
    """Whether `decode_segment` can decode the segments of a page (`tifffile.TiffPage`)."""
    is_plain = frame.bitspersample in (8, 16, 32, 64) and frame.fillorder == 1 and frame.predictor in (1, 2)
    return bool(frame.compression == _LZW and is_plain)


def decode_segment(data: bytes, stored: np.dtype[Any], shape: tuple[int, int, int], predictor: int) -> NDArray[Any]:
    """Decode a strip or tile.

    Args:
        data: Its bytes.
        stored: Type of its values, with the byte order of the file.
        shape: (rows, columns, samples).
        predictor: 1 for none, 2 for differences along rows (TIFF 6.0, 1992, section 14).

    Returns:
        Array of `shape` in native byte order.

    Raises:
        OSError: the data are damaged.
    """
    rows, columns, samples = shape
    with TiffImagePlugin.TiffImageFile(
        io.BytesIO(_as_file(data, rows, columns * samples * stored.itemsize))
    ) as strip:
        raw = strip.tobytes()
    values = np.frombuffer(raw, stored).reshape(shape).astype(stored.newbyteorder("="))
    if predictor == 2:
        imagecodecs.delta_decode(values, axis=-2, out=values)
    return values


def _as_file(data: bytes, rows: int, row_bytes: int) -> bytes:
    """A TIFF of one strip of 8-bit gray, in which the rows of the segment stand as bytes."""
    tags = (
        (256, _LONG, row_bytes),  # width
        (257, _LONG, rows),  # length
        (258, _SHORT, 8),  # bits a sample
        (259, _SHORT, _LZW),  # compression
        (262, _SHORT, 1),  # black is zero
        (273, _LONG, 8),  # offset of the strip
        (277, _SHORT, 1),  # samples a pixel
        (278, _LONG, rows),  # rows of the strip
        (279, _LONG, len(data)),  # bytes of the strip
    )
    padded = data + b"\0" * (len(data) % 2)
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(padded))
    return header + padded + struct.pack("<H", len(tags)) + directory + bytes(4)
