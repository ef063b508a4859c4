"""Tiled TIFFs between OpenSlide and us: whose they are, and which tiles we decode as OpenSlide would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stroma.images.guard import foreign_bytes
from stroma.images.planes import Plane, segmented_plane
from stroma.images.tiff_colours import is_rgb, is_ycbcr

_SAME_AS_OPENSLIDE = {
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
}


_OPENSLIDE_UNPACKS = _SAME_AS_OPENSLIDE | {
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.ZSTD,
    tifffile.COMPRESSION.APERIO_JP2000_RGB,
    tifffile.COMPRESSION.APERIO_JP2000_YCBC,
}


def is_for_tiff_reader(path: Path) -> bool:
    """Whether a tiled TIFF is more than OpenSlide would show of it: not plain 8-bit RGB, or OME or ImageJ data."""
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        frame = tiff.pages.first
        return bool(tiff.is_ome or tiff.is_imagej or frame.dtype != np.uint8 or not is_rgb(frame))


def packed_otherwise(path: Path) -> bool:
    """Whether the pixels of a TIFF are packed in a way that OpenSlide never unpacks and we do."""
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.compression not in _OPENSLIDE_UNPACKS


def slide_planes(path: Path, sizes: Sequence[tuple[int, int]]) -> tuple[Plane, ...] | None:
    """The tiles of a slide, level by level, where decoding them ourselves gives what OpenSlide gives.

    That is so for complete 8-bit RGB tiles packed by JPEG or without loss; it is several times faster, and exact
    on levels whose downsample is no whole number.

    Args:
        path: An Aperio or generic TIFF slide.
        sizes: (height, width) of the levels, as OpenSlide sees them.

    Returns:
        One plane a level, or None where OpenSlide has to read.

    Raises:
        UnreadableImage: the file is damaged.
    """
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        planes = tuple(segmented_plane(path, level.pages[0]) for level in levels)
        same_sizes = [level.shape for level in levels] == [(*size, 3) for size in sizes]
        frames = [level.keyframe for level in levels]
        same_pixels = all(_is_same(frame) for frame in frames)
    is_plain = all(plane.dtype == np.uint8 and not plane.planar and plane.counts.min() > 0 for plane in planes)
    return planes if same_sizes and same_pixels and is_plain else None


def _is_same(frame: Any) -> bool:
    """Whether tifffile's decoder gives the pixels of a page that OpenSlide shows."""
    return frame.compression in _SAME_AS_OPENSLIDE and is_rgb(frame) and not is_ycbcr(frame)
