"""TIFF and OME-TIFF: 8- and 16-bit or float, any number of channels, pyramids; read by region."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.cache import DECODED
from stroma.images.colour import channel_names, over_white, through_palette, white_of
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.image import Box, Image, Level, downsample_of
from stroma.images.planes import Plane, mapped_plane, segmented_plane
from stroma.images.scale import one_mpp
from stroma.images.tiff_chain import check_page_chain
from stroma.images.tiff_metadata import named_channels, pixel_size_um

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its remarks on odd files are our errors or nothing

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CHANNEL_AXES = "CQI"
_MAX_CHANNELS = 4_096
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_SAME_AS_OPENSLIDE = {
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
}


class TiffImage(Image):
    """A TIFF file.

    Several pages of one size are channels, as are the `C` axis of OME-TIFF and ImageJ files and planar samples.
    Palettes become RGB (except in ImageJ files, where they only colour the display), transparency is laid on
    white, white-is-zero pictures are inverted, bilevel pixels become 0 and 255.

    Args:
        path: The file, whatever its suffix.
        mpp: Size of a pixel in µm; wins over what the file states.
        series: Which image of a file with several (OME-TIFF scenes).
        z: Which plane of a stack; needed when there are several.
        t: Which time point; needed when there are several.

    Raises:
        UnreadableImage: the file is damaged, holds volumes or a colour space that is not read, its pixels are
            not square, or a plane has to be chosen.
        UsageError: there is no such series, plane or time point.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff")

    def __init__(
        self,
        path: Path | str,
        *,
        mpp: float | None = None,
        series: int = 0,
        z: int | None = None,
        t: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._choice = _Choice(series, z, t)
        self._file: _File | None = _open(self.path, self._choice)
        file = self._file
        self.levels = file.levels
        self.channels = file.channels
        self.dtype = file.dtype
        self.mpp = one_mpp(*file.pixel_size_um, path=self.path, given=mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a file that begins like a TIFF or BigTIFF."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as handle:
                return handle.read(4) in _MAGIC
        except OSError as error:
            raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error

    def close(self) -> None:
        """Let go of decoded tiles and strips."""
        DECODED.forget(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the decoders, which the other process makes again."""
        return {**self.__dict__, "_file": None}

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        if self._file is None:
            self._file = _open(self.path, self._choice)
        return self._file.read(level, box, channels)


def is_for_tiff_reader(path: Path) -> bool:
    """Whether a tiled TIFF is more than OpenSlide would show of it: not plain 8-bit RGB, or OME or ImageJ data."""
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        frame = tiff.pages.first
        return bool(tiff.is_ome or tiff.is_imagej or frame.dtype != np.uint8 or not _is_rgb(frame))


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
        same_pixels = all(
            level.keyframe.compression in _SAME_AS_OPENSLIDE
            and level.keyframe.photometric in (_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR)
            for level in levels
        )
    is_plain = all(plane.dtype == np.uint8 and not plane.planar and plane.counts.min() > 0 for plane in planes)
    return planes if same_sizes and same_pixels and is_plain else None


@dataclass(frozen=True)
class _Choice:
    """What of a file with many images is read."""

    series: int
    z: int | None
    t: int | None


@dataclass(frozen=True)
class _File:
    """A parsed TIFF: where the planes of every level lie, and how they become channels."""

    levels: tuple[Level, ...]
    planes: tuple[tuple[Plane, ...], ...]
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    pixel_size_um: tuple[float | None, float | None]
    colours: _Colours

    def read(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        """Read `box` of `level` as (h, w, c)."""
        planes = self.planes[level]
        selected = np.arange(len(self.channels))[slice(None) if channels is None else channels]
        if self.colours.kind == "plain" and planes[0].samples == 1:
            result = np.empty((box.h, box.w, len(selected)), dtype=self.dtype)
            for position, channel in enumerate(selected):
                result[:, :, position] = planes[channel].read(box)[:, :, 0]
            return result
        parts = [self.colours.apply(plane.read(box)) for plane in planes]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return whole if channels is None else np.ascontiguousarray(whole[:, :, selected])


@dataclass(frozen=True)
class _Colours:
    """How stored samples become channels."""

    kind: str  # plain, palette, inverted, bilevel, over white
    palette: NDArray[np.uint8] | None = None
    premultiplied: bool = False
    inverted: bool = False

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """(h, w, samples) → (h, w, channels)."""
        if self.palette is not None:
            return through_palette(pixels[:, :, 0], self.palette)
        if self.kind == "over white":
            return over_white(pixels[:, :, :-1], pixels[:, :, -1], premultiplied=self.premultiplied)
        if self.kind == "bilevel":
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        return white_of(pixels.dtype) - pixels if self.inverted else pixels


def _open(path: Path, choice: _Choice) -> _File:
    with foreign_bytes(path):
        check_page_chain(path)
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        all_series = tiff.series
        if not 0 <= choice.series < len(all_series):
            raise UsageError(
                f"there is no series {choice.series}", where=path, next_step=f"Use 0 to {len(all_series) - 1}"
            )
        series = all_series[choice.series]
        levels = [level for level in series.levels if level.axes == series.axes]
        planes = tuple(_planes_of(path, level, choice) for level in levels)
        frame = series.keyframe
        colours = _colours_of(path, tiff, frame, len(planes[0]))
        stored = planes[0][0].samples * len(planes[0])
        dtype, count = _shown(colours, frame.dtype, stored)
        is_rgb = colours.kind == "palette" or (_is_rgb(frame) and len(planes[0]) == 1)
        names = channel_names(count, rgb=is_rgb) if is_rgb else named_channels(tiff, choice.series, count)
        size = pixel_size_um(tiff, frame, choice.series)
    top = planes[0][0]
    return _File(
        levels=tuple(_level(top, plane[0]) for plane in planes),
        planes=planes,
        channels=names,
        dtype=dtype,
        pixel_size_um=size,
        colours=colours,
    )


def _level(top: Plane, plane: Plane) -> Level:
    factor = downsample_of((plane.height, plane.width), (top.height, top.width))
    return Level(plane.height, plane.width, factor)


def _planes_of(path: Path, level: Any, choice: _Choice) -> tuple[Plane, ...]:
    """The planes of a level in the order of the channels."""
    frame = level.keyframe
    if frame.dtype is None or frame.dtype.kind not in "buif":
        raise UnreadableImage(f"holds values of type {frame.dtype}, which are not read", where=path)
    leading = level.shape[: len(level.shape) - len(frame.shape)]
    axes = level.axes[: len(leading)]
    if "".join(a for a in level.axes[len(leading) :] if a in "YX") != "YX":  # such as (1, H, W, 1)
        keep = [i for i, size in enumerate(level.shape) if size > 1 or level.axes[i] in "YX"]
        axes = "".join(level.axes[i] for i in keep)
        leading = tuple(level.shape[i] for i in keep)[: len(keep) - len(frame.shape)]
        axes = axes[: len(leading)]
    count = math.prod(leading)
    if count * frame.shaped[0] * frame.shaped[4] > _MAX_CHANNELS:
        raise UnreadableImage(f"holds {count:,} planes, which is more than an image has channels", where=path)
    _, _, height, width, _ = frame.shaped
    check_plausible(path, height, width, count, frame.dtype.itemsize, path.stat().st_size)
    chosen = [index for index in np.ndindex(*leading) if _is_chosen(path, axes, leading, index, choice)]
    numbers = [int(np.ravel_multi_index(index, leading)) if leading else 0 for index in chosen]
    if level.dataoffset is not None and frame.dtype.kind != "b":
        return tuple(mapped_plane(path, level, number) for number in numbers)
    pages = [level.pages[number] for number in numbers]
    if any(page is None for page in pages):
        raise UnreadableImage("lacks some of the planes that it declares", where=path)
    return tuple(segmented_plane(_file_of(page, path), page) for page in pages)


def _file_of(page: Any, path: Path) -> Path:
    """The file a page lies in: OME-TIFF may spread an image over several."""
    file = Path(page.parent.filehandle.path)
    return path if file == path.absolute() else file


def _is_chosen(path: Path, axes: str, leading: Sequence[int], index: tuple[int, ...], choice: _Choice) -> bool:
    """Whether the plane at `index` is one of the channels of the chosen z and t."""
    for axis, size, position in zip(axes, leading, index, strict=True):
        if axis in _CHANNEL_AXES or size == 1:
            continue
        wanted = {"Z": choice.z, "T": choice.t}.get(axis)
        if axis not in "ZT":
            raise UnreadableImage(f"has an axis '{axis}' of length {size}, which is not read", where=path)
        if wanted is None:
            raise UnreadableImage(
                f"holds {size} planes along {axis.lower()}",
                where=path,
                next_step=f"Choose one: open_image(path, {axis.lower()}=0)",
            )
        if not 0 <= wanted < size:
            raise UsageError(f"there is no {axis.lower()}={wanted}", where=path, next_step=f"Use 0 to {size - 1}")
        if position != wanted:
            return False
    return True


def _is_rgb(frame: Any) -> bool:
    return frame.photometric in (_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR) and frame.samplesperpixel >= 3


def _colours_of(path: Path, tiff: Any, frame: Any, planes: int) -> _Colours:
    alpha = [kind for kind in frame.extrasamples if kind in (1, 2)]
    if frame.photometric == _PHOTOMETRIC.PALETTE and not tiff.is_imagej and planes == 1:
        colours = np.asarray([] if frame.colormap is None else frame.colormap)
        if colours.ndim != 2 or len(colours) != 3 or frame.dtype.kind not in "bu" or frame.dtype.itemsize > 2:
            raise UnreadableImage("is damaged: it has no palette that fits its pixels", where=path)
        scaled = colours >> 8 if colours.max(initial=0) > 255 else colours  # some writers store 8 bits, not 16
        return _Colours("palette", palette=scaled.T.astype(np.uint8))
    if frame.photometric in (_PHOTOMETRIC.SEPARATED, _PHOTOMETRIC.CIELAB, _PHOTOMETRIC.ICCLAB, _PHOTOMETRIC.ITULAB):
        raise UnreadableImage(
            f"stores {frame.photometric.name} colours, which are not read", where=path, next_step="Export it as RGB"
        )
    inverted = frame.photometric == _PHOTOMETRIC.MINISWHITE and frame.dtype.kind in "bu"
    if frame.dtype.kind == "b":
        return _Colours("bilevel", inverted=inverted)
    if alpha and frame.samplesperpixel in (2, 4) and frame.dtype.kind in "uf":
        return _Colours("over white", premultiplied=alpha[0] == 1)
    return _Colours("inverted", inverted=True) if inverted else _Colours("plain")


def _shown(colours: _Colours, dtype: np.dtype[Any], samples: int) -> tuple[np.dtype[Any], int]:
    """What `_Colours.apply` makes of `samples` stored samples: dtype and number of channels."""
    if colours.kind == "palette":
        return np.dtype(np.uint8), 3
    if colours.kind == "bilevel":
        return np.dtype(np.uint8), samples
    if colours.kind == "over white":
        return dtype, samples - 1
    return dtype.newbyteorder("="), samples
