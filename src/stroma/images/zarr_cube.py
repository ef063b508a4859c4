"""Cubes in Zarr folders (versions 2 and 3) as Images: only the chunks that a region touches are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.images.array_file import upright_shape
from stroma.images.bands import (
    band_names,
    check_channels,
    given_wavelengths,
    stated_wavelengths,
    wavelengths_to_nm,
)
from stroma.images.image import Box, Image, Level
from stroma.images.variables import WAVELENGTH_NAME, Variable, choose_image, choose_wavelengths
from stroma.images.zarr_array import METADATA, ZarrArray, list_arrays, read_attributes

_CHANNEL_NAMES = {
    "band",
    "bands",
    "channel",
    "channels",
    "c",
    "wavelength",
    "wavelengths",
    "wl",
    "lambda",
    "spectral",
}
_UNIT_NAMES = ("wavelength_units", "wavelength units", "wavelength_unit", "wavelengths_units", "units")


class ZarrImage(Image):
    """An array of a Zarr folder.

    Args:
        path: The folder: an array, or a group of arrays.
        variable: Path of the array in a group; needed when several have three dimensions.
        wavelengths: Name of the attribute or array with the wavelengths (default: the only one that is called like
            it), or the wavelengths themselves; nm, or µm when all are below 100 and no unit stands beside them.
        channel_axis: Which axis counts the channels (default: the one whose name says so, else 2).
        mpp: Size of a pixel in µm where it is known from elsewhere.

    Raises:
        UnreadableImage: the folder is damaged, or uses a codec that is not read.
        InvalidData: it holds no image, or several arrays that may be it; the message lists all.
        UsageError: there is no such array, attribute or axis.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()  # a folder: it is named itself

    def __init__(
        self,
        path: Path | str,
        *,
        variable: str | None = None,
        wavelengths: str | Sequence[float] | None = None,
        channel_axis: int | None = None,
        mpp: float | None = None,
    ) -> None:
        self.path, self.mpp = Path(path), mpp
        arrays = list_arrays(self.path)
        self.variable = self._chosen(arrays, variable)
        self._array = array = arrays[self.variable]
        self._channel_axis = axis = _axis_of(array) if channel_axis is None else channel_axis
        height, width, count = upright_shape(array.shape, axis, self.path)
        array.require_plausible()
        self.levels = (Level(height, width, 1.0),)
        self.dtype = array.dtype
        self.wavelengths_nm = self._wavelengths(arrays, wavelengths, count)
        self.channels = band_names(count, self.wavelengths_nm)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a folder with the metadata of Zarr."""
        return path.is_dir() and any((path / name).is_file() for name in METADATA)

    def _chosen(self, arrays: dict[str, ZarrArray], wanted: str | None) -> str:
        if "" in arrays:
            if wanted is not None:
                raise UsageError("is one array without a name", where=self.path)
            return ""
        return choose_image(_variables(arrays), wanted, self.path)

    def _wavelengths(
        self, arrays: dict[str, ZarrArray], given: str | Sequence[float] | None, count: int
    ) -> NDArray[np.float64] | None:
        if given is not None and not isinstance(given, str):
            return stated_wavelengths(given_wavelengths(given, path=self.path), count, path=self.path)
        group = read_attributes(self.path)
        for attributes in (self._array.attributes, group):
            names = [given] if given is not None else [name for name in attributes if WAVELENGTH_NAME.search(name)]
            values = {name: attributes[name] for name in names if _is_numbers(attributes.get(name))}
            if len(values) == 1:
                name, found = next(iter(values.items()))
                unit = next((str(attributes[key]) for key in _UNIT_NAMES if key in attributes), "")
                return self._checked(np.asarray(found, dtype=np.float64), unit, count, f"in its attribute '{name}'")
        others = {name: array for name, array in arrays.items() if name != self.variable}
        chosen = choose_wavelengths(_variables(others), count, given, self.path) or self._coordinate(others, count)
        if chosen is None:
            return None
        array = others[chosen]
        array.require_plausible()
        stored = array.read(tuple(np.arange(side) for side in array.shape)).ravel()
        return self._checked(stored, str(array.attributes.get("units", "")), count, f"in '{chosen}'")

    def _coordinate(self, others: dict[str, ZarrArray], count: int) -> str | None:
        """The array that is called like the axis of the channels, as xarray stores coordinates."""
        axis = self._array.dimensions[self._channel_axis] if self._array.dimensions else ""
        is_one = WAVELENGTH_NAME.search(axis) and axis in others and others[axis].shape == (count,)
        return axis if is_one else None

    def _checked(self, values: NDArray[Any], unit: str, count: int, where: str) -> NDArray[np.float64] | None:
        if values.shape != (count,):
            sizes = "×".join(str(side) for side in self._array.shape)
            raise InvalidData(
                f"has {count} channels (axis {self._channel_axis} of {sizes}), but {values.size} wavelengths {where}",
                where=self.path,
                next_step="Name the axis of the channels: open_image(path, channel_axis=0)",
            )
        return wavelengths_to_nm(values, unit, path=self.path)

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        count = len(self.channels)
        bands = np.arange(count)[check_channels(channels, count, self.path)]
        rows, columns = np.arange(box.y, box.y + box.h), np.arange(box.x, box.x + box.w)
        if len(self._array.shape) == 2:
            return self._array.read((rows, columns))[:, :, None][:, :, bands]
        indices = [rows, columns]
        axis = self._channel_axis % 3
        indices.insert(axis, bands)
        return np.ascontiguousarray(np.moveaxis(self._array.read(tuple(indices)), axis, 2))


def _variables(arrays: dict[str, ZarrArray]) -> dict[str, Variable]:
    return {name: Variable(array.shape, str(array.dtype), True) for name, array in arrays.items()}


def _axis_of(array: ZarrArray) -> int:
    named = [axis for axis, name in enumerate(array.dimensions[:3]) if name.lower() in _CHANNEL_NAMES]
    return named[0] if len(named) == 1 and len(array.dimensions) == len(array.shape) == 3 else 2


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(entry) in (int, float) for entry in value)
