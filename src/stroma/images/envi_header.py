"""The text header of an ENVI file: `name = value` lines, where `{…}` may hold a list over many lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UnreadableImage, nearest

_LARGEST_BYTES = 32 * 2**20
_LARGEST_WHOLE = 2**48


@dataclass(frozen=True)
class EnviHeader:
    """A parsed header.

    Attributes:
        path: The file.
        entries: Name in lower case → text, or the list of texts of `{…}`.
    """

    path: Path
    entries: dict[str, str | list[str]]

    def text(self, name: str, *, default: str | None = None) -> str:
        """An entry as text.

        Raises:
            InvalidData: it is missing, and there is no default.
        """
        value = self.entries.get(name, default)
        if value is None:
            raise InvalidData(f"has no entry '{name}'", where=self.path, next_step=nearest(name, self.entries))
        return value if isinstance(value, str) else ", ".join(value)

    def listed(self, name: str) -> list[str] | None:
        """The parts of a `{…}` entry, or None where there is none."""
        value = self.entries.get(name)
        return value if isinstance(value, list) else None

    def number(self, name: str, *, default: float | None = None) -> float:
        """An entry as a finite number.

        Raises:
            InvalidData: it is missing, or no number.
        """
        text = self.text(name, default=None if default is None else str(default))
        try:
            value = float(text)
        except ValueError as error:
            raise InvalidData(
                f"has '{name} = {text[:40]}', which is no number", where=self.path, next_step=_point(text)
            ) from error
        if not np.isfinite(value):
            raise InvalidData(f"has '{name} = {text[:40]}', which is not finite", where=self.path)
        return value

    def whole(self, name: str, *, default: int | None = None, minimum: int = 0) -> int:
        """An entry as a whole number from `minimum` to 2^48.

        Raises:
            InvalidData: it is missing, or no such number.
        """
        value = self.number(name, default=default)
        if value != int(value) or not minimum <= value <= _LARGEST_WHOLE:
            raise InvalidData(
                f"has '{name} = {value:g}', which is no whole number of at least {minimum}", where=self.path
            )
        return int(value)

    def one_of(self, name: str, known: tuple[str, ...], *, default: str) -> str:
        """An entry that must be one of `known`, in any case.

        Raises:
            InvalidData: it is not.
        """
        value = self.text(name, default=default).lower()
        if value not in known:
            raise InvalidData(f"has '{name} = {value[:40]}'", where=self.path, next_step=nearest(value, known))
        return value

    def numbers(self, name: str, *, count: int | None = None) -> NDArray[np.float64] | None:
        """A list of numbers, or None where there is none.

        Raises:
            InvalidData: a part is no number, or there are not `count`.
        """
        parts = self.listed(name)
        if parts is None:
            return None
        values = np.empty(len(parts), dtype=np.float64)
        for i, part in enumerate(parts):
            try:
                values[i] = float(part)
            except ValueError as error:
                raise InvalidData(
                    f"has the {name} '{part[:40]}', which is no number", where=self.path, next_step=_point(",")
                ) from error
        if count is not None and len(values) != count:
            raise InvalidData(
                f"lists {len(values)} of '{name}' for {count} bands",
                where=self.path,
                next_step=_point("," if len(values) == 2 * count else ""),
            )
        return values


def _point(text: str) -> str:
    return "Write decimals with a point: 500.5, not 500,5" if "," in text else ""


def read_envi_header(path: Path) -> EnviHeader:
    """Read a header.

    Raises:
        UnreadableImage: it cannot be opened, is larger than 32 MiB, does not begin with `ENVI`, or a `{` is
            never closed.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    if len(content) > _LARGEST_BYTES or not content.removeprefix(b"\xef\xbb\xbf").startswith(b"ENVI"):
        raise UnreadableImage("is no ENVI header: it does not begin with ENVI", where=path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    entries: dict[str, str | list[str]] = {}
    lines = iter(text.splitlines()[1:])
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or line.lstrip().startswith(";"):
            continue
        key, value = " ".join(name.lower().split()), value.strip()
        entries[key] = _list_from(value, lines, key, path) if value.startswith("{") else value
    return EnviHeader(path, entries)


def _list_from(first: str, lines: Iterator[str], key: str, path: Path) -> list[str]:
    """The parts of a list that begins in `first` and ends with `}` there or in a later line."""
    pieces = [first]
    while "}" not in pieces[-1]:
        following = next(lines, None)
        if following is None:
            raise UnreadableImage(f"is damaged: the list of '{key}' is never closed", where=path)
        if not following.lstrip().startswith(";"):
            pieces.append(following)
    inner = " ".join(pieces)[1:].partition("}")[0]
    return [part.strip() for part in inner.split(",") if part.strip()]
