"""Intensity transforms of prepared pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gain(nn.Module):
    """Multiply each sample by one random factor, log-uniform between 1/`factor` and `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Change `image` of a batch."""
        image = batch["image"]
        exponent = 2 * torch.rand(len(image), 1, 1, 1, device=image.device) - 1
        return {**batch, "image": image * self.factor**exponent}


class Noise(nn.Module):
    """Add white noise with a standard deviation of `fraction` times that of each sample."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Change `image` of a batch."""
        image = batch["image"]
        spread = image.std(dim=(1, 2, 3), keepdim=True)
        return {**batch, "image": image + self.fraction * spread * torch.randn_like(image)}


def gain(factor: float = 1.1) -> nn.Module:
    """Multiply each sample by one random factor between 1/`factor` and `factor`."""
    return Gain(factor)


def noise(fraction: float = 0.05) -> nn.Module:
    """Add white noise of `fraction` times the sample's standard deviation."""
    return Noise(fraction)
