"""`Listing`: the names and sizes of everything below a folder, found without opening a file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from stroma.core.clock import stage
from stroma.core.errors import MissingFile
from stroma.core.provenance import InputRecord


@dataclass(frozen=True)
class Problem:
    """Something in a user's folder that cannot be used, and why.

    Attributes:
        path: Relative to the study's root, with `/`.
        message: What is wrong with it, as the end of a sentence that begins with the path.
        harmless: Whether it is only something else than an image: a README, a file of the system.
    """

    path: str
    message: str
    harmless: bool = False


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        root: The study's root, to which all paths are relative.
        files: Path (with `/`, sorted) → size in bytes.
        folders: Paths of all folders, sorted.
        problems: Entries that cannot be used: broken links, unreadable folders, names that are no text.
    """

    root: Path
    files: dict[str, int]
    folders: tuple[str, ...]
    problems: tuple[Problem, ...] = field(default=())

    def record(self) -> InputRecord:
        """Names and sizes as one input record: another listing has another hash."""
        digest = hashlib.sha256()
        for path, size in self.files.items():
            digest.update(f"{path}\0{size}\n".encode())
        for path in self.folders:
            digest.update(f"{path}/\n".encode())
        return InputRecord("listing", sum(self.files.values()), digest.hexdigest())


_RESULTS = ("run.json", "sources.parquet", "predictions.parquet")
_OURS = ("study.yaml", "catalog.parquet", "annotations.parquet", "failures.parquet")
_OUR_ENDINGS = (".catalog.parquet", ".annotations.parquet", ".done.json")


def list_files(root: Path, below: str = "") -> Listing:
    """List everything below `root / below`, following links but no circle of them.

    What Stroma writes is not part of a study: folders with its results, and the files beside `study.yaml`.

    Args:
        root: The study's root.
        below: A folder relative to it (with `/`) to which the listing is restricted; empty for all.

    Raises:
        MissingFile: there is no such folder.
    """
    start = root / below if below else root
    if not start.is_dir():
        raise MissingFile("there is no such folder", where=start)
    files: dict[str, int] = {}
    folders: list[str] = []
    problems: list[Problem] = []
    pending: list[tuple[str, tuple[str, ...]]] = [(below, (os.path.realpath(start),))]
    with stage("read"):
        while pending:
            folder, above = pending.pop()
            try:
                with os.scandir(root / folder) as scan:
                    entries = list(scan)
            except OSError as error:
                problems.append(Problem(folder, f"cannot be listed ({error.strerror})"))
                continue
            if folder != below and _holds_results(folder, [entry.name for entry in entries]):
                continue
            folders += [folder] if folder != below else []
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                problem = "" if _is_ours(entry.name) else _add(entry, path, above, files, pending)
                if problem:
                    problems.append(Problem(path.encode("utf-8", "replace").decode(), problem))
    return Listing(
        root,
        dict(sorted(files.items())),
        tuple(sorted(folders)),
        tuple(sorted(problems, key=lambda problem: problem.path)),
    )


def _add(
    entry: os.DirEntry[str],
    path: str,
    above: tuple[str, ...],
    files: dict[str, int],
    pending: list[tuple[str, tuple[str, ...]]],
) -> str:
    """Sort one entry into the listing; return what is wrong with it, if anything."""
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        return "has a name that is not valid UTF-8; it is left out"
    try:
        if not entry.is_dir():
            files[path] = entry.stat().st_size
            return ""
    except OSError as error:
        return f"cannot be read ({error.strerror}); it is left out"
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if real in above:
            return "is a link to a folder above it; it is not followed"
        above = (*above, real)
    pending.append((path, above))
    return ""


def _holds_results(folder: str, names: list[str]) -> bool:
    if folder.rpartition("/")[2] == "log":
        return any(name.endswith(".jsonl") for name in names)
    return any(name in _RESULTS for name in names)


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(".tmp-") or name.endswith(_OUR_ENDINGS)


def is_hidden(path: str) -> bool:
    """Whether a path has a part that systems and tools leave behind: `.DS_Store`, `._a.png`, `Thumbs.db`."""
    return any(part.startswith(".") or part in {"Thumbs.db", "desktop.ini", "__MACOSX"} for part in path.split("/"))
