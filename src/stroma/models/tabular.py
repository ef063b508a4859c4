"""Networks on tables of clinical values, alone or beside an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stroma.models.activations import activation_layer, normalisation_layer
from stroma.models.superpixel import EncoderClassifier


class TableNetwork(nn.Module):
    """A perceptron on a row of numbers, normalised by batch statistics first.

    Source: the HeiPorSPECTRAL group, Science Advances 2025 (sepsis and survival from clinical data). Names of its
    layers and its outputs are those of imsy-htc 0.0.23; published files have not been at hand.

    Args:
        channels: Columns of the table.
        classes: Number of classes.
        hidden: Widths of the two hidden layers.
        activation: Name of the activation.
        normalisation: `BatchNorm`, `InstanceNorm` or none, of the hidden layers.
        dropout: Probability, after both hidden layers.
    """

    head_names: ClassVar = ("head",)

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        hidden: Sequence[int] = (50, 30),
        activation: str | None = "elu",
        normalisation: str | None = "BatchNorm",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.input_normalization = nn.BatchNorm1d(channels)
        self.fc1 = nn.Linear(channels, hidden[0])
        self.fc1_norm = normalisation_layer(normalisation, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc2_norm = normalisation_layer(normalisation, hidden[1])
        self.activation = activation_layer(activation)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden[1], classes)

    def forward(self, table: Tensor) -> Tensor:
        """Logits (B, K) of rows (B, F)."""
        x = self.input_normalization(table)
        x = self.dropout(self.activation(self.fc1_norm(self.fc1(x))))
        x = self.dropout(self.activation(self.fc2_norm(self.fc2(x))))
        logits: Tensor = self.head(x)
        return logits


class ImageTableNetwork(nn.Module):
    """An image network and a table network, joined before the last layers.

    Source as in `TableNetwork`.

    Args:
        channels: Channels of the image.
        classes: Number of classes.
        columns: Columns of the table.
        encoder: As in `EncoderClassifier`.
        weights: As in `EncoderClassifier`.
        part: Outputs of each of the two networks.
        activation: Name of the activation after they are joined.
        normalisation: `BatchNorm`, `InstanceNorm` or none, after they are joined.
        dropout: Probability before the last layers of the image network and of the whole.
        table: Further parameters of the table network, as in `TableNetwork`.
    """

    head_names: ClassVar = ("head",)

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        columns: int,
        encoder: str = "timm-resnest14d",
        weights: str | None = None,
        part: int = 10,
        activation: str | None = "elu",
        normalisation: str | None = "BatchNorm",
        dropout: float | None = 0.5,
        table: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.image = EncoderClassifier(
            channels=channels, classes=part, encoder=encoder, weights=weights, dropout=dropout
        )
        self.image_norm = nn.BatchNorm1d(part)
        self.meta = TableNetwork(channels=columns, classes=part, **(table or {}))
        self.meta_norm = nn.BatchNorm1d(part)
        self.fc = nn.Linear(2 * part, part)
        self.fc_norm = normalisation_layer(normalisation, part)
        self.activation = activation_layer(activation)
        self.dropout = nn.Dropout(dropout or 0.0)
        self.head = nn.Linear(part, classes)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) and rows (B, F)."""
        joined = torch.cat([self.image_norm(self.image(image)), self.meta_norm(self.meta(table))], dim=1)
        logits: Tensor = self.head(self.dropout(self.activation(self.fc_norm(self.fc(joined)))))
        return logits
