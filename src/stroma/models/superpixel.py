"""Classification of a whole crop by an encoder of segmentation-models-pytorch and a pooled linear head."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from stroma.models.segmentation import smp_network


class EncoderClassifier(nn.Module):
    """One label per image: the last feature map of an encoder, averaged, then a linear layer.

    Superpixels of 32 × 32 pixels (Seidlitz et al. 2022) and whole palms and fingers of 224 × 224 (the same group,
    Science Advances 2025) are classified with it. Its segmentation head is never used; published weights hold it,
    so it is kept.

    Args:
        channels: Channels of the image.
        classes: Number of classes.
        encoder: As in `segmentation_model`.
        weights: As in `segmentation_model`.
        dropout: Probability before the linear layer, or none.
    """

    head_names: ClassVar = ("architecture.classification_head", "architecture.segmentation_head")
    unused_names: ClassVar = ("architecture.segmentation_head",)

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        encoder: str = "efficientnet-b5",
        weights: str | None = None,
        dropout: float | None = 0.1,
    ) -> None:
        super().__init__()
        head = {"pooling": "avg", "dropout": dropout, "classes": classes}
        self.architecture = smp_network(
            "Unet", channels, classes, encoder, weights=weights, options={"aux_params": head}
        )
        self.architecture.decoder = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        features = self.architecture.encoder(image)[-1]
        logits: Tensor = self.architecture.classification_head(features)
        return logits
