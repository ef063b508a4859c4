"""Stored planes of a TIFF: one page, or one channel of a stack, read by region without the rest."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UnreadableImage
from stroma.images import lzw
from stroma.images.cache import DECODED, FileKey, file_key
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.image import Box
from stroma.images.jpeg_xr import decode_jpeg_xr


@dataclass(frozen=True)
class MappedPlane:
    """Uncompressed pixels in one piece of the file.

    Attributes:
        path: The file.
        offset: First byte.
        dtype: As stored, with its byte order.
        height, width: Size in pixels.
        samples: Values a pixel.
        planar: Whether each sample is stored as an image of its own.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    height: int
    width: int
    samples: int
    planar: bool

    def read(self, box: Box) -> NDArray[Any]:
        """Read `box` as (h, w, samples) in native byte order."""
        shape = (self.height, self.width, self.samples)
        if self.planar:
            shape = (self.samples, self.height, self.width)
        with stage("read"), foreign_bytes(self.path):
            stored = np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=shape)
            image = np.moveaxis(stored, 0, 2) if self.planar else stored
            part = image[box.y : box.y + box.h, box.x : box.x + box.w]
            return np.array(part, dtype=self.dtype.newbyteorder("="), order="C")


@dataclass(frozen=True)
class SegmentedPlane:
    """Tiles or strips, each decoded by itself; only those that a region touches are read.

    Attributes:
        path: The file.
        dtype: Of the decoded pixels.
        height, width: Size in pixels.
        samples: Values a pixel.
        planar: Whether each sample has segments of its own.
        segment_height, segment_width: Size of a tile, or of a strip.
        offsets, counts: First byte and number of bytes of every segment, sample by sample, row by row.
        nodata: Value of segments that were left out.
        decode: tifffile's decoder of this page: (bytes, index) → (array, …).
    """

    path: Path
    dtype: np.dtype[Any]
    height: int
    width: int
    samples: int
    planar: bool
    segment_height: int
    segment_width: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    nodata: Any
    decode: Callable[[bytes, int], NDArray[Any]]

    def read(self, box: Box) -> NDArray[Any]:
        """Read `box` as (h, w, samples)."""
        file = file_key(self.path)
        result = np.empty((box.h, box.w, self.samples), dtype=self.dtype)
        down, across = -(-self.height // self.segment_height), -(-self.width // self.segment_width)
        last_row, last_column = (box.y + box.h - 1) // self.segment_height, (box.x + box.w - 1) // self.segment_width
        with foreign_bytes(self.path), self.path.open("rb") as handle:
            for sample in range(self.samples if self.planar else 1):
                target = result[:, :, sample : sample + 1] if self.planar else result
                for row in range(box.y // self.segment_height, last_row + 1):
                    for column in range(box.x // self.segment_width, last_column + 1):
                        index = (sample * down + row) * across + column
                        self._copy(handle, file, index, row, column, box, target)
        return result

    def _copy(
        self, handle: BinaryIO, file: FileKey, index: int, row: int, column: int, box: Box, target: NDArray[Any]
    ) -> None:
        """Copy the common part of a segment and `box` into `target`."""
        segment = Box(column * self.segment_width, row * self.segment_height, self.segment_width, self.segment_height)
        common = segment.intersect(box)
        y, x = common.y - box.y, common.x - box.x
        place = target[y : y + common.h, x : x + common.w]
        if self.counts[index] == 0:
            place[...] = self.nodata
            return
        visible = segment.intersect(Box(0, 0, self.width, self.height))
        part = (int(self.offsets[index]), index)
        pixels = DECODED.find(file, part)
        if pixels is None and common == visible:  # used whole, so hardly needed again
            pixels = self._decoded(handle, index)
        elif pixels is None:
            pixels = DECODED.get(file, part, lambda: self._decoded(handle, index))
        y, x = common.y - segment.y, common.x - segment.x
        place[...] = pixels[y : y + common.h, x : x + common.w]

    def _decoded(self, handle: BinaryIO, index: int) -> NDArray[Any]:
        with stage("read"):
            handle.seek(int(self.offsets[index]))
            data = handle.read(int(self.counts[index]))
        if len(data) < self.counts[index]:
            raise UnreadableImage("is cut: it ends before its last pixels", where=self.path)
        with stage("decode"):
            return self.decode(data, index)


Plane = MappedPlane | SegmentedPlane


def segmented_plane(path: Path, page: Any) -> SegmentedPlane:
    """Describe the page of an open TIFF so that it can be read after the file has been closed.

    Args:
        path: The file the page lies in.
        page: `tifffile.TiffPage` or `TiffFrame`.

    Raises:
        UnreadableImage: the page has depth, or its segments do not add up.
    """
    frame, size = page.keyframe, path.stat().st_size
    separate, depth, height, width, contiguous = (operator.index(length) for length in frame.shaped)
    if depth != 1:
        raise UnreadableImage("stores volumes, not planes", where=path, next_step="Export it plane by plane")
    check_plausible(path, height, width, separate * contiguous, frame.dtype.itemsize, size)
    sides = (frame.tilelength, frame.tilewidth) if frame.is_tiled else (min(frame.rowsperstrip, height), width)
    tall, wide = (operator.index(side) for side in sides)
    check_plausible(path, tall, wide, contiguous, frame.dtype.itemsize, size)
    offsets, counts = (np.array(values, dtype=np.int64) for values in (page.dataoffsets, page.databytecounts))
    needed = separate * -(-height // tall) * -(-width // wide)
    if len(offsets) < needed or len(counts) < needed or counts.min() < 0 or counts.max() > size:
        raise UnreadableImage(f"is damaged: it does not list the {needed:,} parts it declares", where=path)
    decode = frame.decode
    arguments = {}
    if frame.compression in _JPEG:
        arguments = {"jpegtables": page.jpegtables, "jpegheader": frame.jpegheader}

    stored = np.dtype(f"{frame.parent.byteorder}{frame.dtype.char}")
    by_libtiff, predictor, down = lzw.decodes(frame), frame.predictor, -(-height // tall)

    def decoded(data: bytes, index: int) -> NDArray[Any]:
        row = index // -(-width // wide) % down
        rows = tall if frame.is_tiled else min(tall, height - row * tall)
        if by_libtiff:
            return lzw.decode_segment(data, stored, (rows, wide, contiguous), predictor)
        if frame.compression in _JPEG_XR:
            return decode_jpeg_xr(data, rows, wide)
        pixels: NDArray[Any] = decode(data, index, **arguments)[0][0]
        return pixels

    return SegmentedPlane(
        path=path,
        dtype=frame.dtype,
        height=height,
        width=width,
        samples=separate * contiguous,
        planar=separate > 1,
        segment_height=tall,
        segment_width=wide,
        offsets=offsets,
        counts=counts,
        nodata=frame.nodata,
        decode=decoded,
    )


_JPEG = {
    tifffile.COMPRESSION.OJPEG,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.JPEG_LOSSY,
    tifffile.COMPRESSION.ALT_JPEG,
}
"""Compressions whose tables may be stored once for all segments."""
_JPEG_XR = {tifffile.COMPRESSION.JPEGXR, tifffile.COMPRESSION.JPEGXR_NDPI}


def mapped_plane(path: Path, level: Any, index: int) -> MappedPlane:
    """Describe plane `index` of an uncompressed series that lies in one piece.

    Args:
        path: The file.
        level: `tifffile.TiffPageSeries` with a `dataoffset`.
        index: Number of the plane.

    Raises:
        UnreadableImage: the file ends before the plane does.
    """
    frame = level.keyframe
    separate, depth, height, width, contiguous = (operator.index(length) for length in frame.shaped)
    if depth != 1:
        raise UnreadableImage("stores volumes, not planes", where=path, next_step="Export it plane by plane")
    dtype = np.dtype(f"{frame.parent.byteorder}{frame.dtype.char}")
    plane_bytes = separate * height * width * contiguous * dtype.itemsize
    offset = level.dataoffset + index * plane_bytes
    if offset < 0 or offset + plane_bytes > path.stat().st_size:
        raise UnreadableImage("is cut: it ends before its last pixels", where=path)
    return MappedPlane(path, offset, dtype, height, width, separate * contiguous, separate > 1)
