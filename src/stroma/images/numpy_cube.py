"""Cubes in NumPy files: `.npy` through a memory map, `.npz` with named arrays."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UnreadableImage, UsageError
from stroma.images.array_file import ArrayFileImage, upright_shape
from stroma.images.bands import given_wavelengths
from stroma.images.cache import DECODED, file_key
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.variables import Variable, choose_image, find_wavelengths

_REAL_KINDS = "biuf"
_LARGEST_MEMBERS = 10_000
_DAMAGE = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError)


class NumpyImage(ArrayFileImage):
    """An array of a NumPy file. Pickled objects are refused.

    Args:
        path: The file.
        variable: Name of the array in a `.npz`; needed when several have three dimensions.
        wavelengths: Name of the array with the wavelengths in a `.npz` (default: the only one of that length
            that is called like it), or the wavelengths themselves; nm, or µm when all are below 100.
        channel_axis: Which axis counts the channels: 2 for (height, width, channels), 0 for (channels, height,
            width).
        mpp: Size of a pixel in µm where it is known from elsewhere.

    Raises:
        UnreadableImage: the file is damaged, or holds objects.
        InvalidData: it holds no image, or several arrays that may be it; the message lists all.
        UsageError: there is no such variable.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()  # folders are full of .npy that are masks or tables: name the file

    def __init__(
        self,
        path: Path | str,
        *,
        variable: str | None = None,
        wavelengths: str | Sequence[float] | None = None,
        channel_axis: int = 2,
        mpp: float | None = None,
    ) -> None:
        path = Path(path)
        self.variable: str | None = None
        if _is_archive(path):
            arrays = _list_archive(path)
            self.variable = choose_image(arrays, variable, path)
            shape, dtype = arrays[self.variable].shape, np.dtype(arrays[self.variable].kind)
            count = upright_shape(shape, channel_axis, path)[2]
            stated = find_wavelengths(arrays, count, wavelengths, path, lambda name: (_read_member(path, name), ""))
        else:
            if variable is not None or isinstance(wavelengths, str):
                raise UsageError("a .npy file holds one array without a name", where=path)
            array = _mapped(path)
            shape, dtype = array.shape, array.dtype
            stated = None if wavelengths is None else given_wavelengths(wavelengths, path=path)
        self._set_form(path, shape, dtype, channel_axis, stated, mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a `.npy` of three dimensions, or a `.npz` with such an array."""
        if path.suffix.lower() not in (".npy", ".npz") or not path.is_file():
            return False
        try:
            if _is_archive(path):
                return any(len(array.shape) == 3 and array.is_real for array in _list_archive(path).values())
            with path.open("rb") as handle:
                shape, dtype = _header(handle, path)
        except (UnreadableImage, OSError):
            return False
        return len(shape) == 3 and dtype.kind in _REAL_KINDS

    def close(self) -> None:
        """Let go of the decoded array."""
        DECODED.forget(self.path)

    def _part(self, wanted: tuple[slice, ...]) -> NDArray[Any]:
        if self.variable is None:
            return _mapped(self.path)[wanted]
        name = self.variable
        return DECODED.get(file_key(self.path), ("numpy", name), lambda: _read_member(self.path, name))[wanted]


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(2) == b"PK"
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error


def _header(handle: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that begins at a file's position."""
    with foreign_bytes(path, *_DAMAGE):
        version = np.lib.format.read_magic(handle)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise UnreadableImage(f"has the NumPy format {version}, which is not read", where=path)
        shape, _, dtype = readers[version](handle)
        return tuple(int(size) for size in shape), dtype


def _mapped(path: Path) -> NDArray[Any]:
    with path.open("rb") as handle:
        shape, dtype = _header(handle, path)
        start = handle.tell()
    if dtype.kind not in _REAL_KINDS:
        raise InvalidData(f"holds an array of type {str(dtype)[:60]}, which is no image", where=path)
    size, count = path.stat().st_size, 1
    for side in shape:
        count *= side
    if min(shape, default=1) < 0 or size < start + count * dtype.itemsize:
        raise UnreadableImage(
            f"is {size:,} bytes, an array of shape {shape} and type {dtype} needs {start + count * dtype.itemsize:,}",
            where=path,
            next_step="Save it again: it was cut",
        )
    with stage("read"), foreign_bytes(path, *_DAMAGE):
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _list_archive(path: Path) -> dict[str, Variable]:
    arrays = {}
    with foreign_bytes(path, *_DAMAGE), zipfile.ZipFile(path) as archive:
        for info in archive.infolist()[:_LARGEST_MEMBERS]:
            if info.filename.endswith(".npy"):
                with archive.open(info) as member:
                    shape, dtype = _header(member, path)
                is_real = dtype.kind in _REAL_KINDS and min(shape, default=1) >= 0
                arrays[info.filename.removesuffix(".npy")] = Variable(shape, dtype.str, is_real)
    return arrays


def _read_member(path: Path, name: str) -> NDArray[Any]:
    with stage("decode"), foreign_bytes(path, *_DAMAGE), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as member:
            shape, dtype = _header(member, path)
        count = 1
        for side in shape:
            count *= side
        check_plausible(path, 1, max(1, count), 1, dtype.itemsize, path.stat().st_size)
        if count * dtype.itemsize > info.file_size:
            raise UnreadableImage(f"is damaged: '{name}' is shorter than its header says", where=path)
        with archive.open(info) as member:
            array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array
