"""The computation of an ONNX file in float64: ONNX Runtime knows convolutions in float32 only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stroma.core.extras import require

_CONVOLUTIONS = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}
_TRANSPOSED = {3: functional.conv_transpose1d, 4: functional.conv_transpose2d, 5: functional.conv_transpose3d}


def run_in_float64(path: Path, example: Tensor) -> Tensor:
    """Run a file, all its numbers taken as float64.

    It runs in the reference implementation of the ONNX project (its convolutions in torch, for speed). ONNX holds
    constants such as the epsilon of a normalisation as float32; the decimal number that they stand for is taken.

    Args:
        path: The file.
        example: Its input `image`.

    Returns:
        Its first output, float64.

    Raises:
        MissingExtra: the package `onnx` is not installed.
        ValueError: it holds a convolution with automatic padding.
    """
    onnx = require("onnx", extra="onnx", feature="checking an exported ONNX file")
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(path))
    _widen(model, onnx)
    evaluator: Any = ReferenceEvaluator(model, new_ops=_torch_convolutions())
    for one in (evaluator, *evaluator.functions_.values()):
        for node in getattr(one, "rt_nodes_", ()):
            for attribute in node.onnx_node.attribute:
                if attribute.type == onnx.AttributeProto.FLOAT:
                    setattr(node, attribute.name, decimal(attribute.f))
    with np.errstate(all="ignore"):  # its sigmoid overflows, and is right nevertheless
        outputs: Any = evaluator.run(None, {"image": example.double().numpy()})
    return torch.from_numpy(np.asarray(outputs[0]))


def decimal(value: float) -> float:
    """The shortest decimal number that a float32 stands for: 0.001 for 0.0010000000474974513."""
    return float(np.format_float_scientific(np.float32(value), unique=True))


def _widen(model: Any, onnx: Any) -> None:
    """Change constants and casts of float32 to float64, in place."""
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    for tensor in _tensors(model, onnx):
        if tensor.data_type == single:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            values = np.array(decimal(float(values))) if values.ndim == 0 else values
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for node in _nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = double


def _tensors(model: Any, onnx: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _nodes(model: Any) -> Iterator[Any]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _torch_convolutions() -> list[Any]:
    from onnx.reference.op_run import OpRun

    class Conv(OpRun):
        """ONNX operator `Conv`; the reference implementation's takes minutes for a network."""

        def _run(
            self,
            x: NDArray[Any],
            weight: NDArray[Any],
            bias: NDArray[Any] | None = None,
            auto_pad: str | None = None,
            dilations: Sequence[int] | None = None,
            group: int | None = None,
            kernel_shape: Sequence[int] | None = None,
            pads: Sequence[int] | None = None,
            strides: Sequence[int] | None = None,
        ) -> tuple[NDArray[Any]]:
            _refuse_automatic(auto_pad)
            ones = [1] * (x.ndim - 2)
            padded = functional.pad(torch.from_numpy(np.ascontiguousarray(x)), _both_ends(pads, x.ndim - 2))
            result = _CONVOLUTIONS[x.ndim](
                padded, _tensor(weight), _tensor(bias), list(strides or ones), 0, list(dilations or ones), group or 1
            )
            return (result.numpy(),)

    class ConvTranspose(OpRun):
        """ONNX operator `ConvTranspose`, with equal padding at both ends."""

        def _run(
            self,
            x: NDArray[Any],
            weight: NDArray[Any],
            bias: NDArray[Any] | None = None,
            auto_pad: str | None = None,
            dilations: Sequence[int] | None = None,
            group: int | None = None,
            kernel_shape: Sequence[int] | None = None,
            output_padding: Sequence[int] | None = None,
            output_shape: Sequence[int] | None = None,
            pads: Sequence[int] | None = None,
            strides: Sequence[int] | None = None,
        ) -> tuple[NDArray[Any]]:
            _refuse_automatic(auto_pad)
            count = x.ndim - 2
            ones = [1] * count
            result = _TRANSPOSED[x.ndim](
                torch.from_numpy(np.ascontiguousarray(x)),
                _tensor(weight),
                _tensor(bias),
                list(strides or ones),
                list(pads or [0] * count)[:count],
                list(output_padding or [0] * count),
                group or 1,
                list(dilations or ones),
            )
            return (result.numpy(),)

    return [Conv, ConvTranspose]


def _refuse_automatic(auto_pad: str | None) -> None:
    if auto_pad not in (None, "", "NOTSET"):
        raise ValueError(f"the convolution pads by '{auto_pad}'")


def _both_ends(pads: Sequence[int] | None, dimensions: int) -> list[int]:
    """ONNX begins with all starts, torch with both ends of the last dimension."""
    given = list(pads or [0] * (2 * dimensions))
    return [given[side * dimensions + axis] for axis in reversed(range(dimensions)) for side in (0, 1)]


def _tensor(values: NDArray[Any] | None) -> Tensor:
    return None if values is None else torch.from_numpy(np.array(values))  # type: ignore[return-value]
