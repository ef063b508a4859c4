"""Dice and cross-entropy on annotated pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DiceCrossEntropy(nn.Module):
    """Weighted sum of cross-entropy and soft Dice loss, both over annotated pixels only.

    The Dice loss is that of Milletari et al. (V-Net, 2016) with squared denominators,
    `1 - 2 Σ p g / (Σ p² + Σ g²)`, summed over the pixels of the batch and averaged over the classes that the
    batch holds.

    Args:
        dice_weight: Weight of the Dice term.
        cross_entropy_weight: Weight of the cross-entropy term.
        label_smoothing: Of the cross-entropy, 0 to 1.
    """

    def __init__(
        self, dice_weight: float = 1.0, cross_entropy_weight: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.dice_weight, self.cross_entropy_weight = dice_weight, cross_entropy_weight
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """Return the loss, 0 where nothing is annotated.

        Args:
            logits: (B, K, H, W).
            labels: (B, H, W) int64 class indices; ignored where not valid.
            valid: (B, H, W) bool, annotated pixels.
        """
        flat = logits.float().movedim(1, -1)[valid]
        target = labels[valid]
        if target.numel() == 0:
            return logits.sum() * 0.0
        cross_entropy = functional.cross_entropy(flat, target, label_smoothing=self.label_smoothing)
        return self.cross_entropy_weight * cross_entropy + self.dice_weight * soft_dice_loss(flat, target)


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of (N, K) logits against (N,) class indices, averaged over the classes present."""
    probabilities = logits.softmax(dim=-1)
    reference = functional.one_hot(target, logits.shape[-1]).to(probabilities.dtype)
    common = (probabilities * reference).sum(dim=0)
    size = (probabilities**2).sum(dim=0) + reference.sum(dim=0)
    present = reference.sum(dim=0) > 0
    dice: Tensor = 2 * common[present] / size[present].clamp_min(torch.finfo(size.dtype).eps)
    return 1 - dice.mean()
