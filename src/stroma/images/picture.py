"""PNG, JPEG and BMP pictures: known by their first bytes, decoded whole, read by region."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin
from PIL.ImageFile import ImageFile

from stroma.core.clock import stage
from stroma.core.errors import UnreadableImage
from stroma.images.cache import DECODED, file_key
from stroma.images.colour import GRAY, RGB, over_white
from stroma.images.guard import check_plausible, foreign_bytes
from stroma.images.image import Box, Image, Level
from stroma.images.scale import one_mpp

_OPENERS: dict[bytes, Any] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
"""First bytes → what opens them. Going past `PIL.Image.open` asks no other plug-in, and leaves the pixel
limit, which Pillow keeps as one global number, to `_MAX_PIXELS`."""

_MAX_PIXELS = 2**29
_GRAY_MODES = ("1", "L", "LA")
_PNG_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
"""PNG colour type → samples a pixel, of the types that can have 16 bits."""


class PictureImage(Image):
    """A PNG, JPEG or BMP file; one level, channels `red, green, blue` or `gray`.

    Palettes become RGB, transparency is laid on white, bilevel pixels become 0 and 255, 16-bit pictures stay
    uint16, CMYK becomes RGB. Pixels come as they are stored: an orientation in EXIF data turns nothing, so that
    coordinates mean the same everywhere.

    Args:
        path: The file, whatever its suffix.
        mpp: Size of a pixel in µm; the files state only print resolutions, which are not used.

    Attributes:
        format: `PNG`, `JPEG` or `BMP`.

    Raises:
        UnreadableImage: the file is damaged, of another kind, or has more than 2^29 pixels.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".bmp")

    def __init__(self, path: Path | str, *, mpp: float | None = None) -> None:
        self.path = Path(path)
        with foreign_bytes(self.path), _open(self.path) as picture:
            width, height = picture.size
            self.format = str(picture.format)
            deep = _deep_png_samples(self.path)
            gray = deep <= 2 if deep else picture.mode in _GRAY_MODES
        self.dtype = np.dtype(np.uint16 if deep else np.uint8)
        self.channels = GRAY if gray else RGB
        self.levels = (Level(height, width, 1.0),)
        self.mpp = one_mpp(None, None, path=self.path, given=mpp)
        check_plausible(self.path, *self.shape, self.dtype.itemsize, self.path.stat().st_size)
        if height * width > _MAX_PIXELS:
            raise UnreadableImage(
                f"has {width:,}×{height:,} pixels, and such a file can only be decoded whole",
                where=self.path,
                next_step="Convert it to a tiled TIFF, which is read by region",
            )

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a file that begins like a PNG, JPEG or BMP."""
        return path.is_file() and _opener(path) is not None

    def close(self) -> None:
        """Let go of the decoded picture."""
        DECODED.forget(self.path)

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        file = file_key(self.path)
        whole = DECODED.find(file, "picture")
        if whole is None and box == self.bounds:
            whole = self._decode()
        elif whole is None:
            whole = DECODED.get(file, "picture", self._decode)
        part = whole[box.y : box.y + box.h, box.x : box.x + box.w]
        part = part if channels is None else part[:, :, channels]
        return part if part is whole else np.array(part, order="C")

    def _decode(self) -> NDArray[Any]:
        with stage("decode"), foreign_bytes(self.path):
            pixels = _decode_deep_png(self.path) if _deep_png_samples(self.path) else _decode(self.path)
        if pixels.shape != self.shape or pixels.dtype != self.dtype:
            raise UnreadableImage("has changed since it was opened", where=self.path, next_step="Open it again")
        return pixels


def _opener(path: Path) -> Any | None:
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def _open(path: Path) -> ImageFile:
    opener = _opener(path)
    if opener is None:
        raise UnreadableImage("is no PNG, JPEG or BMP", where=path)
    picture: ImageFile = opener(path)
    return picture


def _deep_png_samples(path: Path) -> int:
    """Samples a pixel of a PNG with 16 bits a sample, which Pillow would cut to 8; 0 for other files."""
    with path.open("rb") as handle:
        start = handle.read(26)
    is_deep = start.startswith(b"\x89PNG") and len(start) == 26 and start[24] == 16
    return _PNG_SAMPLES.get(start[25], 0) if is_deep else 0


def _decode(path: Path) -> NDArray[np.uint8]:
    """Decode with Pillow into (H, W, 1) or (H, W, 3)."""
    with _open(path) as picture:
        gray = picture.mode in _GRAY_MODES
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            rgba = np.asarray(picture.convert("RGBA"))
            return over_white(rgba[:, :, : 1 if gray else 3], rgba[:, :, 3])
        wanted = "L" if gray else "RGB"
        pixels = np.array(picture if picture.mode == wanted else picture.convert(wanted))
    return pixels.reshape(*pixels.shape[:2], -1)


def _decode_deep_png(path: Path) -> NDArray[np.uint16]:
    """Decode a 16-bit PNG into (H, W, 1) or (H, W, 3)."""
    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] in (2, 4):
        return over_white(pixels[:, :, :-1], pixels[:, :, -1])
    return pixels
