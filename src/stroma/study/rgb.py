"""How an image of a study looks to people: RGB, uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UnreadableImage
from stroma.images.image import Image

_CUBE = "_SpecCube.dat"
_BORDERS_PX = {(513, 646): (30, 3, 3, 3), (550, 680): (50, 20, 20, 20)}
"""Frames drawn by the camera software, by picture size: top, bottom, left, right (first generation, Surgery 2.0)."""

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
    if path.name.endswith(_CUBE):
        return read_camera_rgb(path, image.shape[0], image.shape[1])
    fitting = [i for i, level in enumerate(image.levels) if max(level.height, level.width) <= _THUMBNAIL_PX]
    level = fitting[0] if fitting else len(image.levels) - 1
    return to_rgb(image.read(level=level), path)


def read_camera_rgb(cube: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Read the picture that the camera reconstructed from a cube, without the frame of its software.

    Args:
        cube: `<timestamp>_SpecCube.dat`; beside it lies `<timestamp>_HSI-RGB-Image.png` (newer cameras) or
            `<timestamp>_RGB-Image.png`.
        height: Of the cube.
        width: Of the cube.

    Returns:
        (height, width, 3) uint8.

    Raises:
        MissingFile: there is no such picture.
        InvalidData: it is not of the cube's size after cropping.
    """
    stem = cube.name.removesuffix(_CUBE)
    candidates = [cube.with_name(f"{stem}_{kind}.png") for kind in ("HSI-RGB-Image", "RGB-Image")]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise MissingFile(f"has no picture {candidates[1].name} beside it", where=cube)
    try:
        with stage("read"), PIL.Image.open(path) as picture:
            rgb = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(f"cannot be read ({error})", where=path) from error
    size = rgb.shape[:2]
    if size != (height, width) and size in _BORDERS_PX:
        top, bottom, left, right = _BORDERS_PX[size]
        rgb = rgb[top : size[0] - bottom, left : size[1] - right]
    if rgb.shape[:2] != (height, width):
        raise InvalidData(
            f"is {size[0]} × {size[1]} (height × width), its cube is {height} × {width}",
            where=path,
            next_step="No frame of a known camera explains the difference: replace the picture",
        )
    return np.ascontiguousarray(rgb)


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
