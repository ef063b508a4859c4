"""What a file of ours was made from and with: settings, inputs, version; never when, where or by how many."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from stroma import __version__
from stroma.core.errors import InvalidData, MissingFile, NewerFormat
from stroma.core.files import canonical_json

_HEAD_AND_TAIL = 64 * 1024


@dataclass(frozen=True)
class InputRecord:
    """One input: its id, its size in bytes, and a hash of its first and last 64 KiB."""

    id: str
    size: int
    hash: str

    @classmethod
    def of(cls, identifier: str, path: Path) -> Self:
        """Record the file, or for a folder its sorted file names, sizes and small-file hashes.

        Raises:
            MissingFile: `path` does not exist.
        """
        path = Path(path)
        if path.is_dir():
            digest, total = hashlib.sha256(), 0
            for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
                size = file.stat().st_size
                total += size
                digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0{head_and_tail(file)}\n".encode())
            return cls(identifier, total, digest.hexdigest())
        if not path.exists():
            raise MissingFile("there is no such file", where=path)
        return cls(identifier, path.stat().st_size, head_and_tail(path))

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"id": self.id, "size": self.size, "hash": self.hash}


def head_and_tail(path: Path) -> str:
    """SHA-256 over the first and the last 64 KiB of a file: cheap, and enough to notice another file."""
    with Path(path).open("rb") as handle:
        digest = hashlib.sha256(handle.read(_HEAD_AND_TAIL))
        size = handle.seek(0, 2)
        if size > _HEAD_AND_TAIL:
            handle.seek(max(_HEAD_AND_TAIL, size - _HEAD_AND_TAIL))
            digest.update(handle.read(_HEAD_AND_TAIL))
    return digest.hexdigest()


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the settings, 16 hexadecimal digits."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Provenance:
    """The provenance that every file of ours carries.

    Attributes:
        format: Name and version of the file's format, for example `tiles/1`.
        settings: What the result depends on, as plain values without paths, devices or worker counts.
        inputs: The files it was made from.
        stroma: The version that wrote it.
    """

    format: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputRecord, ...] = ()
    stroma: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the fingerprint of the settings."""
        return {
            "format": self.format,
            "stroma": self.stroma,
            "settings": dict(self.settings),
            "fingerprint": fingerprint(self.settings),
            "inputs": [record.to_dict() for record in self.inputs],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, where: Path | None = None) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InvalidData: the record is not one of ours.
        """
        try:
            inputs = tuple(InputRecord(r["id"], r["size"], r["hash"]) for r in value["inputs"])
            return cls(value["format"], value["settings"], inputs, value["stroma"])
        except (KeyError, TypeError) as error:
            raise InvalidData(f"holds no valid provenance record ({error!r})", where=where) from error


def check_format(found: str, supported: str, *, where: Path) -> int:
    """Compare the format of a file with the one this version writes.

    Args:
        found: For example `tiles/1`.
        supported: The newest format this version knows, for example `tiles/2`.
        where: The file, for the message.

    Returns:
        The version found, for the caller to migrate from.

    Raises:
        InvalidData: another kind of file.
        NewerFormat: written by a newer Stroma.
    """
    kind, _, version = found.partition("/")
    known_kind, _, known_version = supported.partition("/")
    if kind != known_kind or not version.isdecimal():
        raise InvalidData(f"is a '{found}' file where a '{known_kind}' file was expected", where=where)
    if int(version) > int(known_version):
        raise NewerFormat(
            f"has format {found}, this Stroma ({__version__}) reads up to {supported}",
            where=where,
            next_step="Update Stroma where it was installed from (in a checkout: git pull, then make install)",
        )
    return int(version)
