"""Feature vectors from the last blocks of an encoder, rather than from its end alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stroma.core.errors import UsageError
from stroma.models.deepcmorph import DeepCMorph
from stroma.models.xcit import BlockFeatures


class TimmBlockFeatures(nn.Module):
    """Features of the last blocks of a timm network.

    Of networks with a class token, the normalised class token of each block; of others, the mean over the patches or
    pixels of each block's output. The earlier block comes first.

    Args:
        network: It has `forward_intermediates`.
        num_blocks: Blocks (of convolutional networks: stages) to take, from the end.
        avg_pool: Add the mean over the patches of the last block; for networks with a class token.
    """

    def __init__(self, network: nn.Module, num_blocks: int, avg_pool: bool) -> None:
        super().__init__()
        self.network = network
        self.num_blocks = num_blocks
        self.avg_pool = avg_pool
        self.has_token = bool(getattr(network, "num_prefix_tokens", 0))
        if avg_pool and not self.has_token:
            raise UsageError(
                f"{type(network).__name__} has no class token: its features are a mean already",
                next_step="Leave out --avg-pool",
            )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) → (B, width)."""
        network: Any = self.network
        arguments: dict[str, Any] = {"indices": self.num_blocks, "intermediates_only": True}
        if not self.has_token:
            maps = network.forward_intermediates(image, **arguments)
            return torch.cat([m.flatten(2).mean(dim=2) for m in maps], dim=1)
        arguments |= {"norm": True, "output_fmt": "NLC", "return_prefix_tokens": True}
        blocks = network.forward_intermediates(image, **arguments)
        parts = [prefix[:, 0] for _, prefix in blocks]
        if self.avg_pool:
            parts.append(blocks[-1][0].mean(dim=1))
        return torch.cat(parts, dim=1)


class TissueFeatures(nn.Module):
    """The 2,560 features of DeepCMorph, before its heads."""

    def __init__(self, network: DeepCMorph) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 2560)."""
        return self.network.features(image)


def feature_network(network: nn.Module, *, num_blocks: int = 1, avg_pool: bool = False) -> nn.Module:
    """A network that gives one vector per image.

    Args:
        network: An encoder of timm or of the catalogue.
        num_blocks: Blocks to take, from the end.
        avg_pool: Add the mean over the patches of the last block.

    Raises:
        UsageError: the network gives no features of blocks.
    """
    if num_blocks < 1:
        raise UsageError(f"num_blocks is {num_blocks}", next_step="Take at least 1 block")
    if isinstance(network, DeepCMorph):
        if num_blocks > 1 or avg_pool:
            raise UsageError("DeepCMorph has one feature vector", next_step="Leave out --num-blocks and --avg-pool")
        return TissueFeatures(network)
    if hasattr(network, "cls_attn_blocks") and hasattr(network, "blocks"):
        return BlockFeatures(network, num_blocks, avg_pool)
    if num_blocks == 1 and not avg_pool:
        return network
    if not hasattr(network, "forward_intermediates"):
        raise UsageError(
            f"{type(network).__name__} does not give the features of its blocks",
            next_step="Leave out --num-blocks and --avg-pool",
        )
    return TimmBlockFeatures(network, num_blocks, avg_pool)
