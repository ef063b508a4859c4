"""Networks as files for other programs, checked against the network they were made from."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stroma.core.errors import StromaError
from stroma.core.extras import require
from stroma.core.files import atomic_path
from stroma.models.spectra import Heads

Format = Literal["safetensors", "torchscript", "onnx"]
SUFFIX: dict[Format, str] = {"safetensors": ".safetensors", "torchscript": ".pt", "onnx": ".onnx"}
TOLERANCE = 1e-4
"""Largest difference of an exported network's output, relative to the largest value of the original's."""


def export_model(model: nn.Module, path: Path, example: Tensor, format: Format) -> float:
    """Write a network as a file, run the file, and compare.

    `safetensors` holds the weights alone. `torchscript` and `onnx` also hold the computation for images of the height
    and width of `example`; the number of images may differ.

    Args:
        model: The network; used in eval mode, in float32 on the CPU.
        path: The file to write.
        example: (B, C, H, W), or (N, C) for networks on spectra, B or N at least 2.
        format: `safetensors`, `torchscript` or `onnx` (needs the extra `onnx`).

    Returns:
        The largest difference found, relative to the largest value of the original's output.

    Raises:
        MissingExtra: `onnx` without its packages.
        StromaError: the network cannot be exported so, or the file's output differs.
    """
    model = model.eval()
    if format != "safetensors":
        model = _plain_names(model)
    with torch.inference_mode():
        wanted = model(example)
    write = {"safetensors": _safetensors, "torchscript": _torchscript, "onnx": _onnx}[format]
    with atomic_path(path) as temporary:
        try:
            found = write(model, temporary, example)
        except (RuntimeError, ValueError, torch.onnx.OnnxExporterError) as failure:
            reason = " ".join(str(failure).split())[:300]
            raise StromaError(
                f"{type(model).__name__} cannot be exported as {format} ({reason})", where=path
            ) from failure
        error = relative_difference(found, wanted)
        if not error <= TOLERANCE:
            rounding = relative_difference(wanted, _in_float64(model, example))
            amplified = f"; float32 itself differs from float64 by {rounding:.2g} with these weights"
            raise StromaError(
                f"the exported network's output differs by {error:.2g} (allowed: {TOLERANCE:g}), and was not kept"
                + (amplified if rounding > TOLERANCE / 10 else ""),
                where=path,
            )
    return error


def relative_difference(found: Tensor, wanted: Tensor) -> float:
    """Largest difference between two outputs, relative to the largest value of `wanted`."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def _in_float64(model: nn.Module, example: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = copy.deepcopy(model).double()(example.double())
    return result.to(example.dtype)


def _plain_names(model: nn.Module) -> nn.Module:
    """A copy without modules named `class`, a word that the exported program may not use for a name."""
    copied = copy.deepcopy(model)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Heads):
                setattr(module, name, child.heads["class"])
    return copied


def _safetensors(model: nn.Module, path: Path, example: Tensor) -> Tensor:
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    save_file(state, path)
    outside = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        model.load_state_dict(load_file(path))
        with torch.inference_mode():
            result: Tensor = model(example)
    finally:
        model.load_state_dict(outside)
    return result


def _torchscript(model: nn.Module, path: Path, example: Tensor) -> Tensor:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every size it fixes; that sizes are fixed is documented
        traced = torch.jit.trace(model, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path))
        result: Tensor = torch.jit.load(str(path))(example)  # type: ignore[no-untyped-call]
    return result


def _onnx(model: nn.Module, path: Path, example: Tensor) -> Tensor:
    for package in ("onnx", "onnxscript"):
        require(package, extra="onnx", feature="exporting to ONNX")
    runtime = require("onnxruntime", extra="onnx", feature="checking an exported ONNX file")
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: batch},),
        )
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    output = session.run(None, {"image": np.ascontiguousarray(example.numpy())})[0]
    return torch.from_numpy(output)
