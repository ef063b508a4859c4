"""Convolutions along the channels, before a segmentation network: `model/channel_preprocessing` of htc."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stroma.core.errors import ConfigError, nearest
from stroma.models.activations import activation_layer, normalisation_layer
from stroma.models.bands import resampling


class _Variant(NamedTuple):
    """Outputs, depth of the kernel and its stride along the channels, layer by layer."""

    outputs: tuple[int, int, int]
    depth: tuple[int, int, int]
    stride: tuple[int, int, int]
    spatial: bool = True
    activated: bool = True
    halved: bool = False


_VARIANTS = {
    5: _Variant((10, 5, 1), (10, 10, 10), (2, 2, 2), activated=False),
    16: _Variant((5, 5, 1), (5, 5, 5), (2, 1, 1), activated=False, halved=True),
    38: _Variant((5, 2, 1), (10, 5, 5), (2, 1, 1)),
    40: _Variant((10, 5, 1), (5, 5, 5), (2, 1, 1), spatial=False),
}


class ChannelWeights(nn.Module):
    """One learned factor for each channel, 1 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_weights = nn.Parameter(torch.ones(channels))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        return image * self.channel_weights[:, None, None]


class ChannelConvolutions(nn.Module):
    """Three convolutions over (channel, row, column) that leave fewer channels.

    Equal to the layers of imsy-htc 0.0.23 in names and outputs. Images wrap around at their borders, as there.

    Args:
        channels: Channels of the image.
        remaining_channels: Which of the four designs, called by what they leave of 100 channels: 5, 16, 38 or 40.
        activation: Name of the activation; the designs 5 and 16 have none.
        normalisation: `BatchNorm`, `InstanceNorm` or none.
        channel_weights: Weight every channel first.
        wavelengths_nm: Of the `channels` that come in, when they are not those of training: spectra are then
            interpolated to `trained_nm` first.
        trained_nm: Wavelengths it was trained on.
        keep_sum: Scale interpolated spectra so that their sum stays, as those normalised to the sum 1 need.

    Raises:
        ConfigError: an unknown design, or too few channels for it.
    """

    to_trained: Tensor | None

    def __init__(
        self,
        *,
        channels: int,
        remaining_channels: int = 40,
        activation: str | None = None,
        normalisation: str | None = None,
        channel_weights: bool = False,
        wavelengths_nm: Sequence[float] | None = None,
        trained_nm: Sequence[float] | None = None,
        keep_sum: bool = True,
    ) -> None:
        super().__init__()
        if remaining_channels not in _VARIANTS:
            raise ConfigError(
                f"channel_preprocessing has no design for {remaining_channels} remaining channels",
                next_step=f"Known: {', '.join(map(str, _VARIANTS))}",
            )
        variant = _VARIANTS[remaining_channels]
        matrix = resampling(channels, wavelengths_nm, trained_nm, keep_sum=keep_sum)
        self.register_buffer("to_trained", matrix, persistent=False)
        trained = len(trained_nm) if trained_nm else channels
        self.channel_weights = ChannelWeights(trained) if channel_weights else nn.Identity()
        self.layers = nn.Sequential(*_layers(variant, activation, normalisation))
        self.remaining = _remaining(variant, trained)
        if self.remaining < 1:
            raise ConfigError(f"channel_preprocessing {remaining_channels} leaves none of {trained} channels")

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) → (B, `remaining`, H, W)."""
        if self.to_trained is not None:
            image = torch.einsum("bchw,cd->bdhw", image, self.to_trained)
        result: Tensor = self.layers(self.channel_weights(image).unsqueeze(1)).squeeze(1)
        return result


def channel_convolutions(channels: int, parameters: Mapping[str, Any]) -> ChannelConvolutions:
    """`ChannelConvolutions` with the parameters of a configuration.

    Raises:
        ConfigError: a parameter is unknown, or as in `ChannelConvolutions`.
    """
    known = list(inspect.signature(ChannelConvolutions).parameters)[1:]
    for key in parameters:
        if key not in known:
            raise ConfigError(f"channel_preprocessing has no parameter '{key}'", next_step=nearest(key, known))
    return ChannelConvolutions(channels=channels, **parameters)


def _layers(variant: _Variant, activation: str | None, normalisation: str | None) -> list[nn.Module]:
    """Every design counts its layers as the original does: one without an activation has no place for it."""
    side: dict[str, Any] = {"padding": (0, 1, 1), "padding_mode": "circular"} if variant.spatial else {}
    layers: list[nn.Module] = []
    inputs = 1
    for index, (outputs, depth, stride) in enumerate(
        zip(variant.outputs, variant.depth, variant.stride, strict=True)
    ):
        size = (depth, 3, 3) if variant.spatial else (depth, 1, 1)
        layers += [nn.Conv3d(inputs, outputs, size, stride=(stride, 1, 1), **side)]
        layers += [normalisation_layer(normalisation, outputs, dimensions=3)]
        layers += [activation_layer(activation)] if variant.activated else []
        layers += [nn.AvgPool3d((2, 1, 1))] if variant.halved and index == 0 else []
        inputs = outputs
    return layers


def _remaining(variant: _Variant, channels: int) -> int:
    for index, (depth, stride) in enumerate(zip(variant.depth, variant.stride, strict=True)):
        channels = (channels - depth) // stride + 1
        channels = channels // 2 if variant.halved and index == 0 else channels
    return channels
