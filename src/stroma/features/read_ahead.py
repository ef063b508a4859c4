"""Read batches of tiles in threads while the encoder works on the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from stroma.core.clock import StageClock, running_clock

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(function: Callable[[T], R], jobs: Iterable[T], *, threads: int, clock: StageClock) -> Iterator[R]:
    """Apply `function` to every job in threads and yield the results in the order of the jobs.

    Args:
        function: What to do with a job; called from several threads.
        jobs: Consumed lazily, at most `threads` + 1 ahead of what has been yielded.
        threads: Number of threads.
        clock: The time that the threads spend in stages is added to it.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="stroma-read") as pool:
        pending: deque[Future[tuple[R, StageClock]]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(_timed, function, job))
                if len(pending) > threads:
                    yield _collect(pending, clock)
            while pending:
                yield _collect(pending, clock)
        finally:
            for future in pending:
                future.cancel()


def _timed(function: Callable[[T], R], job: T) -> tuple[R, StageClock]:
    with running_clock() as clock:
        return function(job), clock


def _collect(pending: deque[Future[tuple[R, StageClock]]], clock: StageClock) -> R:
    result, spent = pending.popleft().result()
    clock.add(spent.to_dict())
    return result
