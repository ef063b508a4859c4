"""What readers keep between reads, bounded for the whole process: open slides and decoded blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage

V = TypeVar("V")
FileKey = tuple[str, int, int]


class BoundedCache(Generic[V]):
    """Keeps what was used last; the oldest entries leave when the total weight passes the limit.

    Entries are only let go of, never closed: another thread may be using one. The newest always stays.

    Args:
        limit: Largest total weight.
        weigh: Weight of an entry; by default every entry weighs 1.
    """

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self.limit = limit
        self._weigh = weigh
        self._entries: OrderedDict[tuple[FileKey, Hashable], V] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def get(self, file: FileKey, part: Hashable, make: Callable[[], V]) -> V:
        """Return the entry for `part` of `file`, made first if it is not there.

        Two threads that ask at once may both make it; one of the two is kept.
        """
        key = (file, part)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        value = make()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = value
                self._total += self._weigh(value)
            while self._total > self.limit and len(self._entries) > 1:
                self._total -= self._weigh(self._entries.popitem(last=False)[1])
        return value

    def find(self, file: FileKey, part: Hashable) -> V | None:
        """Return the entry if it is there."""
        with self._lock:
            return self._entries.get((file, part))

    def forget(self, path: Path) -> None:
        """Let go of everything that belongs to the file at `path`."""
        with self._lock:
            for key in [key for key in self._entries if key[0][0] == str(path)]:
                self._total -= self._weigh(self._entries.pop(key))

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)


DECODED: BoundedCache[NDArray[Any]] = BoundedCache(256 * 2**20, lambda array: array.nbytes)
"""Decoded blocks (a tile or strip of a TIFF, a whole PNG) of which only a part was asked for; 256 MiB."""


def file_key(path: Path) -> FileKey:
    """Path, size and time of change: another file in the same place has another key.

    Raises:
        UnreadableImage: the file cannot be opened.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    return str(path), status.st_size, status.st_mtime_ns
