"""Where tensors live and in which precision: chosen by rule, resolved once, stored with the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from stroma.core.errors import StromaError, UsageError
from stroma.core.extras import require

Precision = Literal["auto", "float32", "bfloat16"]
_MEMORY_ERRORS = ("out of memory", "ALLOC_FAILED", "can't allocate memory")


def resolve_device(wanted: str = "auto") -> str:
    """Return the device to use: CUDA, else MPS, else CPU for `auto`.

    Args:
        wanted: `auto`, `cpu`, `mps`, `cuda` or `cuda:<index>`.

    Returns:
        `cpu`, `mps`, `cuda` (the current GPU) or `cuda:<index>`.

    Raises:
        UsageError: the device was asked for by name and is not there.
    """
    torch = _torch()
    there = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if wanted == "auto":
        return next(kind for kind, count in there.items() if count)
    kind, colon, index = wanted.partition(":")
    if there.get(kind) and not colon:
        return wanted
    if index.isdecimal() and int(index) < there.get(kind, 0):
        return f"{kind}:{int(index)}" if kind == "cuda" else kind
    names = [kind for kind, count in there.items() if count]
    names += [f"cuda:{i}" for i in range(there["cuda"]) if there["cuda"] > 1]
    without = kind == "cuda" and torch.version.cuda is None and torch.version.hip is None
    raise UsageError(
        f"there is no device '{wanted}' here" + (": this PyTorch is built without CUDA" if without else ""),
        next_step=f"Use --device auto, or one of: {', '.join(names)}",
    )


def computes_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 by itself, so that it is faster than float32.

    Args:
        device: From `resolve_device`.
    """
    torch = _torch()
    if device.startswith("cuda"):  # of NVIDIA's from Ampere (8.0) on, of AMD's all that PyTorch knows
        return bool(torch.version.hip) or tuple(torch.cuda.get_device_capability(device)) >= (8, 0)
    asked: Any = getattr(torch.cpu, "get_capabilities", None)  # torch 2.10 and newer tell
    capabilities = asked() if asked is not None and device == "cpu" else {}
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def training_precision(wanted: str, device: str) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 on GPUs that compute in it.

    Args:
        wanted: `auto`, `float32` or `bfloat16`.
        device: From `resolve_device`.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if device.startswith("cuda") and computes_bfloat16(device) else "float32"


@contextmanager
def full_float32(device: object) -> Iterator[None]:
    """Compute what is float32 in float32: on NVIDIA GPUs not in TF32 (10 bits), and not in an outer autocast's type.

    cuDNN's convolutions take TF32 unless told otherwise, which would move predictions by 1e-3 between devices.

    Args:
        device: A `torch.device` or its name.
    """
    torch = _torch()
    kind = torch.device(device).type
    with ExitStack() as stack:
        if kind in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if kind == "cuda":
            backends = torch.backends
            if hasattr(backends.cudnn, "conv"):  # torch 2.9 and newer; the older names may not be mixed with these
                settings = [(backends.cudnn.conv, "fp32_precision"), (backends.cuda.matmul, "fp32_precision")]
            else:
                settings = [(backends.cudnn, "allow_tf32"), (backends.cuda.matmul, "allow_tf32")]
            for place, name in settings:
                stack.callback(setattr, place, name, getattr(place, name))
                setattr(place, name, "ieee" if name == "fp32_precision" else False)
        yield


@contextmanager
def enough_memory(device: object, what: str, *, next_step: str) -> Iterator[None]:
    """Say what to make smaller when a device's memory does not suffice.

    Args:
        device: A `torch.device` or its name.
        what: What needs the memory, for the message: "8 tiles at once".
        next_step: What helps.

    Raises:
        StromaError: the memory does not suffice.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; MPS, cuDNN and the CPU raise nothing narrower
        if not any(text in str(error) for text in _MEMORY_ERRORS):
            raise
        raise StromaError(f"{device} has too little memory for {what}", next_step=next_step) from error


def _torch() -> Any:
    return require("torch", extra="learn", feature="running a network")
