"""Weight files of others: read without executing anything in them, and fitted to a network key by key."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stroma.core.errors import InvalidData, MissingFile, UsageError

StateDict = dict[str, Tensor]

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_CONTAINERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")


def read_state_dict(path: Path) -> StateDict:
    """Read the tensors of a weight file to the CPU.

    Args:
        path: `.safetensors`, or `.pth`, `.pt` or `.bin` as `torch.save` writes them, read with `weights_only=True`:
            the tensors themselves or below one of the keys `state_dict`, `model`, `model_state_dict`.

    Returns:
        Key → tensor, without the prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile).

    Raises:
        MissingFile: there is no such file.
        UsageError: another suffix.
        InvalidData: it is damaged, holds more than tensors and plain values, or holds no tensors.
    """
    if not path.is_file():
        raise MissingFile("there is no such weight file", where=path)
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"is no weight file (suffix '{path.suffix}')", where=path, next_step=f"Known: {_SUFFIXES}")
    content = _load(path)
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = content if isinstance(content, Mapping) else {}
    state = {_without_prefixes(str(key)): value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not state:
        raise InvalidData("holds no tensors by name", where=path, next_step="Save it as a plain state dict")
    return state


def _load(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InvalidData(f"is not a readable safetensors file ({error})", where=path) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InvalidData(
            "holds more than tensors and plain values, or is no torch file; it is not read, since it could run code",
            where=path,
            next_step="Save its state dict alone: torch.save(model.state_dict(), …), or as safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InvalidData(f"is not a readable torch file ({_one_line(error)})", where=path) from error


def _without_prefixes(key: str) -> str:
    while key.startswith(_PREFIXES):
        key = key.partition(".")[2]
    return key


def load_weights(model: nn.Module, state: StateDict, *, classifier: tuple[str, ...] = (), where: Path | str) -> None:
    """Load `state` into `model` so that every tensor has its place and every place its tensor.

    Keys of another layout that timm itself can translate for this architecture (original releases, other sizes of
    the position embedding) are translated by timm's `checkpoint_filter_fn`.

    Args:
        model: The network.
        state: From `read_state_dict`.
        classifier: Layers that may be in the file without being in the network, for example `("fc",)`.
        where: The file, for the message.

    Raises:
        InvalidData: keys are left over or missing, or a shape differs; the message lists them.
    """
    wanted = model.state_dict()
    kept = _without_layers(state, classifier)
    if _misfits(kept, wanted):
        translated = _without_layers(_translate(model, dict(state)), classifier)
        if not _misfits(translated, wanted):
            kept = translated
    problems = _misfits(kept, wanted)
    if problems:
        raise InvalidData(
            f"does not fit the network {type(model).__name__}: {'; '.join(problems)}",
            where=where,
            next_step="Check that --encoder names the architecture these weights were trained in",
        )
    model.load_state_dict(kept, strict=False)  # only counters of batches may be missing, see _misfits


def _without_layers(state: StateDict, layers: tuple[str, ...]) -> StateDict:
    return {key: value for key, value in state.items() if not key.startswith(tuple(f"{layer}." for layer in layers))}


def _translate(model: nn.Module, state: StateDict) -> StateDict:
    """What timm makes of the weights for this architecture; `state` itself if it cannot."""
    function = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if function is None:
        return state
    try:
        translated: StateDict = function(state, model)
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError):
        return state
    return translated


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Texts that name left-over keys, missing keys and differing shapes; empty when all fits."""
    left_over = sorted(state.keys() - wanted.keys())
    missing = sorted(key for key in wanted.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(state.keys() & wanted.keys())
        if state[key].shape != wanted[key].shape
    ]
    named = (("left over", left_over), ("missing", missing), ("of another shape", shapes))
    return [f"{len(keys)} {what} ({_some(keys)})" for what, keys in named if keys]


def _some(texts: list[str], count: int = 6) -> str:
    return ", ".join(texts[:count]) + (", …" if len(texts) > count else "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
