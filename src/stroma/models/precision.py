"""Networks laid out for speed: folded normalisation, channels last, and bfloat16 where a processor computes in it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stroma.core.device import computes_bfloat16
from stroma.core.errors import UsageError


class AtPrecision(nn.Module):
    """Runs a network in channels-last memory and one precision, and gives float32.

    Args:
        network: From `at_precision`.
        dtype: What it computes in.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs of the network, float32."""
        result: Tensor = self.network(*(_laid_out(x.to(self.dtype)) for x in inputs))
        return result.float()


def _laid_out(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def at_precision(network: nn.Module, precision: str) -> AtPrecision:
    """A copy of a network for prediction in `precision`.

    Weights are cast once, and batch normalisations that follow a convolution in an `nn.Sequential` are folded into
    it. float32 agrees with the network up to rounding; bfloat16 keeps 8 bits, and `docs/models.md` has measured
    differences.

    Args:
        network: Takes and gives tensors; it is not changed.
        precision: `float32` or `bfloat16`.

    Raises:
        UsageError: another precision.
    """
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in dtypes:
        raise UsageError(f"there is no precision '{precision}'", next_step="Use float32 or bfloat16")
    copied = copy.deepcopy(network).eval()
    fold_normalisation(copied)
    return AtPrecision(copied.to(dtypes[precision]).to(memory_format=torch.channels_last), dtypes[precision])


def inference_precision(wanted: str, device: str) -> str:
    """`float32` or `bfloat16`; `auto` is bfloat16 on devices that compute in it.

    Args:
        wanted: `auto`, `float32` or `bfloat16`.
        device: From `resolve_device`.
    """
    if wanted != "auto":
        return wanted
    return "bfloat16" if computes_bfloat16(device) else "float32"


def fold_normalisation(network: nn.Module) -> None:
    """Fold batch normalisations into the convolution before them in the same `nn.Sequential`, in place."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        names = list(module._modules)
        for first, second in zip(names, names[1:], strict=False):
            convolution, normalisation = module._modules[first], module._modules[second]
            if type(convolution) is nn.Conv2d and type(normalisation) is nn.BatchNorm2d:
                module._modules[first] = fuse_conv_bn_eval(convolution, normalisation)
                module._modules[second] = nn.Identity()
