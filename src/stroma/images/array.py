"""An array in memory as an `Image`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.images.image import Box, Image, Level


class ArrayImage(Image):
    """An array (H, W, C), or (H, W) as one channel, read like a file.

    Args:
        array: The pixels; not copied.
        channels: Names of the channels (default: red, green, blue for three, else their numbers).
        wavelengths_nm: Wavelength of each channel.
        mpp: Size of a pixel in µm.
        path: What messages call it.
    """

    def __init__(
        self,
        array: NDArray[Any],
        *,
        channels: tuple[str, ...] | None = None,
        wavelengths_nm: NDArray[np.float64] | None = None,
        mpp: float | None = None,
        path: Path = Path("array"),
    ) -> None:
        self.array = array[:, :, None] if array.ndim == 2 else array
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise InvalidData(f"an image needs the shape (height, width, channels), not {array.shape}", where=path)
        height, width, count = self.array.shape
        named = ("red", "green", "blue") if count == 3 else tuple(str(i) for i in range(count))
        self.channels = channels or named
        self.levels = (Level(height, width, 1.0),)
        self.wavelengths_nm, self.mpp, self.path, self.dtype = wavelengths_nm, mpp, path, self.array.dtype

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        part = self.array[box.y : box.y + box.h, box.x : box.x + box.w]
        return np.ascontiguousarray(part if channels is None else part[:, :, channels])
