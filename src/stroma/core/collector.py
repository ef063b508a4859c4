"""A pause for Python's collector of circles, where very many small objects are made and all of them stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Let the collector rest inside; also a decorator. Objects that nobody holds are freed at once as ever.

    Whenever there are a quarter more objects it looks through all of them, and finds no circle among rows of a table.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
