"""Files that are either whole or not there, and names that are safe on every system."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from stroma.core.errors import DiskFull, InvalidData, MissingFile, OutputConflict

_MAX_NAME = 180
_WINDOWS_RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success flush it to disk and rename it to `target`.

    The temporary name keeps the suffix of `target`, since many writers choose the format by it, and
    starts with `.tmp-`, so that no reader takes it for a result. On an error it is removed and
    `target` is left as it was.

    Args:
        target: The file to write. Missing parent folders are created.

    Raises:
        DiskFull: there is no space left.
    """
    target = Path(target)
    temporary = target.with_name(f".tmp-{secrets.token_hex(6)}-{target.name[-60:]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno in DiskFull.ERRNO:
            raise DiskFull.at(target.parent) from error
        raise
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened for fsync there; the rename itself is journaled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(target: Path, *, folder: bool) -> None:
    """Refuse a place where nothing can be written, before hours of work are for nothing; nothing is made.

    Args:
        target: Where results shall lie.
        folder: It has to be a folder.

    Raises:
        OutputConflict: a file lies where a folder has to be, or writing is forbidden.
    """
    if folder and target.is_file():
        raise OutputConflict("is a file, a folder is needed", where=target, next_step="Choose another --output")
    place = target.absolute()
    place = place if folder or place.is_dir() else place.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise OutputConflict(
            "is a file, so no folder can lie below it", where=place, next_step="Choose another --output"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputConflict("may not be written to", where=place, next_step="Choose another --output")


def write_bytes(path: Path, content: bytes) -> Path:
    """Write `content` to `path` atomically and return `path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """Write UTF-8 text with Unix line ends to `path` atomically and return `path`."""
    return write_bytes(path, content.encode("utf-8"))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=json_default)


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON (keys in the given order) atomically and return `path`."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=json_default) + "\n")


def json_default(value: Any) -> Any:
    """Paths, sets and NumPy values as JSON knows them."""
    if isinstance(value, Path):
        return value.as_posix()
    if type(value).__module__.partition(".")[0] == "numpy":  # not imported here: it takes longer than most verbs need
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile("there is no such file", where=path) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"is not valid JSON ({error})", where=path) from error


def sha256(path: Path) -> str:
    """SHA-256 of a whole file, hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def id_to_name(identifier: str) -> str:
    """Percent-encode an id so that it is one valid file name on every system; see `name_to_id`.

    ASCII letters, digits, `_`, `.`, `-` stay; everything else, also `/` and `#`, becomes `%XX`. Names
    over 180 characters are cut and get a hash, so only the table that lists them knows their id.
    """
    name = quote(identifier, safe="").replace("~", "%7E")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if name.endswith("."):
        name = name[:-1] + "%2E"
    if name.partition(".")[0].lower() in _WINDOWS_RESERVED:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MAX_NAME:
        digest = hashlib.sha256(identifier.encode()).hexdigest()[:16]
        name = f"{name[: _MAX_NAME - 17].rstrip('%')}-{digest}"
    return name


def name_to_id(name: str) -> str:
    """The id that `id_to_name` encoded (for names that were not cut)."""
    return unquote(name)


def href(path: Path, start: Path) -> str:
    """A relative, percent-encoded link from the folder `start` to `path` for use in HTML."""
    return quote(Path(os.path.relpath(path, start)).as_posix(), safe="/")
