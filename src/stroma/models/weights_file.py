"""Weight files as people have them, read without running anything that lies in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UsageError

StateDict = dict[str, Tensor]
SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
"""Suffixes of weight files."""

_CONTAINERS = ("state_dict", "model", "model_state_dict")
_EXPORT = (
    "A pickle can run any program. Where fastai is installed and you trust the file, convert it: "
    "learn = load_learner(FILE); torch.save(learn.model.state_dict(), 'model.pth')"
)


@dataclass(frozen=True)
class WeightsFile:
    """What a weight file holds.

    Attributes:
        path: The file.
        kind: `lightning` (a checkpoint), `fastai` (`learn.save` with its optimizer), `state_dict` or `safetensors`.
        state: Key → tensor on the CPU, with the keys of the file.
    """

    path: Path
    kind: Literal["lightning", "fastai", "state_dict", "safetensors"]
    state: StateDict


def read_weights(path: Path) -> WeightsFile:
    """Read the tensors of a weight file.

    Args:
        path: `.safetensors`, or anything that `torch.save` wrote: a Lightning checkpoint, the dict of fastai's
            `learn.save`, a state dict, or one of these below `state_dict`, `model` or `model_state_dict`.

    Raises:
        MissingFile: there is no such file.
        UsageError: its suffix is that of another kind of file.
        InvalidData: it is damaged, holds objects besides tensors and plain values, or holds no named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such weight file", where=path)
    if path.suffix.lower() not in (*SUFFIXES, ".pkl"):
        raise UsageError(
            f"is no weight file (suffix '{path.suffix}')", where=path, next_step=f"Known: {', '.join(SUFFIXES)}"
        )
    with stage("read"):
        _refuse_text(path)
        if path.suffix.lower() == ".safetensors":
            return WeightsFile(path, "safetensors", _read_safetensors(path))
        content = _read_torch(path)
    kind, tensors = _unpack(content)
    state = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
    strangers = [str(key) for key, value in tensors.items() if not isinstance(value, Tensor)]
    if not state or (strangers and kind == "state_dict" and len(strangers) >= len(state)):
        raise InvalidData(
            "holds no tensors by name, so it is no state dict",
            where=path,
            next_step="Save the weights with torch.save(model.state_dict(), …) or as safetensors",
        )
    return WeightsFile(path, kind, state)


def _refuse_text(path: Path) -> None:
    """Say of a page or a pointer, which a download may leave in place of the weights, what it is."""
    with path.open("rb") as handle:
        start = handle.read(200)
    if start.startswith(b"version https://git-lfs"):
        raise InvalidData(
            "is a pointer of Git LFS, not the weights themselves",
            where=path,
            next_step="Fetch them where you cloned it: git lfs pull",
        )
    text = " ".join(start.decode("latin-1").split())
    if len(start) > 8 and text.isascii() and text.isprintable():
        raise InvalidData(
            f"is no weight file but a text that begins with '{text[:60]}'",
            where=path,
            next_step="Download it again, and see what its address shows in a browser",
        )


def _unpack(content: Any) -> tuple[Literal["lightning", "fastai", "state_dict"], Mapping[Any, Any]]:
    if not isinstance(content, Mapping):
        return "state_dict", {}
    for key in _CONTAINERS:
        if isinstance(content.get(key), Mapping):
            lightning = "pytorch-lightning_version" in content
            kind: Any = "lightning" if lightning else "fastai" if {"model", "opt"} <= content.keys() else "state_dict"
            return kind, content[key]
    return "state_dict", content


def _read_safetensors(path: Path) -> StateDict:
    try:
        state: StateDict = load_file(path)
    except SafetensorError as error:
        raise InvalidData(
            f"is not a whole safetensors file ({error})", where=path, next_step="Download or copy it again"
        ) from error
    return state


def _read_torch(path: Path) -> Any:
    """`torch.load` that accepts tensors and plain values only, after the checksums of the archive."""
    size = path.stat().st_size
    damaged = f"is not a whole weight file ({size:,} bytes): "
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken:
                raise InvalidData(f"{damaged}the checksum of its part '{broken}' is wrong", where=path)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise InvalidData(f"{damaged}no torch file", where=path, next_step="Download or copy it again") from error
        raise _refusal(path, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).partition(". ")[0].split())[:160] or type(error).__name__
        raise InvalidData(f"{damaged}{reason}", where=path, next_step="Download or copy it again") from error
    except (TypeError, UnicodeDecodeError, zipfile.BadZipFile, AssertionError) as error:
        raise InvalidData(f"{damaged}{error}", where=path, next_step="Download or copy it again") from error


def _is_pickle(path: Path) -> bool:
    """Whether a file is a whole torch archive or begins as a pickle does."""
    with path.open("rb") as handle:
        return handle.read(1) == b"\x80" or zipfile.is_zipfile(path)


def _refusal(path: Path, message: str) -> InvalidData:
    found = re.search(r"(?:GLOBAL|global:?) (?!GLOBAL\b)([\w.]+)", message)
    what = f"asks for '{found.group(1)}'" if found else "is a pickle of objects"
    exported = found is not None and found.group(1).startswith(("fastai", "fastcore", "__main__"))
    plain = "Save the weights alone where it was made: torch.save(model.state_dict(), …), or as safetensors"
    return InvalidData(
        f"holds more than tensors and plain values: it {what}; it was not read and nothing in it was run",
        where=path,
        next_step=_EXPORT if exported or not found or path.suffix == ".pkl" else plain,
    )
