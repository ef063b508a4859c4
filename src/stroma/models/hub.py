"""Files of the Hugging Face Hub: from the local cache where possible, without waiting long for an absent network."""

from __future__ import annotations

import importlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from stroma.core.errors import MissingFile

_TIMEOUT_S = 5.0


def fetch(repository: str, names: Sequence[str], *, what: str, next_step: str, folder: Path) -> Path:
    """Return the path of a file of a repository on the Hub, downloading it if it is not on this computer.

    The weights folder and the Hub's own cache are asked first and without the network. Whether the Hub can be reached
    is then found out by one request of at most 5 seconds, since the Hub's own client tries for about a minute.

    Args:
        repository: `owner/name` or `owner/name@revision`.
        names: File names, the preferred one first.
        what: What the file is, for the message: "the pretrained weights of 'resnet18'".
        next_step: What the user can do without it; where to put the file is added.
        folder: The weights folder: the file may lie in `<folder>/<owner>/<name>`.

    Raises:
        MissingFile: it is not here, and the Hub is switched off, cannot be reached, has no such file, or
            asks for an access that this account does not have.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    identifier, _, revision = repository.partition("@")
    there = next((path for name in names if (path := folder / identifier / name).is_file()), None)
    if there is not None:
        return there
    next_step += f". Or put the file into {folder / identifier} (another folder than {folder}: --weights-dir)"
    for name in names:
        try:
            return Path(hf_hub_download(identifier, name, revision=revision or None, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError):  # ValueError: not the form owner/name, told below
            continue
    where = f"{repository} on the Hugging Face Hub"
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        raise _missing(what, where, "the Hub is switched off by HF_HUB_OFFLINE", next_step)
    reason = why_unreachable(constants.ENDPOINT)
    if reason:
        raise _missing(what, where, f"{constants.ENDPOINT} cannot be reached: {reason}", next_step)
    broken: tuple[type[Exception], ...] = (OSError, ValueError, *_transport_errors())
    for name in names:
        try:
            return Path(hf_hub_download(identifier, name, revision=revision or None))
        except LocalEntryNotFoundError as error:
            raise _missing(what, where, _first_line(error), next_step) from error
        except EntryNotFoundError:
            continue
        except broken as error:
            raise _missing(what, where, _first_line(error), next_step) from error
    raise _missing(what, where, f"it has none of the files {', '.join(names)}", next_step)


def why_unreachable(url: str) -> str:
    """Ask `url` for an answer of any kind; return an empty text, or within seconds why there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def _missing(what: str, where: str, reason: str, next_step: str) -> MissingFile:
    return MissingFile(f"{what} ({where}) cannot be fetched ({reason})", next_step=next_step)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client of the Hub raises when a connection breaks: httpx's error where it is built on httpx."""
    try:
        error: type[Exception] = importlib.import_module("httpx").HTTPError
    except ModuleNotFoundError:
        return ()
    return (error,)
