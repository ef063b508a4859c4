"""The pictures beside a Tivita cube: reconstructed RGB, sensor RGB and the camera's own parameter pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, MissingFile, UsageError, nearest
from stroma.images.colour_scale import tivita_values
from stroma.images.picture import PictureImage

CUBE_ENDING = "_SpecCube.dat"
PARAMETER_PICTURES = {
    "StO2": "Oxygenation",
    "NIR": "NIR-Perfusion",
    "THI": "THI",
    "TWI": "TWI",
    "TLI": "TLI",
    "OHI": "OHI",
}
"""Tissue parameter → how the camera calls its picture: `<timestamp>_<name>.png`."""

_FRAME_VALUE = 15
_FAR = 12.0
_BORDERS_PX = {(513, 646): (30, 3, 3, 3), (550, 680): (50, 20, 20, 20)}
"""Frames drawn by the camera software, by picture size: top, bottom, left, right (first generation, Surgery 2.0)."""

_CAPTION_PX = {(513, 646): slice(90, None), (550, 680): slice(0, 230)}
"""Columns of the top border that are free of the software's text."""


@dataclass(frozen=True)
class ParameterPicture:
    """A tissue parameter as the camera showed it.

    Attributes:
        values: (height, width) float32, 0-1; NaN where the colour is none of the scale (background, text).
        distance: (height, width) float32, how far each colour lies from the scale, in grey levels.
    """

    values: NDArray[np.float32]
    distance: NDArray[np.float32]


def camera_picture(cube: Path | str, kind: Literal["reconstructed", "sensor"] = "reconstructed") -> Path | None:
    """Which file beside a cube is the RGB picture of a kind.

    `<timestamp>_RGB-Image.png` is the reconstruction of first-generation cameras, but the sensor's picture where
    `<timestamp>_HSI-RGB-Image.png` exists; `<timestamp>_RGB-Capture.png` is always the sensor's.

    Returns:
        The file, or None where there is none.
    """
    cube = Path(cube)
    stem = cube.name.removesuffix(CUBE_ENDING)
    newer, either, capture = (
        cube.with_name(f"{stem}_{n}.png") for n in ("HSI-RGB-Image", "RGB-Image", "RGB-Capture")
    )
    if kind == "reconstructed":
        wanted = [newer, either]
    else:
        wanted = [capture, either] if newer.is_file() else [capture]
    return next((path for path in wanted if path.is_file()), None)


def read_camera_rgb(
    cube: Path | str, height: int, width: int, kind: Literal["reconstructed", "sensor"] = "reconstructed"
) -> NDArray[np.uint8]:
    """Read an RGB picture of the camera, without the frame of its software.

    Args:
        cube: `<timestamp>_SpecCube.dat`; the picture lies beside it, see `camera_picture`.
        height: Of the cube.
        width: Of the cube.
        kind: `reconstructed` from the cube, which fits it pixel by pixel, or of the `sensor` beside it, which does
            not.

    Returns:
        (height, width, 3) uint8.

    Raises:
        MissingFile: there is no such picture.
        InvalidData: it is not of the cube's size after cropping, or what would be cropped is no frame.
        UnreadableImage: it is damaged.
    """
    cube = Path(cube)
    path = camera_picture(cube, kind)
    if path is None:
        name = (
            f"{cube.name.removesuffix(CUBE_ENDING)}_{'RGB-Image' if kind == 'reconstructed' else 'RGB-Capture'}.png"
        )
        raise MissingFile(f"has no picture {name} beside it", where=cube)
    return read_tivita_rgb(path, height, width)


def read_tivita_rgb(path: Path | str, height: int = 480, width: int = 640) -> NDArray[np.uint8]:
    """Read any picture of the camera software and cut off its frame.

    Args:
        path: The PNG.
        height: Of the cube.
        width: Of the cube.

    Returns:
        (height, width, 3) uint8.

    Raises:
        InvalidData: it has another size and no known frame, or its frame has another colour than the camera's.
        UnreadableImage: it is damaged.
    """
    path = Path(path)
    with PictureImage(path) as picture:
        rgb = picture.read()
    if rgb.dtype != np.uint8:
        raise InvalidData(f"holds {rgb.dtype} values, pictures of the camera are uint8", where=path)
    if rgb.shape[2] != 3:
        rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
    size = (rgb.shape[0], rgb.shape[1])
    if size != (height, width) and size in _BORDERS_PX:
        _check_frame(rgb, path)
        top, bottom, left, right = _BORDERS_PX[size]
        rgb = rgb[top : size[0] - bottom, left : size[1] - right]
    if rgb.shape[:2] != (height, width):
        raise InvalidData(
            f"is {size[0]} × {size[1]} (height × width), its cube is {height} × {width}",
            where=path,
            next_step="No frame of a known camera explains the difference: replace the picture",
        )
    return np.ascontiguousarray(rgb)


def _check_frame(rgb: NDArray[np.uint8], path: Path) -> None:
    size = (rgb.shape[0], rgb.shape[1])
    top, bottom, left, right = _BORDERS_PX[size]
    borders = {
        "top": rgb[:top, _CAPTION_PX[size]],
        "bottom": rgb[size[0] - bottom :],
        "left": rgb[top:, :left],
        "right": rgb[:, size[1] - right :],
    }
    for name, border in borders.items():
        wrong = border[border != _FRAME_VALUE]
        if wrong.size:
            raise InvalidData(
                f"has a {name} border with the value {wrong[0]}, the camera's frame is {_FRAME_VALUE}",
                where=path,
                next_step="It was altered, or is not of this camera: export it again",
            )


def read_parameter_picture(
    path: Path | str, parameter: str | None = None, *, height: int = 480, width: int = 640, far: float = _FAR
) -> ParameterPicture:
    """Read a tissue parameter back from the picture in which the camera showed it.

    The values are those of the camera within 0.0007 (`colour_scale.LOOKUP_ERROR`), as long as the picture is
    the camera's own and was neither resized nor compressed with loss. The picture is taken to have the same
    frame as the RGB pictures of that camera.

    Args:
        path: The picture, or with `parameter` the cube that it lies beside.
        parameter: `StO2`, `NIR`, `THI`, `TWI`, `TLI` or `OHI`.
        height: Of the cube.
        width: Of the cube.
        far: Colours further from the scale than this many grey levels are no values.

    Raises:
        MissingFile: there is no such picture.
        UsageError: an unknown parameter.
        InvalidData, UnreadableImage: see `read_tivita_rgb`.
    """
    path = Path(path)
    if parameter is not None:
        if parameter not in PARAMETER_PICTURES:
            raise UsageError(f"there is no parameter '{parameter}'", next_step=nearest(parameter, PARAMETER_PICTURES))
        path = path.with_name(f"{path.name.removesuffix(CUBE_ENDING)}_{PARAMETER_PICTURES[parameter]}.png")
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    values, distance = tivita_values(read_tivita_rgb(path, height, width))
    return ParameterPicture(np.where(distance <= far, values, np.float32(np.nan)), distance)
