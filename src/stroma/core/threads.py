"""Parts of one array on a few threads, where NumPy lets go of the interpreter."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 8


def in_threads(task: Callable[[int], None], count: int) -> None:
    """Run `task(0)` to `task(count - 1)`, each writing to a place of its own, so that bytes do not depend on threads.

    Worker processes and data loaders use one thread, as their siblings have the other cores, and so do a few parts.

    Args:
        task: Gets the number of its part.
        count: Number of parts; it must not depend on the machine where the parts' shapes decide about rounding.
    """
    threads = 1 if multiprocessing.parent_process() else min(MOST_THREADS, count // 4, os.cpu_count() or 1)
    if threads <= 1:
        for index in range(count):
            task(index)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task, range(count)))
