"""How the stored samples of a TIFF become the channels of an Image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage
from stroma.images.colour import over_white, rgb_from_ycbcr, through_palette, white_of

_PHOTOMETRIC, _COMPRESSION = tifffile.PHOTOMETRIC, tifffile.COMPRESSION
_AS_RGB = "Export it as RGB"


@dataclass(frozen=True)
class Colours:
    """How stored samples become channels.

    Attributes:
        kind: What has to be done.
        palette: (n, 3) colours, for `palette`.
        premultiplied: Whether colours were multiplied by their opacity, for `over white`.
        inverted: Whether 0 is white.
    """

    kind: Literal["plain", "palette", "bilevel", "over white", "ycbcr"]
    palette: NDArray[np.uint8] | None = None
    premultiplied: bool = False
    inverted: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether samples are channels as they are."""
        return self.kind == "plain" and not self.inverted

    def shown(self, dtype: np.dtype[Any], samples: int) -> tuple[np.dtype[Any], int]:
        """Type and number of the channels that `apply` makes of so many samples a pixel."""
        if self.kind == "palette":
            return np.dtype(np.uint8), 3
        if self.kind == "bilevel":
            return np.dtype(np.uint8), samples
        return dtype.newbyteorder("="), samples - 1 if self.kind == "over white" else samples

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Make (h, w, channels) of (h, w, samples)."""
        if self.palette is not None:
            return through_palette(pixels[:, :, 0], self.palette)
        if self.kind == "over white":
            return over_white(pixels[:, :, :-1], pixels[:, :, -1], premultiplied=self.premultiplied)
        if self.kind == "ycbcr":
            return rgb_from_ycbcr(pixels)
        if self.kind == "bilevel":
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        return white_of(pixels.dtype) - pixels if self.inverted else pixels


_BECOMES_RGB = {
    _COMPRESSION.JPEG,
    _COMPRESSION.OJPEG,
    _COMPRESSION.JPEG_LOSSY,
    _COMPRESSION.ALT_JPEG,
    _COMPRESSION.JPEGXR,
    _COMPRESSION.JPEGXR_NDPI,
    _COMPRESSION.JPEGXL,
    _COMPRESSION.JPEGXL_DNG,
    _COMPRESSION.WEBP,
}
"""Compressions whose decoders give RGB where the page says YCbCr."""


def is_ycbcr(frame: Any) -> bool:
    """Whether the decoded samples of a page (`tifffile.TiffPage`) are luma and differences of colour."""
    if frame.compression == _COMPRESSION.APERIO_JP2000_YCBC:  # whatever its page says
        return True
    return frame.photometric == _PHOTOMETRIC.YCBCR and frame.compression not in _BECOMES_RGB


def is_rgb(frame: Any) -> bool:
    """Whether a page (`tifffile.TiffPage`) holds RGB, perhaps as YCbCr, perhaps with more samples."""
    return frame.photometric in (_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR) and frame.samplesperpixel >= 3


def colours_of(path: Path, tiff: Any, frame: Any, planes: int) -> Colours:
    """Find out how the samples of a series become channels.

    Args:
        path: The file, for the message.
        tiff: An open `tifffile.TiffFile`.
        frame: Its first page of the series.
        planes: Number of pages that are channels.

    Raises:
        UnreadableImage: a colour space that is not read, or a palette that is missing.
    """
    alpha = [kind for kind in frame.extrasamples if kind in (1, 2)]
    if frame.photometric == _PHOTOMETRIC.PALETTE and not tiff.is_imagej and planes == 1:
        colours = np.asarray([] if frame.colormap is None else frame.colormap)
        if colours.ndim != 2 or len(colours) != 3 or frame.dtype.kind not in "bu" or frame.dtype.itemsize > 2:
            raise UnreadableImage("is damaged: it has no palette that fits its pixels", where=path)
        scaled = colours >> 8 if colours.max(initial=0) > 255 else colours  # some writers store 8 bits, not 16
        return Colours("palette", palette=scaled.T.astype(np.uint8))
    if frame.photometric in (_PHOTOMETRIC.SEPARATED, _PHOTOMETRIC.CIELAB, _PHOTOMETRIC.ICCLAB, _PHOTOMETRIC.ITULAB):
        raise UnreadableImage(
            f"stores {frame.photometric.name} colours, which are not read", where=path, next_step=_AS_RGB
        )
    if is_ycbcr(frame):
        if frame.samplesperpixel != 3 or frame.dtype != np.uint8:
            raise UnreadableImage("stores YCbCr colours of a kind that is not read", where=path, next_step=_AS_RGB)
        return Colours("ycbcr")
    inverted = frame.photometric == _PHOTOMETRIC.MINISWHITE and frame.dtype.kind in "bu"
    if frame.dtype.kind == "b":
        return Colours("bilevel", inverted=inverted)
    if alpha and frame.samplesperpixel in (2, 4) and frame.dtype.kind in "uf":
        return Colours("over white", premultiplied=alpha[0] == 1)
    return Colours("plain", inverted=inverted)
