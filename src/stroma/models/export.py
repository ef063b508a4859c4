"""Networks as files for other programs, checked against the network they were made from."""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import dataclass
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
_EXPLAINED = 100
"""How many times the network's own rounding in float32 another program's may be, before the file must be wrong."""


@dataclass(frozen=True)
class Check:
    """How an exported file was compared with the network it was made from.

    Attributes:
        difference: The largest difference of their outputs, relative to the largest value of the original's.
        computed_in: `float32`, or `float64` where float32 rounds too much to compare in.
        rounding: Largest difference of the network's own output between float32 and float64, in the second case.
    """

    difference: float
    computed_in: Literal["float32", "float64"] = "float32"
    rounding: float | None = None


def export_model(model: nn.Module, path: Path, example: Tensor, format: Format) -> Check:
    """Write a network as a file, run the file, and compare.

    `safetensors` holds the weights alone. `torchscript` and `onnx` also hold the computation for images of the height
    and width of `example`; the number of images may differ.

    The file is run in float32. Networks whose weights amplify rounding give another output in every program; where
    the outputs differ for this reason, the file's computation is repeated in float64, and has to agree there.

    Args:
        model: The network; used in eval mode, in float32 on the CPU.
        path: The file to write.
        example: (B, C, H, W), or (N, C) for networks on spectra, B or N at least 2.
        format: `safetensors`, `torchscript` or `onnx` (needs the extra `onnx`).

    Raises:
        MissingExtra: `onnx` without its packages.
        StromaError: the network cannot be exported so, its output is not finite, or the file's output differs.
    """
    model = model.eval()
    if format != "safetensors":
        model = _plain_names(model)
    with torch.inference_mode():
        wanted = model(example)
    if not wanted.isfinite().all():
        raise StromaError(
            "gives values that are not finite, so nothing could be compared with it",
            where=type(model).__name__,
            next_step="Check its weights: stroma models verify, or predict an image with it",
        )
    write = {"safetensors": _safetensors, "torchscript": _torchscript, "onnx": _onnx}[format]
    with atomic_path(path) as temporary:
        try:
            check = Check(relative_difference(write(model, temporary, example), wanted))
            if not check.difference <= TOLERANCE and format != "safetensors":
                check = _repeated_in_float64(model, temporary, example, format, wanted, check)
        except (RuntimeError, ValueError, torch.onnx.OnnxExporterError) as failure:
            reason = " ".join(str(failure).split())[:300]
            raise StromaError(
                f"{type(model).__name__} cannot be exported as {format} ({reason})", where=path
            ) from failure
        if not check.difference <= TOLERANCE:
            raise StromaError(
                f"the exported network's output differs by {check.difference:.2g} in {check.computed_in} (allowed: "
                f"{TOLERANCE:g}), and was not kept",
                where=path,
            )
    return check


def _repeated_in_float64(
    model: nn.Module, path: Path, example: Tensor, format: Format, wanted: Tensor, check: Check
) -> Check:
    """The comparison in float64, if float32 rounds so much that it may explain the difference."""
    with torch.inference_mode():
        exact = copy.deepcopy(model).double()(example.double())
    rounding = relative_difference(wanted, exact)
    if rounding < check.difference / _EXPLAINED:
        return check
    if format == "torchscript":
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; users ask for it
            found = torch.jit.load(str(path)).double()(example.double())  # type: ignore[no-untyped-call]
    else:
        from stroma.models.onnx_float64 import run_in_float64

        _write_onnx(model, path, example, optimize=False)  # optimised, it holds products that were rounded to float32
        found = run_in_float64(path, example)
    return Check(relative_difference(found, exact), "float64", rounding)


def relative_difference(found: Tensor, wanted: Tensor) -> float:
    """Largest difference between two outputs, relative to the largest value of `wanted`."""
    return float((found.double() - wanted.double()).abs().max() / wanted.abs().max().double().clamp_min(1e-30))


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
        with path.open("wb") as file:  # torch itself takes no name without a suffix
            torch.jit.save(traced, file)
        result: Tensor = torch.jit.load(str(path))(example)  # type: ignore[no-untyped-call]
    return result


def _onnx(model: nn.Module, path: Path, example: Tensor) -> Tensor:
    for package in ("onnx", "onnxscript"):
        require(package, extra="onnx", feature="exporting to ONNX")
    runtime = require("onnxruntime", extra="onnx", feature="checking an exported ONNX file")
    _write_onnx(model, path, example, optimize=True)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    output = session.run(None, {"image": np.ascontiguousarray(example.numpy())})[0]
    return torch.from_numpy(output)


def _write_onnx(model: nn.Module, path: Path, example: Tensor, *, optimize: bool) -> None:
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
            optimize=optimize,
            dynamic_shapes=({0: batch},),
        )
