"""How an image of a study looks to people: RGB, uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.images.image import Image
from stroma.images.tivita_rgb import CUBE_ENDING, read_camera_rgb

_THUMBNAIL_PX = 2048


def read_rgb(path: Path, image: Image) -> NDArray[np.uint8]:
    """Return a picture of an image for display.

    Args:
        path: The image's file.
        image: It, opened.

    Returns:
        (h, w, 3) uint8: for a Tivita cube the camera's own reconstruction beside it, without its frame and of
        the cube's height and width; for a pyramid the finest level of at most 2,048 pixels a side (else the
        coarsest); for other images of one, three or four channels the image itself.

    Raises:
        MissingFile: a cube without a picture beside it.
        InvalidData: that picture has another size, or the image's channels are no colours.
    """
    if path.name.endswith(CUBE_ENDING):
        return read_camera_rgb(path, image.shape[0], image.shape[1])
    fitting = [i for i, level in enumerate(image.levels) if max(level.height, level.width) <= _THUMBNAIL_PX]
    level = fitting[0] if fitting else len(image.levels) - 1
    return to_rgb(image.read(level=level), path)


def to_rgb(array: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Turn grey, RGB or RGBA pixels into (h, w, 3) uint8; 16-bit values are divided by 257.

    Raises:
        InvalidData: another number of channels, or values of another type.
    """
    if array.shape[2] not in (1, 3, 4) or array.dtype not in (np.uint8, np.uint16, np.bool_):
        raise InvalidData(f"has {array.shape[2]} channels of {array.dtype}, which are no colours", where=path)
    if array.dtype == np.uint16:
        array = np.round(array / 257)
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    rgb = array[..., :3] if array.shape[2] > 1 else np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(rgb, dtype=np.uint8)
