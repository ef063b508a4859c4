"""Granularities `image` and `patch`: list addresses, read them as arrays, stitch outputs onto the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import ConfigError
from stroma.core.tables import ADDRESS_SCHEMA
from stroma.images.image import Image


class Granularity(Protocol):
    """Which regions of an image are samples, and how their outputs become an answer for the image."""

    def list(self, image: Image, image_id: str) -> pl.DataFrame:
        """All addresses in raster order, with the columns of `ADDRESS_SCHEMA`."""

    def stitch(
        self, addresses: pl.DataFrame, outputs: Iterable[NDArray[np.float32]], width: int, height: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Turn one output (h, w, K) per address into strips `(y, (rows, width, K))` from top to bottom."""


@dataclass(frozen=True)
class WholeImage:
    """The whole image is one sample."""

    def list(self, image: Image, image_id: str) -> pl.DataFrame:
        """One address."""
        height, width, _ = image.shape
        return address_table(image_id, [(0, 0, width, height)], image.mpp)

    def stitch(
        self, addresses: pl.DataFrame, outputs: Iterable[NDArray[np.float32]], width: int, height: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """One strip: the output itself."""
        for output in outputs:
            yield 0, output[:height, :width]


@dataclass(frozen=True)
class Patch:
    """Square windows in raster order; where they overlap, outputs are averaged with equal weight.

    Attributes:
        size_px: Side of the window in pixels.
        overlap: Common fraction of neighbouring windows in prediction, 0 to below 1. The last window of a row
            and of a column is moved inwards to end at the border, so that all windows lie inside an image that
            is large enough.
    """

    size_px: int = 64
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.size_px < 1 or not 0 <= self.overlap < 1:
            raise ConfigError(f"patch needs size_px ≥ 1 and 0 ≤ overlap < 1, not {self.size_px} and {self.overlap}")

    def list(self, image: Image, image_id: str) -> pl.DataFrame:
        """Windows that cover the image."""
        height, width, _ = image.shape
        step = max(1, round(self.size_px * (1 - self.overlap)))
        boxes = [
            (x, y, self.size_px, self.size_px)
            for y in window_starts(height, self.size_px, step)
            for x in window_starts(width, self.size_px, step)
        ]
        return address_table(image_id, boxes, image.mpp)

    def stitch(
        self, addresses: pl.DataFrame, outputs: Iterable[NDArray[np.float32]], width: int, height: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Average overlapping windows; only the rows that later windows can still reach are held."""
        rows = addresses.select("x", "y").rows()
        later = [y for _, y in rows[1:]] + [height]
        top, total, weight = 0, None, None
        for (x, y), following, output in zip(rows, later, outputs, strict=True):
            if total is None or weight is None:
                total = np.zeros((0, width, output.shape[2]), np.float32)
                weight = np.zeros((0, width, 1), np.float32)
            bottom, right = min(y + self.size_px, height), min(x + self.size_px, width)
            missing = bottom - top - len(total)
            if missing > 0:
                total = np.concatenate([total, np.zeros((missing, *total.shape[1:]), np.float32)])
                weight = np.concatenate([weight, np.zeros((missing, width, 1), np.float32)])
            total[y - top : bottom - top, x:right] += output[: bottom - y, : right - x]
            weight[y - top : bottom - top, x:right] += 1
            ready = min(following - top, len(total))
            if ready > 0 and following > y:
                yield top, total[:ready] / weight[:ready]
                top, total, weight = top + ready, total[ready:], weight[ready:]


def window_starts(length: int, size: int, step: int) -> list[int]:
    """Starts of windows that cover 0 to `length`; the last one ends at the border if `size` ≤ `length`."""
    if length <= size:
        return [0]
    starts = list(range(0, length - size + 1, step))
    if starts[-1] != length - size:
        starts.append(length - size)
    return starts


def address_table(image_id: str, boxes: list[tuple[int, int, int, int]], mpp: float | None) -> pl.DataFrame:
    """Addresses of boxes (x, y, w, h), numbered in the given order."""
    rows = [(image_id, region, *box, mpp) for region, box in enumerate(boxes)]
    return pl.DataFrame(rows, schema=ADDRESS_SCHEMA, orient="row")


def read_samples(image: Image, addresses: pl.DataFrame) -> Iterator[NDArray[Any]]:
    """Stored values (h, w, C) of each address; what lies outside the image is filled."""
    for x, y, w, h in addresses.select("x", "y", "w", "h").iter_rows():
        yield image.read(x, y, w, h)
