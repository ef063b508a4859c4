"""Feather (Arrow) tables of htc."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.tables import UNREADABLE_TABLE

_SECONDS = 20.0
_BYTES_PER_SECOND = 5e6  # far below any disk and processor


def read_feather(path: Path) -> pl.DataFrame:
    """Read a table.

    From some damaged files polars never comes back (found by fuzzing), so it reads in a thread of its own, which is
    left behind when it takes far longer than the size of the file explains.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is damaged, or no Feather file.
    """
    if not path.is_file():
        raise MissingFile("there is no such table", where=path)
    read: list[pl.DataFrame] = []
    failed: list[BaseException] = []

    def decode() -> None:
        try:
            read.append(pl.read_ipc(content))
        except UNREADABLE_TABLE as error:
            failed.append(error)

    with stage("read"):
        content = path.read_bytes()
        thread = Thread(target=decode, daemon=True)
        thread.start()
        thread.join(_SECONDS + len(content) / _BYTES_PER_SECOND)
    if read:
        return read[0]
    cause = failed[0] if failed else None
    reason = cause or "reading it does not end"
    raise InvalidData(f"is no readable Feather file ({reason})", where=path) from cause
