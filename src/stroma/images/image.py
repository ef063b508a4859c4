"""`Image`: a raster height × width × channels that is read by region, whatever file it lies in."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.errors import UsageError, nearest
from stroma.images.colour import RGB, white_of
from stroma.images.resize import resize_area as resize_area


@dataclass(frozen=True)
class Box:
    """A rectangle in level-0 pixels; (x, y) is the outer corner of its top-left pixel."""

    x: int
    y: int
    w: int
    h: int

    def intersect(self, other: Box) -> Box:
        """The common part; width or height is 0 when there is none."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.x + self.w, other.x + other.w), min(self.y + self.h, other.y + other.h)
        return Box(x, y, max(0, right - x), max(0, bottom - y))


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid.

    Attributes:
        height, width: Size in pixels of this level.
        downsample: Level-0 pixels per pixel of this level (1.0 for level 0).
    """

    height: int
    width: int
    downsample: float


def downsample_of(level: tuple[int, int], top: tuple[int, int]) -> float:
    """How many level-0 pixels a pixel of a level spans, from the two sizes (height, width).

    Levels are cut or padded to whole pixels: 8228 rows of 32914 were averaged by 4, not by 4.0002. So the
    nearest whole number is taken where it explains both sides, else the mean of the two ratios.
    """
    mean = (top[0] / level[0] + top[1] / level[1]) / 2
    whole = max(1, round(mean))
    explained = all(small in (large // whole, -(-large // whole)) for small, large in zip(level, top, strict=True))
    return float(whole) if explained else mean


class Image(ABC):
    """A raster that is read by region. Open one with `stroma.open_image`.

    Attributes:
        path: The file or folder it lies in.
        levels: The pyramid, level 0 first.
        channels: Names of the channels, for example `("red", "green", "blue")`.
        wavelengths_nm: Centre wavelength of each channel in nm, or None.
        mpp: Size of a level-0 pixel in µm, or None when the file does not say.
        dtype: What `read` returns.
        fill: Value of pixels outside the image: white (255) for RGB, 0 else.
        prepared: Steps of a `Preparation` that the pixels have gone through already (stores).

    Images are picklable: a copy in another process opens the file again.
    """

    path: Path
    levels: tuple[Level, ...]
    channels: tuple[str, ...]
    wavelengths_nm: NDArray[np.float64] | None = None
    mpp: float | None = None
    dtype: np.dtype[Any]
    prepared: tuple[Component, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of level 0."""
        return self.levels[0].height, self.levels[0].width, len(self.channels)

    @property
    def bounds(self) -> Box:
        """The whole image in level-0 pixels."""
        return Box(0, 0, self.levels[0].width, self.levels[0].height)

    @property
    def fill(self) -> int:
        """Value of pixels outside the image."""
        return white_of(self.dtype) if self.channels == RGB else 0

    @abstractmethod
    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        """Read `box`, in pixels of `level` and inside it, as (h, w, c), C-contiguous."""

    def close(self) -> None:  # noqa: B027 - most readers hold no file open
        """Release the file; reading afterwards opens it again."""

    def read(
        self,
        x: int = 0,
        y: int = 0,
        w: int | None = None,
        h: int | None = None,
        *,
        level: int = 0,
        mpp: float | None = None,
        downsample: float | None = None,
        channels: slice | list[int] | None = None,
    ) -> NDArray[Any]:
        """Read a region.

        Args:
            x: Left edge in level-0 pixels; may lie outside.
            y: Top edge in level-0 pixels; may lie outside.
            w: Width in level-0 pixels (default: to the right edge).
            h: Height in level-0 pixels (default: to the bottom edge).
            level: Pyramid level to read from; negative counts from the coarsest.
            mpp: Resolution in µm per pixel instead of a level: read from the coarsest level that is at least
                as fine, then averaged down.
            downsample: The same as level-0 pixels per pixel, for images that do not say how large theirs are.
            channels: Indices or a slice of channels; default all.

        Returns:
            Array (round(h / downsample), round(w / downsample), c), C-contiguous, of `dtype`. What lies
            outside the image is `fill`; `inside` tells how much that is.

        Raises:
            UsageError: an empty region, an unknown level, a resolution that is not positive, or an mpp for an image
                that has none.
            UnreadableImage: the file is damaged there.
        """
        if mpp is not None:
            downsample = mpp / self._known_mpp()
        try:
            return self._read(x, y, w, h, level, downsample, channels)
        except MemoryError as error:
            raise UsageError(
                f"the region x={x} y={y} w={w} h={h} needs more memory than there is",
                where=self.path,
                next_step="Read it in parts, or from a coarser level",
            ) from error

    def _read(
        self,
        x: int,
        y: int,
        w: int | None,
        h: int | None,
        level: int,
        downsample: float | None,
        channels: slice | list[int] | None,
    ) -> NDArray[Any]:
        box = Box(x, y, self.shape[1] - x if w is None else w, self.shape[0] - y if h is None else h)
        if box.w <= 0 or box.h <= 0:
            raise UsageError(f"the region x={box.x} y={box.y} w={box.w} h={box.h} is empty", where=self.path)
        if downsample is not None:
            return self._read_resampled(box, downsample, channels)
        index = self._level_index(level)
        factor = self.levels[index].downsample
        scaled = Box(
            round(box.x / factor), round(box.y / factor), max(1, round(box.w / factor)), max(1, round(box.h / factor))
        )
        return self._read_filled(index, scaled, channels)

    def inside(self, x: int, y: int, w: int, h: int) -> Box:
        """The part of a region that lies in the image, in level-0 pixels; the rest is filled by `read`."""
        return Box(x, y, w, h).intersect(self.bounds)

    def level_for(self, downsample: float) -> int:
        """The coarsest level whose downsample is at most `downsample` (within 1 %)."""
        return max(i for i, entry in enumerate(self.levels) if i == 0 or entry.downsample <= downsample * 1.01)

    def _level_index(self, level: int) -> int:
        if not -len(self.levels) <= level < len(self.levels):
            raise UsageError(
                f"there is no level {level}", where=self.path, next_step=f"Use 0 to {len(self.levels) - 1}"
            )
        return level % len(self.levels)

    def _known_mpp(self) -> float:
        if self.mpp is None:
            raise UsageError(
                "the file does not say how large its pixels are",
                where=self.path,
                next_step="Open it with mpp=…, or read it with downsample=… or level=…",
            )
        return self.mpp

    def _read_resampled(self, box: Box, downsample: float, channels: slice | list[int] | None) -> NDArray[Any]:
        if not (math.isfinite(downsample) and downsample > 0):
            raise UsageError(f"{downsample:g} level-0 pixels per pixel is no resolution", where=self.path)
        index = self.level_for(downsample)
        height, width = max(1, round(box.h / downsample)), max(1, round(box.w / downsample))
        entry = self.levels[index]
        y, h, top, bottom = _window(box.y, box.h, self.shape[0], entry.height, entry.downsample, height)
        x, w, left, right = _window(box.x, box.w, self.shape[1], entry.width, entry.downsample, width)
        source = self._read_extended(index, Box(x, y, w, h), channels)
        with stage("transform"):
            return resize_area(source, height, width, (top, bottom, left, right))

    def _read_extended(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        """`_read_filled`, but where a level was cut to whole pixels its last row and column stand for the rest."""
        entry = self.levels[level]
        height, width = (math.ceil(_snapped(side / entry.downsample)) for side in self.shape[:2])
        y, x = min(box.y, entry.height - 1), min(box.x, entry.width - 1)
        source = self._read_filled(level, Box(x, y, box.w + box.x - x, box.h + box.y - y), channels)
        rows, columns = y + source.shape[0] > entry.height < height, x + source.shape[1] > entry.width < width
        if rows or columns:
            source = np.array(source)
        if rows:
            source[entry.height - y : height - y] = source[entry.height - 1 - y]
        if columns:
            source[:, entry.width - x : width - x] = source[:, entry.width - 1 - x : entry.width - x]
        return source[box.y - y :, box.x - x :]

    def _read_filled(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        entry = self.levels[level]
        inner = box.intersect(Box(0, 0, entry.width, entry.height))
        if inner == box:
            return self._read_level(level, box, channels)
        count = len(np.arange(len(self.channels))[channels if channels is not None else slice(None)])
        result = np.full((box.h, box.w, count), self.fill, dtype=self.dtype)
        if inner.w and inner.h:
            part = self._read_level(level, inner, channels)
            top, left = inner.y - box.y, inner.x - box.x
            result[top : top + inner.h, left : left + inner.w] = part
        return result

    def channel_index(self, name: str) -> int:
        """Index of the channel called `name`.

        Raises:
            UsageError: there is none of that name.
        """
        if name not in self.channels:
            raise UsageError(f"there is no channel '{name}'", where=self.path, next_step=nearest(name, self.channels))
        return self.channels.index(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width, count = self.shape
        scale = f", {self.mpp:g} µm/px" if self.mpp else ""
        return f"{type(self).__name__}('{self.path.name}', {height} × {width} × {count} {self.dtype}{scale})"


def _window(
    start: int, length: int, size: int, level_size: int, downsample: float, wanted: int
) -> tuple[int, int, float, float]:
    """Where a stretch of level-0 pixels lies on a level, along one axis.

    Args:
        start: First level-0 pixel.
        length: Number of level-0 pixels.
        size: Of level 0.
        level_size: Of the level.
        downsample: Of the level.
        wanted: Number of pixels it will be resized to.

    Returns:
        First pixel and number of pixels to read from the level, then the exact start and stop in these.
    """
    low, high = (_snapped(edge / downsample) for edge in (start, start + length))
    is_inside = start >= 0 and start + length <= size
    first, last = math.floor(low), math.ceil(high)
    if high - low < wanted:  # enlarged: neighbours are needed to interpolate
        first, last = first - 1, last + 1
        if is_inside:
            first, last = max(0, first), min(max(level_size, math.ceil(high)), last)
    return first, last - first, low - first, high - first


def _snapped(value: float) -> float:
    """A whole number where only rounding errors keep it from being one."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 else value
