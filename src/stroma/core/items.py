"""`map_items`: apply a function to many items; the failure of one stops no other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, Generic, TypeVar

from stroma.core.clock import running_clock
from stroma.core.errors import StromaError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[T, R]):
    """An item that succeeded."""

    item: T
    result: R
    clock: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed(Generic[T]):
    """An item that failed.

    Attributes:
        item: The item.
        stage: The innermost stage of the stage clock it failed in, or an empty string.
        error: Class name of the error.
        message: One line for the user.
    """

    item: T
    stage: str
    error: str
    message: str
    clock: dict[str, dict[str, float]] = field(default_factory=dict)


def map_items(
    function: Callable[[T], R], items: Iterable[T], *, workers: int = 1
) -> Iterator[Done[T, R] | Failed[T]]:
    """Apply `function` to every item and yield the outcomes in the order of the items.

    Results should be small: large ones belong into files. With several workers, `function` and the
    items travel to freshly started (spawned) processes, so both must be picklable and `function` must
    be defined at the top level of a module.

    Args:
        function: What to do with one item.
        items: The items; consumed lazily, at most two per worker ahead.
        workers: Number of processes; 1 runs in this process, 0 takes one per core.

    Yields:
        `Done` or `Failed`, one per item. A worker that dies (out of memory, a crash in a C library) fails
        only the item that killed it; the others that are being worked on are run again.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        for item in items:
            yield _attempt(function, item)
        return
    yield from _in_processes(function, items, workers)


def _attempt(function: Callable[[T], R], item: T) -> Done[T, R] | Failed[T]:
    with running_clock() as clock:
        try:
            result = function(item)
        except Exception as error:  # noqa: BLE001 - the one boundary: recorded, reported, exit code tells
            return _failure(item, error, clock.to_dict())
    return Done(item, result, clock.to_dict())


def _failure(item: T, error: Exception, clock: dict[str, dict[str, float]]) -> Failed[T]:
    text = str(error) if isinstance(error, StromaError) else f"{type(error).__name__}: {error}"
    return Failed(item, getattr(error, "stroma_stage", ""), type(error).__name__, " ".join(text.split()), clock)


def _start_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let this worker end when its parent is killed: it would wait for work for ever, holding its memory."""
    parent = parent_process()
    if parent is not None:
        Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # files that it was writing have temporary names


def _submit(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> Future[Any]:
    """A future of the item; one that failed if a worker died since the last item was handed over."""
    try:
        return pool.submit(_attempt, function, item)
    except BrokenProcessPool as error:
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


def _in_processes(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[Done[T, R] | Failed[T]]:
    pending: deque[tuple[T, Future[Any]]] = deque()
    source = iter(items)
    pool = _start_pool(workers)
    try:
        while True:
            while len(pending) < 2 * workers:
                try:
                    item = next(source)
                except StopIteration:
                    break
                pending.append((item, _submit(pool, function, item)))
            if not pending:
                return
            item, future = pending.popleft()
            try:
                outcome = future.result()
            except BrokenProcessPool:
                in_flight = [(item, None), *((other, _outcome(future)) for other, future in pending)]
                pending.clear()
                pool.shutdown(wait=False, cancel_futures=True)
                for survivor, finished in in_flight:
                    yield finished or _alone(function, survivor)
                pool = _start_pool(workers)
                continue
            yield outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: Future[Any]) -> Any:
    """What has come of an item in flight; None when nothing has yet."""
    return future.result() if future.done() and future.exception() is None else None


def _alone(function: Callable[[T], R], item: T) -> Done[T, R] | Failed[T]:
    """Run an item that was in flight when a worker died in a process of its own."""
    with _start_pool(1) as pool:
        try:
            outcome: Done[T, R] | Failed[T] = pool.submit(_attempt, function, item).result()
            return outcome
        except BrokenProcessPool:
            return Failed(
                item,
                "",
                "WorkerDied",
                "the process working on it died (out of memory or a crash in a library)",
            )
