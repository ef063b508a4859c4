"""ENVI cubes: a text header (`.hdr`) and a raw data file beside it, read by region through a memory map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UnreadableImage
from stroma.images.bands import band_names, check_channels, wavelengths_to_nm
from stroma.images.envi_header import read_envi_header
from stroma.images.guard import foreign_bytes
from stroma.images.image import Box, Image, Level

DATA_SUFFIXES = (".raw", ".img", ".dat", ".bil", ".bip", ".bsq", ".bin", ".cube", "")
"""What data files are called, in the order in which they are looked for."""

_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = {6: "complex64", 9: "complex128"}
_ORDERS = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}
"""Interleave → stored axes, slowest first: 0 lines, 1 samples, 2 bands."""


class EnviImage(Image):
    """An ENVI cube. Stored values are divided by the header's `reflectance scale factor`, where it has one.

    Args:
        path: The header or the data file; the other lies beside it.
        mpp: Size of a pixel in µm where it is known from elsewhere.
        stored: Whether to leave values as they are stored, without the scale factor.

    Attributes:
        header: Every entry of the header, by its name in lower case: text, or the list of texts of `{…}`.
        header_path, data_path: The two files.
        default_bands: Indices of the bands that the header proposes for display, counted from 0, or None.

    Raises:
        UnreadableImage: the other file is not there, or the data file is smaller than the header says, compressed
            or complex.
        InvalidData: an entry of the header is missing or contradicts others.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".hdr",)

    def __init__(self, path: Path | str, *, mpp: float | None = None, stored: bool = False) -> None:
        self.path = Path(path)
        self.header_path, self.data_path = _both_files(self.path)
        header = read_envi_header(self.header_path)
        self.header = header.entries
        height, width, bands = (header.whole(name, minimum=1) for name in ("lines", "samples", "bands"))
        self._offset = header.whole("header offset", default=0)
        self._interleave = header.one_of("interleave", tuple(_ORDERS), default="bsq")
        self._stored_dtype = _dtype(header.whole("data type"), header.whole("byte order", default=0), header.path)
        if header.whole("file compression", default=0):
            raise UnreadableImage(
                "holds compressed data ('file compression' is not 0), which is not read",
                where=self.header_path,
                next_step="Uncompress the data file with gunzip and set 'file compression = 0' in a copy",
            )
        needed = self._offset + height * width * bands * self._stored_dtype.itemsize
        size = self.data_path.stat().st_size
        if size < needed:
            raise UnreadableImage(
                f"is {size:,} bytes, the {width}×{height}×{bands} {self._stored_dtype.name} values after byte"
                f" {self._offset:,} that {self.header_path.name} declares need {needed:,}",
                where=self.data_path,
                next_step="Copy the file again: it was cut, or the header belongs to another",
            )
        self._scale = 1.0 if stored else header.number("reflectance scale factor", default=1.0)
        if not self._scale > 0:
            raise InvalidData(f"has the reflectance scale factor {self._scale:g}", where=self.header_path)
        self.levels = (Level(height, width, 1.0),)
        self.dtype = self._stored_dtype.newbyteorder("=") if self._scale == 1 else np.dtype(np.float32)
        self.wavelengths_nm = None
        wavelengths = header.numbers("wavelength", count=bands)
        if wavelengths is not None:
            unit = header.text("wavelength units", default="")
            self.wavelengths_nm = wavelengths_to_nm(wavelengths, unit, path=self.header_path)
        names = header.listed("band names")
        fits = self.wavelengths_nm is None and names is not None and len(names) == bands == len(set(names))
        self.channels = tuple(names or ()) if fits else band_names(bands, self.wavelengths_nm)
        self.default_bands = _default_bands(header.listed("default bands"), bands)
        self.mpp = mpp

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is an ENVI header, or a data file with one beside it."""
        if not path.is_file():
            return False
        suffix = path.suffix.lower()
        if suffix == ".hdr":
            return _is_header(path)
        return suffix in DATA_SUFFIXES and any(_is_header(header) for header in _headers_of(path))

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        height, width, bands = self.shape
        selected = check_channels(channels, bands, self.path)
        sizes = (height, width, bands)
        order = _ORDERS[self._interleave]
        with stage("read"):
            with foreign_bytes(self.data_path):
                mapped = np.memmap(
                    self.data_path,
                    dtype=self._stored_dtype,
                    mode="r",
                    offset=self._offset,
                    shape=tuple(sizes[axis] for axis in order),
                )
            cube = mapped.transpose(*(order.index(axis) for axis in range(3)))
            part = cube[box.y : box.y + box.h, box.x : box.x + box.w, selected]
            result = np.empty(part.shape, dtype=self.dtype)
            for row in range(box.h):
                values = part[row]
                if (
                    self._interleave != "bip"
                ):  # gather the bands first, then turn what lies in the cache: twice as fast
                    values = np.array(values.T, order="C").T
                if self._scale == 1:
                    result[row] = values
                else:
                    np.divide(values, self._scale, out=result[row], casting="unsafe")
            return result


def _is_header(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(7).removeprefix(b"\xef\xbb\xbf").startswith(b"ENVI")
    except OSError:
        return False


def _headers_of(data: Path) -> list[Path]:
    """Where the header of a data file may lie: `cube.raw.hdr`, `cube.hdr`, in either case."""
    stems = (data.name, data.stem) if data.suffix else (data.name,)
    return [data.with_name(stem + suffix) for stem in stems for suffix in (".hdr", ".HDR")]


def _both_files(path: Path) -> tuple[Path, Path]:
    """The header and the data file, of which `path` is one."""
    if path.suffix.lower() != ".hdr":
        header = next((header for header in _headers_of(path) if _is_header(header)), None)
        if header is None:
            raise UnreadableImage("has no ENVI header beside it", where=path, next_step="Add its .hdr file")
        return header, path
    stem = path.name[: -len(path.suffix)]
    wanted = [(stem + suffix).lower() for suffix in DATA_SUFFIXES]
    beside = {file.name.lower(): file for file in sorted(path.parent.iterdir()) if file.is_file()}
    found = [beside[name] for name in dict.fromkeys([stem.lower(), *wanted]) if name in beside]
    if len(found) == 1 or (found and found[0].name.lower() == stem.lower()):  # cube.raw.hdr names its data file
        return path, found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise UnreadableImage(
            f"may belong to any of {names}", where=path, next_step=f"Open the data file itself: {found[0].name}"
        )
    raise UnreadableImage(
        "is an ENVI header without its data file",
        where=path,
        next_step=f"Put it beside the header, under a name such as {stem}.raw",
    )


def _dtype(number: int, byte_order: int, path: Path) -> np.dtype[Any]:
    if number in _COMPLEX:
        raise UnreadableImage(f"holds {_COMPLEX[number]} numbers, which are no image", where=path)
    if number not in _TYPES:
        known = ", ".join(str(code) for code in _TYPES)
        raise InvalidData(f"has the data type {number}", where=path, next_step=f"Known: {known}")
    if byte_order not in (0, 1):
        raise InvalidData(
            f"has the byte order {byte_order}", where=path, next_step="0 is little-endian, 1 big-endian"
        )
    return np.dtype(("<", ">")[byte_order] + _TYPES[number])


def _default_bands(listed: list[str] | None, bands: int) -> tuple[int, ...] | None:
    """Only a proposal for display: some programs write 0 or wavelengths, which are taken for none."""
    if not listed or not all(text.isascii() and text.isdigit() and 1 <= int(text) <= bands for text in listed):
        return None
    return tuple(int(text) - 1 for text in listed)
