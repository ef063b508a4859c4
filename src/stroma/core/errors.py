"""The errors a user can cause: each says what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from os import PathLike


class StromaError(Exception):
    """Something a user can cause and mend.

    Args:
        what: What is wrong, with the offending value.
        where: The file, key or item it was found in.
        next_step: What the user can do about it, as a sentence without the final full stop.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | PathLike[str] | None = None, next_step: str = "") -> None:
        super().__init__(what, where, next_step)
        self.what = what
        self.where = None if where is None else str(where)
        self.next_step = next_step

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.next_step)

    def __str__(self) -> str:
        """One line: where, what, next step."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.next_step:
            text = f"{_sentence(text)} {_sentence(self.next_step)}"
        return " ".join(text.split())


def _sentence(text: str) -> str:
    text = text.rstrip()
    return text if text.endswith(("?", "!")) else f"{text.rstrip('.')}."


def _rebuild(kind: type[StromaError], what: str, where: str | None, next_step: str) -> StromaError:
    return kind(what, where=where, next_step=next_step)


class UsageError(StromaError):
    """A command line or a call that cannot mean anything (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown key, a value of the wrong type or a file that is no configuration (exit code 2)."""


class MissingExtra(UsageError):
    """A feature needs an optional dependency that is not installed (exit code 2)."""


class MissingFile(StromaError):
    """A file or folder that was named does not exist."""


class UnreadableImage(StromaError):
    """A file is no image, is damaged, or is of a kind Stroma does not read."""


class InvalidData(StromaError):
    """Data that contradicts itself: a mask of another size, a label outside the mapping, two equal ids."""


class OutputConflict(StromaError):
    """Something else lies where an output should go: other settings, other inputs, or foreign files."""


class DiskFull(StromaError):
    """There is not enough space for the results; nothing half-written stays."""

    ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    """Numbers of the system's errors that mean it."""

    @classmethod
    def at(cls, where: str | PathLike[str] | None) -> DiskFull:
        """The error of a place that was full when it was written to."""
        return cls(
            "there is no space left",
            where=where,
            next_step="Free some and run the same command again: what is complete stays",
        )


class NewerFormat(StromaError):
    """A file was written by a newer Stroma than this one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a mistyped `name`: the nearest of `known`, or all of them when they are few.

    Returns:
        `Did you mean 'x'?`, `Known: a, b, c`, or an empty string when nothing is known.
    """
    candidates = sorted(set(known))
    matches = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if matches:
        return f"Did you mean '{matches[0]}'?"
    if not candidates:
        return ""
    shown = ", ".join(candidates[:12])
    return f"Known: {shown}" + (", …" if len(candidates) > 12 else "")
