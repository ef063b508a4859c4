"""A GPU for tests on machines that have none: the real code runs on it, with the real numbers.

Tensors made on `cuda`, or moved there, are computed on the CPU but say that they are on `cuda:0`, and are as strict
as those of a GPU: an operation on tensors of both devices is an error (but for a copy, and for numbers without
dimensions), and their memory cannot be read without `.cpu()`. What this cannot show: kernels and their rounding,
time, memory, and backward passes, for which PyTorch wants a driver.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
COPIES = {aten._to_copy.default, aten.copy_.default}


class CudaTensor(torch.Tensor):
    """A tensor that lies on the CPU and says that it lies on `cuda:0`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> CudaTensor:
        with torch.inference_mode(held.is_inference()):
            made: CudaTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=CUDA,
            )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"{self.held!r} on {CUDA}"

    def tolist(self) -> Any:
        """As of a real one."""
        return self.held.tolist()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], context: None, size: Any, stride: Any) -> CudaTensor:
        return CudaTensor(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


class _Device(TorchDispatchMode):
    """Sees every operation, also those that make tensors out of nothing."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, torch would first import it: 15 s

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, CudaTensor)]
    strangers = [tuple(x.shape) for x in tensors if not isinstance(x, CudaTensor) and x.ndim > 0]
    if there and strangers and function not in COPIES:
        raise RuntimeError(f"{function} has tensors of several devices, those of {strangers} are on the CPU")
    known = {id(x.held): x for x in there}
    bare_args, bare = tree_map_only(CudaTensor, lambda x: x.held, (args, kwargs))
    if function is aten.copy_.default:
        on_cuda = isinstance(args[0], CudaTensor)
    elif kwargs.get("device") is not None:
        on_cuda = torch.device(kwargs["device"]).type == "cuda"
        bare["device"] = torch.device("cpu")
    else:
        on_cuda = bool(there)
    found = function(*bare_args, **{key: value for key, value in bare.items() if key != "pin_memory"})
    if not on_cuda:
        return found
    wrapped = tree_map_only(torch.Tensor, lambda x: known[id(x)] if id(x) in known else CudaTensor(x), found)
    return return_and_correct_aliasing(function, args, kwargs, wrapped) if there else wrapped


@contextmanager
def pretend_cuda(
    monkeypatch: pytest.MonkeyPatch, *, count: int = 1, capability: tuple[int, int] = (9, 0)
) -> Iterator[None]:
    """Let torch believe that there are CUDA devices, and compute on them."""
    torch._C._ensureCUDADeviceGuardSet()  # guards that do nothing where there is no GPU
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: capability >= (8, 0))
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)  # its operations have no kernels here
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` then makes them here and moves them
    try:
        with _Device():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
