"""What cubes in general array files (MATLAB, NumPy, HDF5) share: axes, wavelengths, reading from an array."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.images.bands import band_names, check_channels, stated_wavelengths
from stroma.images.image import Box, Image, Level


class ArrayFileImage(Image):
    """An image in a file of arrays; subclasses read parts of the array.

    Attributes:
        channel_axis: Which stored axis counts the channels.
    """

    channel_axis: int
    _axes: int

    @abstractmethod
    def _part(self, wanted: tuple[slice, ...]) -> NDArray[Any]:
        """A part of the array, in the order of its axes; it may be a view."""

    def _set_form(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        channel_axis: int,
        wavelengths: tuple[NDArray[Any], str] | None,
        mpp: float | None,
    ) -> None:
        """Set what an image knows of itself; `wavelengths` are values and their unit."""
        self.path, self.channel_axis, self.mpp, self._axes = path, channel_axis, mpp, len(shape)
        height, width, count = upright_shape(shape, channel_axis, path)
        self.levels = (Level(height, width, 1.0),)
        self.dtype = dtype.newbyteorder("=")
        self.wavelengths_nm = stated_wavelengths(wavelengths, count, path=path)
        self.channels = band_names(count, self.wavelengths_nm)

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        count = len(self.channels)
        bands = np.arange(count)[check_channels(channels, count, self.path)]
        first, end = (int(bands.min()), int(bands.max()) + 1) if len(bands) else (0, 0)
        wanted = [slice(box.y, box.y + box.h), slice(box.x, box.x + box.w)]
        if self._axes == 3:
            wanted.insert(self.channel_axis % 3, slice(first, end))
        with stage("read"):
            part = self._part(tuple(wanted))
            cube = part[:, :, None] if self._axes == 2 else np.moveaxis(part, self.channel_axis, 2)
            if not np.array_equal(bands, np.arange(first, end)):
                cube = cube[:, :, bands - first]
            return np.array(cube, dtype=self.dtype, order="C")


def upright_shape(shape: tuple[int, ...], channel_axis: int, path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of a stored shape of two or three axes.

    Raises:
        UsageError: `channel_axis` is not 0, 1 or 2 (or -3 to -1).
        InvalidData: another number of axes, or an empty one.
    """
    if not -3 <= channel_axis < 3:
        raise UsageError(f"there is no axis {channel_axis}", where=path, next_step="channel_axis is 0, 1 or 2")
    if len(shape) not in (2, 3) or 0 in shape:
        raise InvalidData(
            f"holds an array of shape {shape}, which is no image",
            where=path,
            next_step="An image has the shape (height, width, channels)",
        )
    sizes = list(shape)
    count = sizes.pop(channel_axis) if len(sizes) == 3 else 1
    return sizes[0], sizes[1], count
