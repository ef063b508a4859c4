"""Tivita hyperspectral cubes (`<timestamp>_SpecCube.dat`): reading by region and channel, and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UnreadableImage, UsageError
from stroma.core.files import atomic_path
from stroma.core.threads import in_threads
from stroma.images.bands import check_channels
from stroma.images.image import Box, Image, Level

_ENDING = "_SpecCube.dat"
_HEADER_BYTES = 12
_MAX_SIDE_PX = 65_536
_MAX_CHANNELS = 4_096
_BLOCK_BYTES = 768 * 1024  # columns of about this size are turned at a time: they stay in the processor's cache


def tivita_wavelengths(channels: int = 100) -> NDArray[np.float64]:
    """Centre wavelengths of a Tivita cube in nm: evenly from 500 to 1000, both included.

    A cube of another number of channels gets the same range, since its file says nothing about wavelengths.
    """
    return np.linspace(500.0, 1000.0, channels)


def read_cube(
    path: Path | str,
    *,
    x: int = 0,
    y: int = 0,
    w: int | None = None,
    h: int | None = None,
    channels: slice | list[int] | None = None,
) -> NDArray[np.float32]:
    """Read a cube or a part of it; only that part is read from disk.

    The file holds three big-endian int32 (width, height, channels), then big-endian float32 in the order
    (column, row from the bottom, channel).

    Args:
        path: The file.
        x: Left column of the region.
        y: Top row of the region.
        w: Width of the region (default: to the right edge).
        h: Height of the region (default: to the bottom edge).
        channels: Which channels (default: all).

    Returns:
        (h, w, channels) reflectance, float32, C-contiguous; usually 0-1, but the camera may store more, and less.

    Raises:
        UnreadableImage: the file cannot be opened, or its size contradicts its header.
        UsageError: the region is empty or reaches out of the cube, or there is no such channel.
    """
    path = Path(path)
    with stage("read"):
        height, width, count = read_shape(path)
        w, h = width - x if w is None else w, height - y if h is None else h
        if min(x, y) < 0 or min(w, h) <= 0 or x + w > width or y + h > height:
            raise UsageError(
                f"the region x={x} y={y} w={w} h={h} is not inside the {width}×{height} cube",
                where=path,
                next_step="open_image(path).read(…) fills what lies outside",
            )
        selected = check_channels(channels, count, path)
        try:
            stored = np.memmap(path, dtype=">f4", mode="r", offset=_HEADER_BYTES, shape=(width, height, count))
        except (OSError, ValueError) as error:
            raise UnreadableImage(f"cannot be read ({error})", where=path) from error
        upright = stored[x : x + w, height - y - h : height - y][:, ::-1].transpose(1, 0, 2)
        return _native_copy(upright, selected)


def read_shape(path: Path) -> tuple[int, int, int]:
    """Read the header of a cube and check it against the size of the file.

    Returns:
        (height, width, channels).

    Raises:
        UnreadableImage: the file cannot be opened, or its size contradicts its header.
    """
    try:
        with path.open("rb") as handle:
            header = handle.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    if len(header) < _HEADER_BYTES:
        raise _wrong_size(path, size, 640, 480, 100)
    width, height, count = (int(value) for value in np.frombuffer(header, dtype=">i4"))
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX and 0 < count <= _MAX_CHANNELS):
        raise UnreadableImage(
            f"is no Tivita cube: its header says {width}×{height}×{count} (width×height×channels)",
            where=path,
            next_step="Copy the file from the camera again if it should be one",
        )
    if size != _HEADER_BYTES + 4 * width * height * count:
        raise _wrong_size(path, size, width, height, count)
    return height, width, count


def _wrong_size(path: Path, size: int, width: int, height: int, count: int) -> UnreadableImage:
    needed = _HEADER_BYTES + 4 * width * height * count
    return UnreadableImage(
        f"is {size:,} bytes, a {width}×{height}×{count} cube needs {needed:,}",
        where=path,
        next_step="Copy the file from the camera again: it was cut or altered on the way",
    )


def _native_copy(upright: NDArray[Any], channels: slice | list[int]) -> NDArray[np.float32]:
    """Copy a turned view of the file into native C order, some columns at a time."""
    height, width = upright.shape[:2]
    count = upright[:0, :0, channels].shape[2]
    result = np.empty((height, width, count), dtype=np.float32)
    columns = max(1, _BLOCK_BYTES // max(1, 4 * height * count))

    def copy(block: int) -> None:
        some = slice(block * columns, (block + 1) * columns)
        result[:, some] = upright[:, some, channels]

    in_threads(copy, -(-width // columns))
    return result


def write_cube(path: Path | str, cube: NDArray[Any]) -> Path:
    """Write a cube so that it can be read as a Tivita file; it goes to disk by columns, without a second copy.

    Args:
        path: The file; its name should end in `_SpecCube.dat`. Written atomically.
        cube: (height, width, channels) real numbers, stored as float32; `read_cube` returns exactly these.

    Returns:
        `path`.

    Raises:
        InvalidData: `cube` is not three-dimensional, is empty, too large or not made of real numbers.
    """
    path = Path(path)
    if cube.ndim != 3 or not (np.issubdtype(cube.dtype, np.floating) or np.issubdtype(cube.dtype, np.integer)):
        raise InvalidData(
            f"an array of shape {cube.shape} and type {cube.dtype} is no cube",
            where=path,
            next_step="Give real numbers of shape (height, width, channels)",
        )
    height, width, count = cube.shape
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX and 0 < count <= _MAX_CHANNELS):
        raise InvalidData(
            f"a {width}×{height}×{count} cube cannot be stored",
            where=path,
            next_step=f"Width and height are 1 to {_MAX_SIDE_PX:,}, channels 1 to {_MAX_CHANNELS:,}",
        )
    columns = max(1, _BLOCK_BYTES // (4 * height * count))
    with stage("write"), atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(np.array([width, height, count], dtype=">i4").tobytes())
        for x in range(0, width, columns):
            stored = cube[::-1, x : x + columns].transpose(1, 0, 2)
            handle.write(np.ascontiguousarray(stored, dtype=">f4").data)
    return path


class TivitaImage(Image):
    """A Tivita cube as an Image: channels are wavelengths, pixels outside are 0.

    Args:
        path: The file, or a folder that holds exactly one `*_SpecCube.dat`.
        mpp: Size of a pixel in µm where it is known from elsewhere; the file does not say.

    Raises:
        UnreadableImage: the file is damaged, or the folder holds no cube or several.
    """

    suffixes: ClassVar[tuple[str, ...]] = (_ENDING,)

    def __init__(self, path: Path | str, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        self.file = _file_of(self.path)
        height, width, count = read_shape(self.file)
        self.levels = (Level(height, width, 1.0),)
        self.wavelengths_nm = tivita_wavelengths(count)
        self.channels = tuple(f"{wavelength:.1f} nm" for wavelength in self.wavelengths_nm)
        self.dtype = np.dtype(np.float32)
        self.mpp = mpp

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is named like a cube, or is a folder that holds exactly one."""
        return len(_cubes_in(path)) == 1 if path.is_dir() else path.name.lower().endswith(_ENDING.lower())

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[np.float32]:
        return read_cube(self.file, x=box.x, y=box.y, w=box.w, h=box.h, channels=channels)


def _cubes_in(folder: Path) -> list[Path]:
    ending = _ENDING.lower()
    return sorted(f for f in folder.iterdir() if f.name.lower().endswith(ending) and not f.name.startswith("."))


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    cubes = _cubes_in(path)
    if len(cubes) != 1:
        raise UnreadableImage(
            f"holds {len(cubes)} files that end in {_ENDING}, an image folder holds one",
            where=path,
            next_step="Name the file itself",
        )
    return cubes[0]
