"""Cubes in HDF5 files, MATLAB 7.3 among them, as Images: only the region that is asked for is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage
from stroma.core.extras import require
from stroma.images.array_file import ArrayFileImage, upright_shape
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.variables import WAVELENGTH_NAME, Variable, choose_image, find_wavelengths

_MAGIC = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".mat", ".h5", ".hdf5", ".he5")
_MOST_NODES = 2_000
_DEEPEST = 4
_MATLAB = "MATLAB_class"
_UNITS = ("units", "unit", "wavelength_units")


@dataclass(frozen=True)
class _Array:
    """An array of the file: its shape as the one who saved it saw it, and whether MATLAB turned it round."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_reversed: bool


class Hdf5Image(ArrayFileImage):
    """A numeric array of an HDF5 file.

    MATLAB stores arrays with their axes in reverse; they are turned back. Links to other files, and arrays whose
    values lie in other files, are not followed.

    Args:
        path: The file.
        variable: Path of the array in the file; needed when several have three dimensions.
        wavelengths: Path of the array with one wavelength a channel, or the wavelengths themselves; nm, or µm when
            all are below 100 and no unit stands beside them. Default: the only array of that length that is called
            like it, or an attribute of the image that is.
        channel_axis: Which axis counts the channels: 2 for (height, width, channels).
        mpp: Size of a pixel in µm where it is known from elsewhere.

    Raises:
        MissingExtra: h5py is not installed.
        UnreadableImage: the file is damaged.
        InvalidData: it holds no image, or several arrays that may be it; the message lists all.
        UsageError: there is no such array.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()  # `.mat` is the MATLAB reader's; other HDF5 files hold tables as often

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
        with _opened(path) as file:
            arrays = _arrays(file)
            variables = {name: Variable(array.shape, str(array.dtype), True) for name, array in arrays.items()}
            self.variable = choose_image(variables, variable, path)
            array = arrays[self.variable]
            self._is_reversed = array.is_reversed
            count = upright_shape(array.shape, channel_axis, path)[2]
            _check_chunks(file[self.variable], array, path)
            del variables[self.variable]
            stated = find_wavelengths(
                variables, count, wavelengths, path, lambda name: _read_list(file, name)
            ) or _stated(file, self.variable, count)
        self._set_form(path, array.shape, array.dtype, channel_axis, stated, mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is called `.mat`, `.h5`, `.hdf5` or `.he5` and is HDF5."""
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            return False
        try:
            with path.open("rb") as handle:
                head = handle.read(520)
        except OSError as error:
            raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
        return head.startswith(_MAGIC) or head[512:].startswith(_MAGIC)

    def _part(self, wanted: tuple[slice, ...]) -> NDArray[Any]:
        with _opened(self.path) as file:
            stored = file[self.variable]
            part: NDArray[Any] = stored[wanted[::-1]].T if self._is_reversed else stored[wanted]
            return part


def _check_chunks(stored: Any, array: _Array, path: Path) -> None:
    """Refuse a shape, and chunks, that the bytes on disk cannot hold, before memory is asked for."""
    most = max(math.prod(array.shape), math.prod(stored.chunks or (1,)))
    check_plausible(path, 1, max(1, most), 1, array.dtype.itemsize, path.stat().st_size)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = require("h5py", extra="hdf5", feature="reading HDF5 and MATLAB 7.3 files")
    with foreign_bytes(path), h5py.File(path, "r", locking=False) as file:
        yield file


def _arrays(file: Any) -> dict[str, _Array]:
    """Arrays of real numbers, by their path in the file."""
    h5py = require("h5py", extra="hdf5", feature="reading HDF5 and MATLAB 7.3 files")
    found: dict[str, _Array] = {}
    pending, seen = [("", file, 0)], 0
    while pending and seen < _MOST_NODES:
        prefix, group, depth = pending.pop(0)
        for name in group:
            seen += 1
            if seen > _MOST_NODES:
                break
            if name.startswith("#") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            node = group[name]
            if isinstance(node, h5py.Group):
                if depth < _DEEPEST:
                    pending.append((f"{prefix}{name}/", node, depth + 1))
            elif isinstance(node, h5py.Dataset) and node.dtype.kind in "biuf" and node.shape is not None:
                if node.external or node.is_virtual:
                    continue  # its values lie in other files
                is_reversed = _MATLAB in node.attrs
                shape = tuple(int(side) for side in node.shape)
                kind = np.dtype(node.dtype.str)
                found[f"{prefix}{name}"] = _Array(shape[::-1] if is_reversed else shape, kind, is_reversed)
    return found


def _stated(file: Any, name: str, count: int) -> tuple[NDArray[np.float64], str] | None:
    """Wavelengths among the attributes of the image."""
    attributes = file[name].attrs
    for key in attributes:
        value = np.asarray(attributes[key])
        if WAVELENGTH_NAME.search(key) and value.dtype.kind in "iuf" and value.size == count > 1:
            return value.astype(np.float64).ravel(), _unit(attributes)
    return None


def _read_list(file: Any, name: str) -> tuple[NDArray[np.float64], str]:
    return np.asarray(file[name][...], dtype=np.float64).ravel(), _unit(file[name].attrs)


def _unit(attributes: Any) -> str:
    for key in _UNITS:
        value = attributes.get(key)
        if value is not None and np.size(value) == 1:
            text = np.asarray(value).item()
            return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return ""
