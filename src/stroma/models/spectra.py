"""Networks on single spectra: a one-dimensional CNN and a perceptron, on lists of spectra or on whole cubes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from stroma.core.errors import ConfigError
from stroma.models.activations import activation_layer, normalisation_layer
from stroma.models.bands import resampling

SPECTRA_ON_CPU = 1024
"""Spectra per step when a cube is predicted on a CPU: as many as its cache holds the activations of."""
SPECTRA_ON_DEVICE = 16_384
"""On other devices: 0.4 GB; a 480 × 640 cube at once needs 7.5 GB."""


class Heads(nn.Module):
    """One linear layer per target on shared features.

    Args:
        features: Width of the input.
        outputs: Target → number of outputs.
    """

    def __init__(self, features: int, outputs: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(features, count) for name, count in outputs.items()})

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K) of the target `class`."""
        logits: Tensor = self.heads["class"](features)
        return logits


class SpectrumCNN(nn.Module):
    """The spectral CNN of the HeiPorSPECTRAL group: three convolutions along the spectrum, two linear layers.

    Source: Seidlitz et al., "Robust deep learning-based semantic organ segmentation in hyperspectral images",
    Medical Image Analysis 80 (2022), the model called "pixel". 34,275 parameters for 100 bands and 19 classes.

    Args:
        channels: Bands; at least 36. Spectra of another length than this are also taken (their features are pooled).
        classes: Number of classes.
        width: Channels of the first convolution; the next ones have a half and a quarter.
        activation: Name of the activation.
        normalisation: `BatchNorm`, `InstanceNorm` or none.
        dropout: Probability, after both linear layers.
        domains: Further targets → number of outputs (`camera_index`, …), trained on the same features.
        wavelengths_nm: Wavelengths of the `channels` that come in, when they are not those of training: spectra are
            then interpolated to `trained_nm` first.
        trained_nm: Wavelengths it was trained on.
        keep_sum: Scale interpolated spectra so that their sum stays, as those normalised to the sum 1 need.
    """

    head_names: ClassVar = ("heads.heads.class",)

    to_trained: Tensor | None

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = 64,
        activation: str | None = "elu",
        normalisation: str | None = "BatchNorm",
        dropout: float = 0.1,
        domains: Mapping[str, int] | None = None,
        wavelengths_nm: Sequence[float] | None = None,
        trained_nm: Sequence[float] | None = None,
        keep_sum: bool = True,
    ) -> None:
        super().__init__()
        matrix = resampling(channels, wavelengths_nm, trained_nm, keep_sum=keep_sum)
        self.register_buffer("to_trained", matrix, persistent=False)
        length = len(trained_nm) if trained_nm else channels
        for _ in range(3):
            length = (length - 4) // 2
        if length < 1:
            raise ConfigError(
                f"the spectral CNN needs at least 36 bands, not {channels}",
                next_step="Use spectrum_mlp for few channels",
            )
        widths = (width, width // 2, width // 4)
        self.conv1 = nn.Conv1d(1, widths[0], 5)
        self.conv1_norm = normalisation_layer(normalisation, widths[0])
        self.conv2 = nn.Conv1d(widths[0], widths[1], 5)
        self.conv2_norm = normalisation_layer(normalisation, widths[1])
        self.conv3 = nn.Conv1d(widths[1], widths[2], 5)
        self.conv3_norm = normalisation_layer(normalisation, widths[2])
        self.to_length = nn.AdaptiveAvgPool1d(widths[2] * length)
        self.fc1 = nn.Linear(widths[2] * length, 100)
        self.fc1_norm = normalisation_layer(normalisation, 100)
        self.fc2 = nn.Linear(100, 50)
        self.fc2_norm = normalisation_layer(normalisation, 50)
        self.activation = activation_layer(activation)
        self.dropout = nn.Dropout(dropout)
        self.heads = Heads(50, {"class": classes, **(domains or {})})

    def features(self, spectra: Tensor) -> Tensor:
        """(N, C) → (N, 50), the input of the heads."""
        x = (spectra if self.to_trained is None else spectra @ self.to_trained).unsqueeze(1)
        for conv, norm in (
            (self.conv1, self.conv1_norm),
            (self.conv2, self.conv2_norm),
            (self.conv3, self.conv3_norm),
        ):
            x = halved(self.activation(norm(conv(x))))
        x = x.flatten(1)
        if x.shape[1] != self.fc1.in_features:
            x = self.to_length(x)
        for linear, norm in ((self.fc1, self.fc1_norm), (self.fc2, self.fc2_norm)):
            x = self.dropout(self.activation(norm(linear(x))))
        return x

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits.

        Args:
            spectra: (N, C), or a batch of cubes (B, C, H, W).

        Returns:
            (N, K), or (B, K, H, W).
        """
        return for_each_pixel(lambda rows: self.heads(self.features(rows)), spectra, whole=self.training)


class SpectrumMLP(nn.Module):
    """Three linear layers on the channels of one pixel: the RGB and tissue parameter variant of `SpectrumCNN`.

    Args:
        channels: Channels.
        classes: Number of classes.
        activation: Name of the activation.
        normalisation: `BatchNorm`, `InstanceNorm` or none.
        dropout: Probability, after every layer.
        domains: As in `SpectrumCNN`.
    """

    head_names: ClassVar = ("heads.heads.class",)

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        activation: str | None = "elu",
        normalisation: str | None = "BatchNorm",
        dropout: float = 0.1,
        domains: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 200)
        self.fc1_norm = normalisation_layer(normalisation, 200)
        self.fc2 = nn.Linear(200, 100)
        self.fc2_norm = normalisation_layer(normalisation, 100)
        self.fc3 = nn.Linear(100, 50)
        self.fc3_norm = normalisation_layer(normalisation, 50)
        self.activation = activation_layer(activation)
        self.dropout = nn.Dropout(dropout)
        self.heads = Heads(50, {"class": classes, **(domains or {})})

    def features(self, spectra: Tensor) -> Tensor:
        """(N, C) → (N, 50), the input of the heads."""
        x = spectra
        for linear, norm in ((self.fc1, self.fc1_norm), (self.fc2, self.fc2_norm), (self.fc3, self.fc3_norm)):
            x = self.dropout(self.activation(norm(linear(x))))
        return x

    def forward(self, spectra: Tensor) -> Tensor:
        """Logits (N, K) of spectra (N, C), or (B, K, H, W) of cubes (B, C, H, W)."""
        return for_each_pixel(lambda rows: self.heads(self.features(rows)), spectra, whole=self.training)


def halved(spectra: Tensor) -> Tensor:
    """Means of neighbouring pairs (…, L) → (…, L // 2), equal to `nn.AvgPool1d(2)`, which is slow on CPUs."""
    pairs = spectra.shape[-1] // 2
    return (spectra[..., 0 : 2 * pairs : 2] + spectra[..., 1 : 2 * pairs : 2]) * 0.5


def for_each_pixel(function: Callable[[Tensor], Tensor], spectra: Tensor, *, whole: bool) -> Tensor:
    """Apply a function of spectra (N, C) → (N, K) to spectra, or to every pixel of cubes.

    Args:
        function: Treats each row by itself (in eval mode).
        spectra: (N, C), or (B, C, H, W).
        whole: Apply it to all rows at once, as batch statistics in training need, rather than in steps.

    Returns:
        (N, K), or (B, K, H, W).
    """
    if spectra.ndim == 2:
        return function(spectra)
    batch, channels, height, width = spectra.shape
    rows = spectra.permute(0, 2, 3, 1).reshape(-1, channels)
    exported = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
    if whole or exported:  # a file holds no number of steps
        logits = function(rows)
    else:
        step = SPECTRA_ON_CPU if spectra.device.type == "cpu" else SPECTRA_ON_DEVICE
        logits = torch.cat([function(part) for part in torch.split(rows, step)])
    return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
