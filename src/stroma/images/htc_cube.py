"""Preprocessed cubes of the htc framework (`intermediates/preprocessing/L1/*.blosc`) as Images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.component import Component
from stroma.core.errors import UnreadableImage
from stroma.images.cache import DECODED, file_key
from stroma.images.htc_blosc import read_htc_blosc, read_htc_header
from stroma.images.image import Box, Image, Level
from stroma.images.tivita import tivita_wavelengths


class HtcCubeImage(Image):
    """A cube that htc preprocessed.

    Such a file has no parts: all of it is decoded, and kept in the cache of decoded blocks when a part was wanted.

    Args:
        path: The `.blosc` file.
        prepared: What htc did to its pixels.

    Raises:
        UnreadableImage: it is damaged, or holds no single array (height, width, channels).
    """

    def __init__(self, path: Path | str, *, prepared: tuple[Component, ...] = ()) -> None:
        self.path, self.prepared = Path(path), prepared
        header = read_htc_header(self.path)
        if None not in header:
            raise UnreadableImage(f"holds {len(header)} named arrays, not a single one", where=self.path)
        shape, self.dtype = header[None]
        if len(shape) != 3 or 0 in shape:
            raise UnreadableImage(f"holds an array of shape {shape}, which is no image", where=self.path)
        height, width, count = shape
        self.levels = (Level(height, width, 1.0),)
        self.wavelengths_nm = tivita_wavelengths(count)
        self.channels = tuple(f"{wavelength:.1f} nm" for wavelength in self.wavelengths_nm)

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        selected = slice(None) if channels is None else channels
        if box == self.bounds:  # read whole, so hardly needed again
            return np.ascontiguousarray(self._cube()[:, :, selected])
        cube = DECODED.get(file_key(self.path), "htc", self._cube)
        return np.array(cube[box.y : box.y + box.h, box.x : box.x + box.w, selected], order="C")

    def close(self) -> None:
        """Let go of the decoded cube."""
        DECODED.forget(self.path)

    def _cube(self) -> NDArray[Any]:
        cube = read_htc_blosc(self.path)
        if not isinstance(cube, np.ndarray):
            raise UnreadableImage("holds several arrays where one image was", where=self.path)
        return cube
