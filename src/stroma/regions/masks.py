"""Mask files into arrays: class indices, 0/255 binaries, palettes, colour tables, one file per class."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UnreadableImage

_TIFF = {".tif", ".tiff"}
_LOSSY = {"JPEG", "WEBP", "MPO"}


def read_mask(path: str | Path) -> NDArray[Any]:
    """Read a mask file as it is stored, without guessing what its values mean.

    Args:
        path: PNG, BMP, GIF, TIFF (level 0 of a pyramid) or NumPy `.npy`.

    Returns:
        (H, W) integers for grey values, palette indices and 1-bit masks (0 and 1), or (H, W, 3) uint8 for
        colour masks; an opaque alpha channel is dropped.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is damaged, no image, or too large to be held whole.
        InvalidData: it is JPEG (which changes values), has fractions as values, transparent pixels, or not one
            or three channels.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such mask", where=path)
    with stage("read"):
        if path.suffix.lower() in _TIFF:
            array = _read_tiff(path)
        elif path.suffix.lower() == ".npy":
            array = _read_npy(path)
        else:
            array = _read_picture(path)
    return _plain(array, path)


def _read_picture(path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path) as image:
                if image.format in _LOSSY:
                    raise InvalidData(
                        f"is {image.format}, whose compression changes the values of a mask",
                        where=path,
                        next_step="Save the mask as PNG or TIFF",
                    )
                array = np.asarray(image)
    except PIL.Image.DecompressionBombError as error:
        raise UnreadableImage(
            f"is too large to be read whole ({error})", where=path, next_step="Save it as a tiled TIFF"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(f"cannot be read as a mask ({error})", where=path) from error
    return array.astype(np.uint8) if array.dtype == bool else array


def _read_tiff(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = tifffile.imread(path, series=0, level=0)
    except (tifffile.TiffFileError, OSError, ValueError, IndexError, struct.error) as error:
        raise UnreadableImage(f"cannot be read as a mask ({error})", where=path) from error
    array = np.squeeze(array)
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    return array.astype(np.uint8) if array.dtype == bool else array


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableImage(f"cannot be read as an array ({error})", where=path) from error
    return array.astype(np.uint8) if array.dtype == bool else array


def _plain(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Check type and channels, and drop an alpha channel that says nothing."""
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidData(f"holds {array.dtype} values where a mask has whole numbers", where=path)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        full = np.iinfo(array.dtype).max
        if not np.all(array[..., -1] == full):
            raise InvalidData(
                "has transparent pixels, so its values are ambiguous",
                where=path,
                next_step="Save the mask without an alpha channel",
            )
        array = array[..., :-1]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        raise InvalidData(f"has shape {array.shape} where (H, W) or (H, W, 3) is needed", where=path)
    return np.ascontiguousarray(array)


def check_size(mask: NDArray[Any], height: int, width: int, *, where: Path | str | None = None) -> None:
    """Check that a mask has the size of its image.

    Raises:
        InvalidData: it has another one; the message gives both as height × width.
    """
    if mask.shape[:2] != (height, width):
        raise InvalidData(
            f"is {mask.shape[0]} × {mask.shape[1]} (height × width), its image is {height} × {width}", where=where
        )


def grey_from_rgb(mask: NDArray[Any], *, where: Path | str | None = None) -> NDArray[Any]:
    """Return the one channel of a colour mask whose three channels are equal; a 2-D mask as it is.

    Raises:
        InvalidData: the channels differ, so the mask encodes classes as colours.
    """
    if mask.ndim == 2:
        return mask
    if not (np.array_equal(mask[..., 0], mask[..., 1]) and np.array_equal(mask[..., 0], mask[..., 2])):
        raise InvalidData(
            "is a colour image where one value per pixel was expected",
            where=where,
            next_step="Give a table from colours to labels",
        )
    return mask[..., 0]


def binary_from_mask(mask: NDArray[Any], *, where: Path | str | None = None) -> NDArray[np.bool_]:
    """(H, W) True inside, from a mask with at most one value besides 0 (0/1, 0/255, equal channels).

    Raises:
        InvalidData: it holds more than two values or colours.
    """
    grey = grey_from_rgb(mask, where=where)
    values = np.unique(grey)
    inside = values[values != 0]
    if len(inside) > 1:
        shown = ", ".join(str(v) for v in inside[:5])
        raise InvalidData(f"is no binary mask: it holds {len(inside)} values besides 0 ({shown})", where=where)
    return np.asarray(grey != 0)


def parse_colour(text: str) -> tuple[int, int, int]:
    """(red, green, blue), 0-255, of `#rrggbb`, `rrggbb`, `#rgb` or `r,g,b`.

    Raises:
        InvalidData: it is no such text.
    """
    if "," in text:
        parts = [part.strip() for part in text.split(",")]
        numbers = [int(part) for part in parts if part.isdecimal()]
    else:
        digits = text.strip().lstrip("#")
        digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
        is_hex = len(digits) == 6 and all(c in "0123456789abcdefABCDEF" for c in digits)
        numbers = [int(digits[i : i + 2], 16) for i in (0, 2, 4)] if is_hex else []
    if len(numbers) != 3 or max(numbers) > 255:
        raise InvalidData(f"'{text}' is no colour", next_step="Write it as #rrggbb or as r,g,b from 0 to 255")
    return numbers[0], numbers[1], numbers[2]


def rgb_to_index(
    mask: NDArray[Any], colours: Mapping[str, int], *, where: Path | str | None = None
) -> NDArray[np.uint8]:
    """Translate a colour mask into class indices.

    Args:
        mask: (H, W, 3) uint8.
        colours: `#rrggbb` or `r,g,b` → index 0-255. A colour that is missing here is an error, never a guess.
        where: The file, for the message.

    Returns:
        (H, W) class indices.

    Raises:
        InvalidData: a colour that the table does not have, with the first pixel that has it.
    """
    if mask.ndim != 3 or mask.shape[2] != 3:
        raise InvalidData(f"is no colour mask (shape {mask.shape})", where=where)
    packed = _pack(mask)
    table = {(r << 16) | (g << 8) | b: index for (r, g, b), index in _parsed(colours).items()}
    values, inverse = np.unique(packed, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in table]
    if unknown:
        y, x = np.argwhere(packed == unknown[0])[0]
        raise InvalidData(
            f"has the colour #{unknown[0]:06x} (first at x={x}, y={y}), which the colour table lacks",
            where=where,
            next_step="Add it to the table, as a label or as not annotated",
        )
    indices = np.array([table[int(value)] for value in values], dtype=np.uint8)
    return indices[inverse].reshape(mask.shape[:2])


def _pack(mask: NDArray[Any]) -> NDArray[np.uint32]:
    wide = mask.astype(np.uint32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], dtype=np.uint32)


def _parsed(colours: Mapping[str, int]) -> dict[tuple[int, int, int], int]:
    result: dict[tuple[int, int, int], int] = {}
    for text, index in colours.items():
        rgb = parse_colour(text)
        if result.get(rgb, index) != index:
            raise InvalidData(f"the colour '{text}' stands for {result[rgb]} and for {index}")
        result[rgb] = index
    return result
