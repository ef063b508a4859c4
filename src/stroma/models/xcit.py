"""XCiT encoders and the features of HistoEncoder: class tokens of the last blocks, with the mean of the patches."""

from __future__ import annotations

from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from stroma.core.errors import ConfigError, nearest

Tokens = Literal["first_patch", "mean"]


def xcit(*, channels: int = 3, classes: int = 0, encoder: str = "xcit_small_12_p16_224") -> nn.Module:
    """An XCiT network of timm (El-Nouby et al., NeurIPS 2021), (B, C, H, W) → (B, K), or vectors for 0 classes.

    Args:
        channels: Channels of the image.
        classes: Number of classes; 0 gives the feature vector, as the encoders of HistoEncoder do.
        encoder: The name of an XCiT in timm.

    Raises:
        ConfigError: no XCiT of timm has this name.
    """
    known = timm.list_models("xcit_*")
    if encoder not in known:
        raise ConfigError(f"timm has no XCiT '{encoder}'", next_step=nearest(encoder, known))
    network: nn.Module = timm.create_model(encoder, num_classes=classes, in_chans=channels)
    return network


class BlockFeatures(nn.Module):
    """Feature vectors from the last blocks of an XCiT, as HistoEncoder extracts them.

    Each of the last blocks gives its normalised class token. Blocks before the class-attention blocks have none:
    HistoEncoder takes their first patch there (`first_patch`), which describes the image's top-left corner;
    `mean` takes the mean of their patches instead. It matters for more than two blocks only.

    Args:
        encoder: An XCiT without a classification head.
        num_blocks: Blocks to take, from the end; more than there are means all.
        avg_pool: Add the mean over the patches of the last block.
        without_class_token: What to take from blocks that have no class token.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_blocks: int = 1,
        avg_pool: bool = False,
        without_class_token: Tokens = "first_patch",
    ) -> None:
        super().__init__()
        if num_blocks < 1:
            raise ConfigError(f"num_blocks is {num_blocks}", next_step="Take at least 1 block")
        self.encoder = encoder
        self.num_blocks = min(num_blocks, len(_blocks(encoder)) + len(_class_blocks(encoder)))
        self.avg_pool = avg_pool
        self.without_class_token = without_class_token

    @property
    def width(self) -> int:
        """Length of a feature vector."""
        return int(self.encoder.num_features) * (self.num_blocks + self.avg_pool)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W), any H and W → (B, width) float, the earlier block first, the mean of patches last."""
        patches, classed = xcit_tokens(self.encoder, image)
        norm: Any = self.encoder.norm
        without = [norm(tokens) for tokens in patches[len(patches) - max(0, self.num_blocks - len(classed)) :]]
        with_token = [norm(tokens) for tokens in classed[-self.num_blocks :]]
        pooled = self.without_class_token == "mean"
        parts = [tokens.mean(dim=1) if pooled else tokens[:, 0] for tokens in without]
        parts += [tokens[:, 0] for tokens in with_token]
        if self.avg_pool:
            parts.append(with_token[-1][:, 1:].mean(dim=1))
        return torch.cat(parts, dim=1)


def xcit_tokens(encoder: nn.Module, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of every block of an XCiT, before its last normalisation.

    Returns:
        Of the blocks before, (B, N, D) of patches; of the class-attention blocks, (B, 1 + N, D), class token first.
    """
    network: Any = encoder
    x, (rows, columns) = network.patch_embed(image)
    batch = x.shape[0]
    if network.pos_embed is not None:
        x = x + network.pos_embed(batch, rows, columns).reshape(batch, -1, x.shape[1]).permute(0, 2, 1)
    x = network.pos_drop(x)
    patches, classed = [], []
    for block in _blocks(encoder):
        x = block(x, rows, columns)
        patches.append(x)
    x = torch.cat([network.cls_token.expand(batch, -1, -1), x], dim=1)
    for block in _class_blocks(encoder):
        x = block(x)
        classed.append(x)
    return patches, classed


def _blocks(encoder: nn.Module) -> nn.ModuleList:
    blocks: nn.ModuleList = encoder.blocks  # type: ignore[assignment]
    return blocks


def _class_blocks(encoder: nn.Module) -> nn.ModuleList:
    blocks: nn.ModuleList = encoder.cls_attn_blocks  # type: ignore[assignment]
    return blocks
