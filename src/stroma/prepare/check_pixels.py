"""What the pixels of one image say: whether they can all be read, what they are, and how they look."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.files import sha256
from stroma.images.colour import RGB
from stroma.images.image import Image
from stroma.images.tivita_rgb import CUBE_ENDING
from stroma.slides.overview import read_overview
from stroma.slides.tissue import tissue_mask
from stroma.spectra.rgb import hsi_to_rgb
from stroma.study.rgb import to_rgb

WHOLE_BYTES = 512 * 2**20
"""Larger images are not read pixel by pixel, but as an overview and as windows from corners and centre."""
THUMBNAIL_PX = 160
HASH_SHAPE = (16, 16)
_STRIP_BYTES = 32 * 2**20
_OVERVIEW_PX = 1024
_SAMPLED_PX = 512
_WINDOW_PX = 256


@dataclass(frozen=True)
class Pixels:
    """What the pixels of an image say.

    Attributes:
        content: SHA-256 of the pixels, 32 hexadecimal digits: equal for equal pixels, whatever file they lie in.
            For an image above `WHOLE_BYTES` that of its overview, its windows and its size.
        constant: Whether all of them are equal.
        not_finite: How many values are NaN or infinite.
        picture: (h, w, 3) uint8 for display, or None for channels that are no colours.
        tissue: Fraction of a slide's overview that is tissue, 0-1; None for other images.
        mean: Mean red, green and blue of the picture, on slides of its tissue, 0-1; empty without a picture.
        spread: Standard deviations likewise.
    """

    content: str
    constant: bool
    not_finite: int = 0
    picture: NDArray[np.uint8] | None = None
    tissue: float | None = None
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()


def look_at(image: Image, path: Path, picture: NDArray[np.uint8] | None = None) -> Pixels:
    """Read an image, with bounded memory.

    Args:
        image: It, opened.
        path: Its file.
        picture: How it looks, where that is known (the camera's own picture of a cube).

    Raises:
        UnreadableImage: the file is damaged.
    """
    height, width, channels = image.shape
    large = height * width * channels * image.dtype.itemsize > WHOLE_BYTES
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    if large or len(image.levels) > 1 or (image.mpp is not None and image.channels == RGB):
        return _look_at_slide(image, path, digest, whole=not large)
    seen = _Seen(max(1, -(-max(height, width) // _SAMPLED_PX)))
    for y, strip in _strips(image):
        seen.add(strip, y)
        if not path.name.endswith(CUBE_ENDING):
            digest.update(strip.data)
    content = sha256(path) if path.name.endswith(CUBE_ENDING) else digest.hexdigest()
    shown = picture if picture is not None else _display(np.concatenate(seen.samples), image, path)
    mean, spread = _colours(shown)
    return Pixels(content[:32], seen.low == seen.high, seen.not_finite, shown, None, mean, spread)


class _Seen:
    """What has been seen of an image that comes in strips.

    Args:
        step: Every how many rows and columns a pixel is kept for its picture.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.samples: list[NDArray[Any]] = []
        self.not_finite = 0
        self.low, self.high = np.inf, -np.inf

    def add(self, strip: NDArray[Any], y: int) -> None:
        with stage("transform"):
            self.samples.append(strip[-y % self.step :: self.step, :: self.step])
            low, high = strip.min(), strip.max()
            if strip.dtype.kind == "f" and not np.isfinite(low + high):
                self.not_finite += strip.size - int(np.count_nonzero(np.isfinite(strip)))
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))


def _strips(image: Image) -> Iterator[tuple[int, NDArray[Any]]]:
    height, width, channels = image.shape
    rows = max(1, _STRIP_BYTES // (width * channels * image.dtype.itemsize))
    for y in range(0, height, rows):
        yield y, np.ascontiguousarray(image.read(0, y, width, min(rows, height - y)))


def _look_at_slide(image: Image, path: Path, digest: Any, *, whole: bool) -> Pixels:
    """A pyramid, or an image too large to be read whole."""
    height, width, _ = image.shape
    parts = (strip for _, strip in _strips(image)) if whole else _windows(image)
    for part in parts:
        digest.update(part.data)
    if len(image.channels) not in (1, 3) or image.dtype != np.uint8:
        coarse = image.read(level=-1) if max(image.levels[-1].height, image.levels[-1].width) <= _SAMPLED_PX else None
        shown = None if coarse is None else _display(coarse, image, path)
        return Pixels(digest.hexdigest()[:32], False, 0, shown, None, *_colours(shown))
    overview = read_overview(image, _OVERVIEW_PX)
    digest.update(overview.rgb.data if not whole else b"")
    _, tissue = tissue_mask(overview.rgb)
    constant = bool((overview.rgb == overview.rgb[0, 0]).all())
    mean, spread = _colours(overview.rgb, tissue)
    return Pixels(digest.hexdigest()[:32], constant, 0, overview.rgb, float(tissue.mean()), mean, spread)


def _windows(image: Image) -> Iterator[NDArray[Any]]:
    """Level 0 in the corners and the centre: a file that was cut off fails in one of them."""
    height, width, _ = image.shape
    right, bottom = max(0, width - _WINDOW_PX), max(0, height - _WINDOW_PX)
    for x, y in ((0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)):
        yield np.ascontiguousarray(image.read(x, y, min(_WINDOW_PX, width), min(_WINDOW_PX, height)))


def _display(pixels: NDArray[Any], image: Image, path: Path) -> NDArray[np.uint8] | None:
    try:
        if image.wavelengths_nm is not None and pixels.shape[2] > 4:
            return hsi_to_rgb(pixels, image.wavelengths_nm)
        return to_rgb(pixels, path)
    except InvalidData:
        return None


def _colours(
    picture: NDArray[np.uint8] | None, where: NDArray[np.bool_] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if picture is None:
        return (), ()
    chosen = picture[where] if where is not None and where.any() else picture.reshape(-1, 3)
    with stage("transform"):
        mean, spread = chosen.mean(axis=0, dtype=np.float64) / 255, chosen.std(axis=0, dtype=np.float64) / 255
    return tuple(mean.tolist()), tuple(spread.tolist())


def difference_hash(picture: NDArray[np.uint8]) -> str:
    """Which of 16 × 16 neighbouring parts of a picture grow brighter from left to right, as 64 hexadecimal digits.

    Pictures that were scaled, recompressed or slightly recoloured keep nearly all of these bits (difference hash,
    N. Krawetz, 2013).

    Args:
        picture: (h, w, 3) uint8.
    """
    rows, columns = HASH_SHAPE
    small = Picture.fromarray(picture).convert("L").resize((columns + 1, rows), Picture.Resampling.BOX)
    gray = np.asarray(small, dtype=np.int16)
    return np.packbits(gray[:, 1:] > gray[:, :-1]).tobytes().hex()
