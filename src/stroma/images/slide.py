"""Whole slides that OpenSlide reads: SVS, NDPI, SCN, MRXS, BIF, DICOM, tiled TIFF and others."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from openslide import OpenSlide, OpenSlideError

from stroma.core.clock import stage
from stroma.core.errors import StromaError, UnreadableImage
from stroma.images.cache import DECODED, BoundedCache, file_key
from stroma.images.colour import RGB, over_white
from stroma.images.dicom_series import dicom_slide_series
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.image import Box, Image, Level, downsample_of
from stroma.images.planes import Plane
from stroma.images.scale import from_print_resolution, one_mpp
from stroma.images.tiff_slide import is_for_tiff_reader, packed_otherwise, slide_planes

_OPEN_SLIDES: BoundedCache[OpenSlide] = BoundedCache(8)
_BLOCK_PX = 256
_CONVERT = "Copy the slide again; if other programs show it, convert it to a pyramidal 8-bit RGB TIFF"
_SAFE = (
    "openslide.",
    "aperio.AppMag",
    "aperio.MPP",
    "hamamatsu.SourceLens",
    "hamamatsu.XOffsetFromSlideCentre",
    "hamamatsu.YOffsetFromSlideCentre",
    "tiff.ResolutionUnit",
    "tiff.XRes",
    "tiff.YRes",
)
_UNSAFE = ("openslide.comment", "openslide.quickhash")


class SlideImage(Image):
    """A whole slide; channels `red, green, blue`, uint8, what was not scanned is white.

    Coordinates are OpenSlide's level 0. Open slides are kept for the whole process, at most eight, and opened
    again in other processes.

    Args:
        path: The file, or a folder that holds the DICOM files of one slide.
        mpp: Size of a pixel in µm; wins over what the file states.

    Attributes:
        vendor: OpenSlide's name of the format, for example `aperio`.
        scan_bounds: The part of level 0 that the scanner filled; QuPath's coordinates begin at its corner.
        properties: What the file says about itself, without anything that could identify a patient.

    Raises:
        UnreadableImage: the file is damaged or OpenSlide declines it, its pixels are not square, or the folder
            holds several slides.
    """

    suffixes: ClassVar[tuple[str, ...]] = (
        ".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".dcm", ".vms", ".vmu", ".svslide",
    )  # fmt: skip

    def __init__(self, path: Path | str, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        self.file = _first_of_series(self.path) if self.path.is_dir() else self.path
        slide = _open(self.file)
        with foreign_bytes(self.path, OpenSlideError):
            every = dict(slide.properties)
            sizes, factors = slide.level_dimensions, slide.level_downsamples
        top = (sizes[0][1], sizes[0][0])
        self.levels = tuple(Level(height, width, downsample_of((height, width), top)) for width, height in sizes)
        self._factors = factors
        for number in range(len(sizes)):
            tile = [_number(every.get(f"openslide.level[{number}].tile-{side}")) or 1 for side in ("height", "width")]
            check_plausible(self.path, int(tile[0]), int(tile[1]), 4, 1, self.file.stat().st_size)
        self.channels = RGB
        self.dtype = np.dtype(np.uint8)
        self.vendor = every.get("openslide.vendor", "")
        self.properties: Mapping[str, str] = {
            key: value for key, value in every.items() if key.startswith(_SAFE) and not key.startswith(_UNSAFE)
        }
        self.scan_bounds = _scan_bounds(every, self.bounds)
        self.mpp = one_mpp(*_pixel_size_um(every), path=self.path, given=mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether OpenSlide knows `path`, or the first DICOM slide in it when it is a folder.

        Tiled TIFFs that OpenSlide would not show in full (several channels, 16 bits, OME pyramids, a compression it
        lacks, of Aperio too) are left to the TIFF reader, and CZI files to the CZI reader: OpenSlide 4.0 unpacks no
        JPEG XR, which most are packed as, and damaged ones end the process.
        """
        if path.is_dir():
            return bool(_dicom_slides(path))
        vendor = _vendor(path)
        if vendor == "generic-tiff":
            return not is_for_tiff_reader(path) and _opens(path)
        return vendor not in (None, "zeiss") and not (vendor == "aperio" and packed_otherwise(path))

    def close(self) -> None:
        """Let go of the open slide and of decoded tiles."""
        _OPEN_SLIDES.forget(self.file)
        DECODED.forget(self.file)

    def __getstate__(self) -> dict[str, object]:
        """Everything but the decoders, which the other process makes again."""
        return {name: value for name, value in self.__dict__.items() if name != "_planes"}

    @cached_property
    def _planes(self) -> tuple[Plane, ...] | None:
        """The file's own tiles, where we decode them like OpenSlide."""
        if self.vendor not in ("aperio", "generic-tiff"):
            return None
        try:
            return slide_planes(self.file, [(level.height, level.width) for level in self.levels])
        except UnreadableImage as error:
            if error.__cause__ is None:  # seen to be damaged, and OpenSlide might end the process over it
                raise
            return None  # tifffile declines it, OpenSlide does not

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[np.uint8]:
        if self._planes is not None:
            pixels = self._planes[level].read(box)
        else:
            slide = _open(self.file)
            read = self._read_exact if self._factors[level] == round(self._factors[level]) else self._read_blocks
            with stage("decode"):
                pixels = read(slide, level, box)
        return pixels if channels is None else np.ascontiguousarray(pixels[:, :, channels])

    def _read_exact(self, slide: OpenSlide, level: int, box: Box) -> NDArray[np.uint8]:
        factor = self._factors[level]
        location = (round(box.x * factor), round(box.y * factor))
        try:
            with (
                foreign_bytes(self.path, OpenSlideError),
                slide.read_region(location, level, (box.w, box.h)) as region,
            ):
                rgba = np.asarray(region)
        except UnreadableImage:
            self.close()  # OpenSlide refuses every further read from a slide that failed once
            raise
        return over_white(rgba[:, :, :3], rgba[:, :, 3])

    def _read_blocks(self, slide: OpenSlide, level: int, box: Box) -> NDArray[np.uint8]:
        """Read from fixed corners, so that a pixel is the same whatever region it is read with.

        OpenSlide takes whole level-0 pixels and interpolates where they do not fall on a pixel of the level,
        which is the rule when the downsample is no whole number (4.00012 in many SVS files).
        """
        result = np.empty((box.h, box.w, 3), dtype=np.uint8)
        bottom, right = box.y + box.h, box.x + box.w
        for top in range(box.y // _BLOCK_PX * _BLOCK_PX, bottom, _BLOCK_PX):
            for left in range(box.x // _BLOCK_PX * _BLOCK_PX, right, _BLOCK_PX):
                h, w = min(_BLOCK_PX, bottom - top), min(_BLOCK_PX, right - left)
                block = self._read_exact(slide, level, Box(left, top, w, h))
                y, x = max(top, box.y), max(left, box.x)
                part = block[y - top :, x - left :]
                result[y - box.y : y - box.y + part.shape[0], x - box.x : x - box.x + part.shape[1]] = part
        return result


def _open(path: Path) -> OpenSlide:
    def make() -> OpenSlide:
        with stage("read"), foreign_bytes(path, OpenSlideError, next_step=_CONVERT):
            return OpenSlide(path)

    return _OPEN_SLIDES.get(file_key(path), os.getpid(), make)  # a forked process must not share file positions


def _vendor(path: Path) -> str | None:
    with foreign_bytes(path, OpenSlideError):
        vendor: str | None = OpenSlide.detect_format(path)
        return vendor


def _opens(path: Path) -> bool:
    try:
        _open(path)
    except StromaError:
        return False
    return True


def _dicom_slides(folder: Path) -> list[Path]:
    """The DICOM slides in a folder that holds nothing but DICOM files."""
    files = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if not all(_is_dicom(file) for file in files):
        return []
    return [file for file in files if dicom_slide_series(file)]


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with file.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=file) from error


def _first_of_series(folder: Path) -> Path:
    files = _dicom_slides(folder)
    series = {dicom_slide_series(file) for file in files}
    if len(series) != 1:
        raise UnreadableImage(
            f"holds {len(series)} DICOM slides" if series else "is no folder of one DICOM slide",
            where=folder,
            next_step="Name the file itself",
        )
    return files[0]


def _pixel_size_um(properties: Mapping[str, str]) -> tuple[float | None, float | None]:
    sizes = [_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
    if properties.get("openslide.vendor") == "generic-tiff":  # OpenSlide takes any resolution tag
        sizes = [from_print_resolution(size) for size in sizes]
    return sizes[0], sizes[1]


def _number(text: str | None) -> float | None:
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _scan_bounds(properties: Mapping[str, str], whole: Box) -> Box:
    x, y, w, h = (_number(properties.get(f"openslide.bounds-{name}")) for name in ("x", "y", "width", "height"))
    if x is None or y is None or w is None or h is None:
        return whole
    return Box(int(x), int(y), int(w), int(h)).intersect(whole)
