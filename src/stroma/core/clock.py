"""The stage clock: how long a verb spent reading, decoding, transforming, computing and writing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

STAGES = ("read", "decode", "transform", "forward", "write")
"""The stages a verb's log reports, in the order in which data passes through them."""


class StageClock:
    """Seconds and calls per stage; time in an inner stage does not count for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._open: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`; an error passing through remembers the innermost stage."""
        start = time.perf_counter()
        self._open.append(0.0)
        try:
            yield
        except Exception as error:
            if not hasattr(error, "stroma_stage"):
                error.stroma_stage = name  # type: ignore[attr-defined]
            raise
        finally:
            elapsed = time.perf_counter() - start
            inner = self._open.pop()
            if self._open:
                self._open[-1] += elapsed
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inner
            self.calls[name] = self.calls.get(name, 0) + 1

    def add(self, other: Mapping[str, Mapping[str, float]]) -> None:
        """Add what `to_dict` of another clock (of a worker, of an item) returned."""
        for name, entry in other.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + entry["seconds"]
            self.calls[name] = self.calls.get(name, 0) + int(entry["calls"])

    def to_dict(self) -> dict[str, dict[str, float]]:
        """`{stage: {"seconds": …, "calls": …}}`, known stages first."""
        order = [*(s for s in STAGES if s in self.seconds), *(s for s in self.seconds if s not in STAGES)]
        return {name: {"seconds": self.seconds[name], "calls": self.calls[name]} for name in order}

    def __str__(self) -> str:
        parts = [f"{name} {entry['seconds']:.1f} s" for name, entry in self.to_dict().items()]
        return ", ".join(parts) or "no stages"


_current: ContextVar[StageClock | None] = ContextVar("stroma_clock", default=None)


@contextmanager
def running_clock(clock: StageClock | None = None) -> Iterator[StageClock]:
    """Make `clock` (or a new one) the one that `stage` adds to inside the block."""
    clock = clock or StageClock()
    token = _current.set(clock)
    try:
        yield clock
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a block as `name` on the clock of the verb that runs, if one runs.

    Args:
        name: One of `STAGES` where one fits.
    """
    with (_current.get() or StageClock()).stage(name):
        yield
