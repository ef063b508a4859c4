"""The chain of pages in a TIFF: a file that was cut still opens, with fewer pages, unless the chain is checked."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from stroma.core.errors import UnreadableImage


def check_page_chain(path: Path) -> None:
    """Follow the directories of a TIFF or BigTIFF (TIFF 6.0, 1992, section 2) to the last one.

    Args:
        path: A file that begins like a TIFF.

    Raises:
        UnreadableImage: a directory lies beyond the end of the file, or the chain is a circle.
    """
    with path.open("rb") as handle:
        start = handle.read(4)
        order = "<" if start.startswith(b"II") else ">"
        big = start[2:] in (b"+\0", b"\0+")
        count, entry_bytes, offset, pointer = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
        pages: set[int] = set()
        while page := _number(handle, pointer, order + offset):
            entries = _number(handle, page, order + count)
            if page in pages or entries is None:
                break
            pages.add(page)
            pointer = page + struct.calcsize(count) + entries * entry_bytes
        if page == 0:
            return
    raise UnreadableImage(
        f"is damaged: its page {len(pages) + 1} is not in the file",
        where=path,
        next_step="Copy or export the file again: it was cut or altered on the way",
    )


def _number(handle: BinaryIO, position: int, layout: str) -> int | None:
    """The number at `position`, or None where the file ends before."""
    if position >= 2**63:
        return None
    handle.seek(position)
    content = handle.read(struct.calcsize(layout))
    return int(struct.unpack(layout, content)[0]) if len(content) == struct.calcsize(layout) else None
