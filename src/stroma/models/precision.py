"""Networks laid out for speed: channels last, and bfloat16 where a processor computes in it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stroma.core.errors import UsageError


class AtPrecision(nn.Module):
    """Runs a network in channels-last memory and a precision, and gives float32.

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
        laid_out = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
        if self.dtype is torch.float32:
            result: Tensor = self.network(*laid_out)
            return result
        with torch.autocast(laid_out[0].device.type, dtype=self.dtype):
            result = self.network(*laid_out)
        return result.float()


def at_precision(network: nn.Module, precision: str) -> AtPrecision:
    """A copy of a network that computes in `precision`, for prediction.

    Args:
        network: Takes and gives tensors; it is not changed.
        precision: `float32` or `bfloat16`.

    Raises:
        UsageError: another precision.
    """
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in dtypes:
        raise UsageError(f"there is no precision '{precision}'", next_step="Use float32 or bfloat16")
    copied = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)
    return AtPrecision(copied, dtypes[precision])
