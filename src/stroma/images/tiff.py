"""TIFF and OME-TIFF: 8- and 16-bit or float, any number of channels, pyramids; read by region."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.bands import band_names
from stroma.images.cache import DECODED
from stroma.images.colour import RGB, channel_names
from stroma.images.guard import foreign_bytes
from stroma.images.image import Box, Image, Level, downsample_of
from stroma.images.planes import Plane
from stroma.images.scale import one_mpp
from stroma.images.tiff_axes import Choice, planes_of
from stroma.images.tiff_bands import stack_wavelengths
from stroma.images.tiff_chain import check_page_chain
from stroma.images.tiff_colours import Colours, colours_of, is_rgb
from stroma.images.tiff_metadata import named_channels, pixel_size_um

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its remarks on odd files are our errors or nothing

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
        wavelengths: Wavelength of each channel, in nm, or in µm when all are below 100; wins over what the file
            states (`tiff_bands.stack_wavelengths`).
        rgb: Take three channels as red, green and blue though the file does not call them so.

    Raises:
        UnreadableImage: the file is damaged, holds volumes or a colour space that is not read, its pixels are
            not square, or a plane has to be chosen.
        InvalidData: not one wavelength was given for each channel.
        UsageError: there is no such series, plane or time point.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff", ".qptiff", ".btf")

    def __init__(
        self,
        path: Path | str,
        *,
        mpp: float | None = None,
        series: int = 0,
        z: int | None = None,
        t: int | None = None,
        wavelengths: Sequence[float] | None = None,
        rgb: bool = False,
    ) -> None:
        self.path = Path(path)
        self._choice, self._given_nm = Choice(series, z, t), wavelengths
        self._file: _File | None = _open(self.path, self._choice, self._given_nm)
        file = self._file
        self.levels = file.levels
        self.channels = RGB if rgb and len(file.channels) == 3 else file.channels
        self.dtype, self.wavelengths_nm = file.dtype, file.wavelengths_nm
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
            self._file = _open(self.path, self._choice, self._given_nm)
        return self._file.read(level, box, channels)


@dataclass(frozen=True)
class _File:
    """A parsed TIFF: where the planes of every level lie, and how they become channels."""

    levels: tuple[Level, ...]
    planes: tuple[tuple[Plane, ...], ...]
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    pixel_size_um: tuple[float | None, float | None]
    colours: Colours
    wavelengths_nm: NDArray[np.float64] | None

    def read(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        """Read `box` of `level` as (h, w, c)."""
        planes = self.planes[level]
        selected = np.arange(len(self.channels))[slice(None) if channels is None else channels]
        if self.colours.is_identity and planes[0].samples == 1:
            result = np.empty((box.h, box.w, len(selected)), dtype=self.dtype)
            for position, channel in enumerate(selected):
                result[:, :, position] = planes[channel].read(box)[:, :, 0]
            return result
        parts = [self.colours.apply(plane.read(box)) for plane in planes]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return whole if channels is None else np.ascontiguousarray(whole[:, :, selected])


def _open(path: Path, choice: Choice, given_nm: Sequence[float] | None) -> _File:
    with foreign_bytes(path):
        check_page_chain(path)
    with foreign_bytes(path), tifffile.TiffFile(path) as tiff:
        all_series = tiff.series
        if not 0 <= choice.series < len(all_series):
            raise UsageError(
                f"there is no series {choice.series}", where=path, next_step=f"Use 0 to {len(all_series) - 1}"
            )
        series = all_series[choice.series]
        planes = tuple(planes_of(path, level, choice) for level in series.levels if level.axes == series.axes)
        frame = series.keyframe
        colours = colours_of(path, tiff, frame, len(planes[0]))
        dtype, count = colours.shown(frame.dtype, planes[0][0].samples)
        count *= len(planes[0])
        rgb = colours.kind == "palette" or (is_rgb(frame) and len(planes[0]) == 1)
        names = channel_names(count, rgb=True) if rgb else named_channels(tiff, choice.series, count)
        is_spectral = not rgb or given_nm is not None
        wavelengths = stack_wavelengths(tiff, choice.series, count, given_nm, path) if is_spectral else None
        size = pixel_size_um(tiff, frame, choice.series)
    if any([plane.samples for plane in level] != [plane.samples for plane in planes[0]] for level in planes):
        raise UnreadableImage("has levels with different channels", where=path)
    top = planes[0][0]
    return _File(
        levels=tuple(_level(top, plane[0]) for plane in planes),
        planes=planes,
        channels=names if wavelengths is None else band_names(count, wavelengths),
        dtype=dtype,
        pixel_size_um=size,
        colours=colours,
        wavelengths_nm=wavelengths,
    )


def _level(top: Plane, plane: Plane) -> Level:
    factor = downsample_of((plane.height, plane.width), (top.height, top.width))
    return Level(plane.height, plane.width, factor)
