"""What cubes in general array files (MATLAB, NumPy) share: axes, wavelengths, reading from an array."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.images.bands import band_names, check_channels, wavelengths_to_nm
from stroma.images.image import Box, Image, Level


class ArrayFileImage(Image):
    """An image in a file of arrays; subclasses hand out the array.

    Attributes:
        channel_axis: Which stored axis counts the channels.
    """

    channel_axis: int

    @abstractmethod
    def _stored(self) -> NDArray[Any]:
        """The array as stored: mapped from the file, or decoded and kept in the cache of the process."""

    def _set_form(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        channel_axis: int,
        wavelengths: NDArray[Any] | None,
        mpp: float | None,
    ) -> None:
        self.path, self.channel_axis, self.mpp = path, channel_axis, mpp
        height, width, count = upright_shape(shape, channel_axis, path)
        self.levels = (Level(height, width, 1.0),)
        self.dtype = dtype.newbyteorder("=")
        self.wavelengths_nm = None if wavelengths is None else wavelengths_to_nm(wavelengths, "", path=path)
        if self.wavelengths_nm is not None and len(self.wavelengths_nm) != count:
            raise InvalidData(
                f"has {count} channels, but {len(self.wavelengths_nm)} wavelengths were given", where=path
            )
        self.channels = band_names(count, self.wavelengths_nm)

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        selected = check_channels(channels, len(self.channels), self.path)
        stored = self._stored()
        cube = stored[:, :, None] if stored.ndim == 2 else np.moveaxis(stored, self.channel_axis, 2)
        with stage("read"):
            part = cube[box.y : box.y + box.h, box.x : box.x + box.w, selected]
            return np.array(part, dtype=self.dtype, order="C")


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
