"""Where tensors live and in which precision: chosen by rule, resolved once, stored with the result."""

from __future__ import annotations

from typing import Literal

from stroma.core.errors import UsageError
from stroma.core.extras import require

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(wanted: str = "auto") -> str:
    """Return the device to use: CUDA, else MPS, else CPU for `auto`.

    Args:
        wanted: `auto`, `cpu`, `mps`, `cuda` or `cuda:<index>`.

    Raises:
        UsageError: the device was asked for by name and is not there.
    """
    torch = require("torch", extra="learn", feature="running a network")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [name for name, is_there in available.items() if is_there]
    if wanted == "auto":
        return there[0]
    if wanted not in (*there, *(f"cuda:{index}" for index in range(torch.cuda.device_count()))):
        raise UsageError(
            f"there is no device '{wanted}' here", next_step=f"Use --device auto, or one of: {', '.join(there)}"
        )
    return wanted


def resolve_precision(wanted: str, device: str, *, exact: bool) -> str:
    """Return `float32` or `bfloat16`.

    Args:
        wanted: `auto`, `float32` or `bfloat16`.
        device: From `resolve_device`.
        exact: Whether `auto` must stay at float32 (prediction, evaluation) or may take bfloat16 where the
            device computes in it natively (training, embedding).
    """
    if wanted != "auto":
        return wanted
    if exact or not device.startswith("cuda"):
        return "float32"
    torch = require("torch", extra="learn", feature="running a network")
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
