"""Run-length encoding as HuBMAP and Kaggle use it: column-major, 1-based, on images of any size.

The text `10 2 16 2` means: 2 pixels from pixel 10, 2 from pixel 16, where pixels are counted from 1 down
the first column, then down the second, and so on; a run may continue in the next column. Nothing here
needs more memory than the runs and the window or strip at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError

_CACHE_WORDS = 1 << 16


@dataclass(frozen=True)
class Runs:
    """The pixels of one mask of `height` × `width`.

    Attributes:
        starts: First pixel of each run as x * height + y, 0-based, int64, ascending.
        ends: One past its last pixel; a run never touches the next one.
        height, width: Size of the image in pixels.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    height: int
    width: int

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.starts)

    @property
    def pixels(self) -> int:
        """Number of pixels inside."""
        return int((self.ends - self.starts).sum())

    def encode(self) -> str:
        """The text: start and length of each run, starts counted from 1; empty for an empty mask."""
        pairs = np.stack([self.starts + 1, self.ends - self.starts], axis=1)
        return str(pl.Series(pairs.ravel()).cast(pl.String).str.join(" ").item())

    def window(self, x: int, y: int, w: int, h: int, *, downsample: float = 1.0) -> NDArray[np.bool_]:
        """The mask in a window of the image.

        Args:
            x: Left edge in pixels of the full image; may lie outside, where the mask is False.
            y: Top edge.
            w: Width in pixels of the full image.
            h: Height in pixels of the full image.
            downsample: Full-image pixels per returned pixel.

        Returns:
            (round(h / downsample), round(w / downsample)); a pixel has the value of the full-image pixel in
            which its centre lies (at an even downsample the centre is a corner, and the pixel right of and
            below it counts).

        Raises:
            UsageError: the window is empty.
        """
        rows = sample_positions(y, h, downsample)
        columns = sample_positions(x, w, downsample)
        return _paint((len(rows), len(columns)), *self._segments(columns, rows))

    def _segments(
        self, columns: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Position in `columns`, first position in `rows` and one past the last, of every stretch inside."""
        known = np.flatnonzero((columns >= 0) & (columns < self.width))
        top = columns[known] * self.height
        first = np.searchsorted(self.ends, top, side="right")
        beyond = np.searchsorted(self.starts, top + self.height, side="left")
        amount = np.maximum(beyond - first, 0)
        which = np.repeat(np.arange(len(known)), amount)
        index = _counting(first, amount)
        begin = np.maximum(self.starts[index] - top[which], 0)
        end = np.minimum(self.ends[index] - top[which], self.height)
        low, high = np.searchsorted(rows, begin), np.searchsorted(rows, end)
        seen = high > low
        return known[which[seen]], low[seen], high[seen]

    @classmethod
    def join(cls, starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> Self:
        """Runs from disjoint intervals in any order; those that touch become one.

        Raises:
            InvalidData: two intervals overlap; the message gives their indices in the given order.
        """
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        clash = np.flatnonzero(starts[1:] < ends[:-1])
        if len(clash):
            i, j = sorted((int(order[clash[0]]), int(order[clash[0] + 1])))
            raise InvalidData(
                f"run {j} (from pixel {int(starts[clash[0] + 1]) + 1}) overlaps run {i}", next_step=_CHECK_SIZE
            )
        apart = np.concatenate([[True], starts[1:] > ends[:-1]]) if len(starts) else np.zeros(0, dtype=bool)
        return cls(starts[apart], ends[np.roll(apart, -1)], height, width)


def _counting(first: NDArray[np.int64], amount: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the stretches first[i], first[i] + 1, … of amount[i] numbers each."""
    offset = np.cumsum(amount) - amount
    return np.asarray(np.arange(int(amount.sum())) + np.repeat(first - offset, amount), dtype=np.int64)


def _paint(
    shape: tuple[int, int], column: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """A mask with the rows `low` to `high` of each column set; stretches of a column do not overlap.

    Where a stretch begins stands 1, where it has ended -1; adding each row to the next one fills it.
    """
    edges = np.zeros((shape[0] + 1, shape[1]), dtype=np.int8)
    if len(column):
        edges[low, column] = 1
        edges[high, column] -= 1
        for row in range(int(low.min()) + 1, min(int(high.max()) + 1, shape[0])):
            np.add(edges[row], edges[row - 1], out=edges[row])
    return edges[:-1].view(np.bool_)


_CHECK_SIZE = "Check the runs, and that height and width are those of the image they were made on"


def sample_positions(origin: int, length: int, downsample: float) -> NDArray[np.int64]:
    """The full-image pixels in which the centres of `round(length / downsample)` coarse pixels lie.

    Raises:
        UsageError: the length or the downsample is not positive.
    """
    if length <= 0 or downsample <= 0:
        raise UsageError(f"a window of {length} px at a downsample of {downsample:g} is empty")
    count = max(1, round(length / downsample))
    return np.asarray(np.floor(origin + (np.arange(count) + 0.5) * downsample), dtype=np.int64)


def decode_runs(text: str | None, height: int, width: int, *, where: Path | str | None = None) -> Runs:
    """Read a run-length text.

    Args:
        text: Start and length of each run, separated by spaces; None or an empty text is an empty mask.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        where: File and image, for messages.

    Raises:
        InvalidData: not whole numbers, an odd count of them, a run without pixels, before the first or beyond
            the last pixel, or two that overlap; the message gives the index of the run, counted from 0.
    """
    words = (text or "").split()
    try:
        numbers = np.array(words, dtype=np.int64) if words else np.zeros(0, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        bad = next(i for i, word in enumerate(words) if not _is_integer(word))
        raise InvalidData(
            f"run {bad // 2} has '{words[bad][:40]}' where a whole number is needed", where=where
        ) from error
    if len(numbers) % 2:
        raise InvalidData(
            f"has an odd count of numbers ({len(numbers):,}), so run {len(numbers) // 2} has no length", where=where
        )
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    _check_runs(starts, lengths, height, width, where)
    try:
        return Runs.join(starts, starts + lengths, height, width)
    except InvalidData as error:
        raise InvalidData(error.what, where=where, next_step=error.next_step) from error


def _is_integer(word: str) -> bool:
    try:
        return -(2**63) <= int(word) < 2**63
    except ValueError:
        return False


def _check_runs(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], height: int, width: int, where: Path | str | None
) -> None:
    total = height * width
    for wrong, what in (
        (lengths < 1, "has no pixels"),
        (starts < 0, "begins before the first pixel (counting starts at 1)"),
        ((starts >= total) | (lengths > total - starts), f"ends beyond the last pixel of {height} × {width}"),
    ):
        if wrong.any():
            i = int(np.argmax(wrong))
            raise InvalidData(f"run {i} ({starts[i] + 1} {lengths[i]}) {what}", where=where, next_step=_CHECK_SIZE)


class RunEncoder:
    """Encodes a mask that comes in blocks (strips or tiles, in any order) without holding it whole.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self._starts: list[NDArray[np.int64]] = []
        self._ends: list[NDArray[np.int64]] = []

    def add(self, block: NDArray[Any], x: int = 0, y: int = 0) -> None:
        """Add the block (h, w) of booleans or integers, non-zero inside, whose top-left pixel is (x, y).

        Raises:
            UsageError: it reaches beyond the image.
        """
        h, w = block.shape
        if x < 0 or y < 0 or x + w > self.width or y + h > self.height:
            raise UsageError(f"the block x={x} y={y} w={w} h={h} is not inside {self.height} × {self.width} px")
        up, down = _vertical_edges(block)
        origin = x * self.height + y
        self._starts.append(origin + up[1] * self.height + up[0])
        self._ends.append(origin + down[1] * self.height + down[0])

    def finish(self) -> Runs:
        """The runs of all blocks.

        Raises:
            InvalidData: two blocks overlap, with different pixels set in both.
        """
        empty = [np.zeros(0, dtype=np.int64)]
        starts = np.concatenate(empty + [np.sort(part) for part in self._starts])
        ends = np.concatenate(empty + [np.sort(part) for part in self._ends])
        return Runs.join(starts, ends, self.height, self.width)


def encode_mask(mask: NDArray[Any]) -> str:
    """The run-length text of a mask (H, W) of booleans or integers, non-zero inside."""
    encoder = RunEncoder(*mask.shape)
    encoder.add(mask)
    return encoder.finish().encode()


def _vertical_edges(block: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows, columns) at which runs begin, and at which they have ended, as two (2, n) arrays."""
    h, w = block.shape
    block = np.ascontiguousarray(block if block.dtype in (np.uint8, np.bool_) else block != 0).view(np.uint8)
    changed = _changes(block.reshape(-1), w)
    y, x = np.divmod(changed, w)
    inside, above = block[y, x] != 0, block[y - 1, x] != 0
    first, last = np.flatnonzero(block[0]), np.flatnonzero(block[-1])
    up, down = inside & ~above, ~inside & above
    begins = np.stack([np.concatenate([np.zeros_like(first), y[up]]), np.concatenate([first, x[up]])])
    finishes = np.stack([np.concatenate([y[down], np.full_like(last, h)]), np.concatenate([x[down], last])])
    return begins, finishes


def _changes(flat: NDArray[np.uint8], width: int) -> NDArray[np.int64]:
    """Positions of the pixels that differ from the one above, ascending.

    Eight pixels are compared at a time, in pieces that stay in the processor's cache, since almost all of a mask is
    far from any edge. Rows need not be whole words: shifted by one row, the mask is simply not aligned.
    """
    count = max(0, len(flat) - width) // 8
    above, below = (flat[start : start + count * 8].view(np.uint64) for start in (0, width))
    differs = np.empty(_CACHE_WORDS, dtype=bool)
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, count, _CACHE_WORDS):
        end = min(count, start + _CACHE_WORDS)
        np.not_equal(above[start:end], below[start:end], out=differs[: end - start])
        found.append(np.flatnonzero(differs[: end - start]) + start)
    words = np.concatenate(found)
    inner = np.flatnonzero((above[words] ^ below[words]).view(np.uint8))
    rest = np.arange(count * 8, max(0, len(flat) - width))
    rest = rest[flat[rest] != flat[rest + width]]
    return np.asarray(np.concatenate([words[inner // 8] * 8 + inner % 8, rest]) + width)
