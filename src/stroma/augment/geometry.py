"""Geometric transforms: image, labels and annotated pixels move together."""

from __future__ import annotations

import kornia.augmentation as kornia
from torch import Tensor, nn


class Geometric(nn.Module):
    """A Kornia geometric transform applied to a batch; pixels moved in from outside are not annotated.

    Args:
        transform: The transform; drawn anew for each sample.
    """

    def __init__(self, transform: kornia.GeometricAugmentationBase2D) -> None:
        super().__init__()
        self.apply_all = kornia.AugmentationSequential(
            transform,
            data_keys=["input", "mask", "mask"],
            extra_args={"mask": {"resample": "nearest", "align_corners": False}},
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Transform `image`, `labels` and `valid` of a batch; other entries stay."""
        image, labels, valid = self.apply_all(
            batch["image"], batch["labels"][:, None].float(), batch["valid"][:, None].float()
        )
        moved = {"image": image, "labels": labels[:, 0].round().long(), "valid": valid[:, 0] > 0.5}
        return {**batch, **moved}


def flip(horizontal: float = 0.5, vertical: float = 0.5) -> nn.Module:
    """Mirror left-right and top-bottom, each with its probability."""
    return nn.Sequential(
        Geometric(kornia.RandomHorizontalFlip(p=horizontal)), Geometric(kornia.RandomVerticalFlip(p=vertical))
    )


def rotate(degrees: float = 45.0, scale: tuple[float, float] = (0.9, 1.1), probability: float = 0.5) -> nn.Module:
    """Rotate by up to ± `degrees` and scale, about the centre."""
    return Geometric(kornia.RandomAffine(degrees=degrees, scale=tuple(scale), p=probability, padding_mode="zeros"))
