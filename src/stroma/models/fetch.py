"""Downloads that go on where they stopped and are verified before they are used."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import read_json, sha256, write_json
from stroma.models.card import PublishedFile

TIMEOUT_S = 20.0
_CHUNK = 1 << 20


class Unreachable(Exception):
    """A download that cannot go on; the message is the reason."""


def fetched(file: PublishedFile, folder: Path, *, what: str) -> Path:
    """The path of a published file in `folder`, downloaded if it is not there.

    Args:
        file: The file.
        folder: The weights folder.
        what: The model, for messages.

    Returns:
        The file; its size and hash are those published, where they are.

    Raises:
        MissingFile: it cannot be downloaded; the message has the file, its size and the folder to put it in.
        InvalidData: what was downloaded is not what was published.
    """
    path = folder / file.name
    if path.is_file():
        return path
    reason = "it has to be fetched by hand"
    if file.url is not None:
        try:
            return download(file.url, path, size=file.size, digest=file.sha256)
        except Unreachable as error:
            reason = f"{file.url}: {error}"
    raise MissingFile(
        f"{what} needs the file '{file.name}' ({file.size_text}), which cannot be fetched ({reason})",
        next_step=f"Put it into {folder}, or name the folder it is in with --weights-dir",
    )


def download(url: str, path: Path, *, size: int | None = None, digest: str | None = None) -> Path:
    """Download `url` to `path`, going on with `<name>.part` of an interrupted download.

    The part is only continued if the server says that its file is still the same (`If-Range` with the entity tag or
    date it gave before); otherwise the download begins again.

    Args:
        url: `http(s)://` or `file://`.
        path: Where to.
        size: Bytes, where known.
        digest: SHA-256, where known.

    Returns:
        `path`. Beside it, `<name>.source.json` holds the address, size and hash.

    Raises:
        Unreachable: there is no connection, it broke off, or the server refuses; what has arrived stays.
        InvalidData: the whole file has another size or hash; it is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    _continue(url, part, note)
    found = sha256(part)
    for wanted, real, word in ((size, part.stat().st_size, "bytes"), (digest, found, "as SHA-256")):
        if wanted is not None and wanted != real:
            part.unlink()
            note.unlink(missing_ok=True)
            raise InvalidData(
                f"what {url} sent has {real} {word} where {wanted} was published; it was deleted",
                where=path,
                next_step="Try again; if it happens twice, the published file has changed",
            )
    part.replace(path)
    note.unlink(missing_ok=True)
    write_json(path.with_name(f"{path.name}.source.json"), {"url": url, "size": path.stat().st_size, "sha256": found})
    return path


def _continue(url: str, part: Path, note: Path) -> None:
    """Fill `part` from where it ends; `note` remembers which version of the file it belongs to."""
    start = part.stat().st_size if part.exists() else 0
    version = _version(note, url)
    headers = {"User-Agent": "stroma"}
    if start and version:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            goes_on = getattr(answer, "status", 200) == http.client.PARTIAL_CONTENT
            wanted = answer.headers.get("Content-Length")
            tag = answer.headers.get("ETag") or ""
            validator = answer.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
            write_json(note, {"url": url, "version": validator})
            with part.open("ab" if goes_on else "wb") as target:
                _copy(answer, target)
            total = int(wanted) + (start if goes_on else 0) if wanted is not None else None
            if total is not None and part.stat().st_size < total:
                raise Unreachable(f"the connection broke off after {part.stat().st_size:,} of {total:,} bytes")
            if total is not None and part.stat().st_size > total:  # another process wrote to the same file
                part.unlink()
                raise Unreachable(f"more than the {total:,} bytes of the file arrived; begin again")
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # all of it is there already; size and hash decide
        raise Unreachable(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _copy(source: Any, target: IO[bytes]) -> None:
    while True:
        try:
            chunk = source.read(_CHUNK)
        except http.client.IncompleteRead as error:
            chunk = error.partial
            source.close()
        target.write(chunk)
        if not chunk or source.closed:
            return


def _version(note: Path, url: str) -> str | None:
    with suppress(MissingFile, InvalidData, AttributeError):
        content = read_json(note)
        if content.get("url") == url:
            version: str | None = content.get("version")
            return version
    return None


def folder_hash(folder: Path) -> str:
    """The hash that htc publishes for a run folder.

    SHA-256 of the joined hexadecimal SHA-256 of every file below `folder`, sorted by lower-cased path.
    """
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: str(path).lower())
    return hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()


def verify(file: PublishedFile, path: Path) -> str:
    """Compare a fetched file with what was published, or with what was noted when it was fetched.

    Returns:
        What was compared: `published SHA-256`, `SHA-256 noted when it was fetched`, `published size`, or `nothing`.

    Raises:
        InvalidData: it differs.
    """
    note = path.with_name(f"{path.name}.source.json")
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    for digest, what in (
        (file.sha256, "published SHA-256"),
        (noted.get("sha256"), "SHA-256 noted when it was fetched"),
    ):
        if digest is not None:
            if sha256(path) != digest:
                raise InvalidData(f"differs from the {what}", where=path, next_step="Delete it and fetch it again")
            return what
    if file.size is not None:
        if path.stat().st_size != file.size:
            raise InvalidData(f"has {path.stat().st_size:,} bytes, {file.size:,} were published", where=path)
        return "published size"
    return "nothing"
