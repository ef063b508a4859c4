"""Segmentation networks: any architecture and encoder of segmentation-models-pytorch, at any image size."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

from stroma.core.errors import ConfigError, MissingFile, nearest
from stroma.models.channel_convolutions import channel_convolutions

_UNET_CHANNELS = (256, 128, 64, 32, 16)
_ARCHITECTURES = smp.MODEL_ARCHITECTURES_MAPPING


class PaddedSegmentation(nn.Module):
    """A dense network that takes any height and width: pads to what the network divides by, and crops back.

    Borders are padded on the right and at the bottom by repeating the last row and column, so an image whose sides
    are already multiples passes through unchanged.

    Args:
        architecture: The network, (B, C, H, W) → (B, K, H, W) for sides that are multiples of `stride`.
        stride: What both sides have to be multiples of.
        channel_preprocessing: What the image goes through first.
        smallest_px: What both sides have to be at least.
    """

    head_names: ClassVar = ("architecture.segmentation_head",)

    def __init__(
        self,
        architecture: nn.Module,
        stride: int,
        channel_preprocessing: nn.Module | None = None,
        smallest_px: int = 1,
    ) -> None:
        super().__init__()
        self.channel_preprocessing = nn.Identity() if channel_preprocessing is None else channel_preprocessing
        self.architecture = architecture
        self.stride = stride
        self.smallest_px = smallest_px

    def forward(self, image: Tensor) -> Tensor:
        """Logits.

        Args:
            image: (B, C, H, W), any H and W.

        Returns:
            (B, K, H, W).
        """
        height, width = image.shape[-2:]
        padded = pad_to_multiple(self.channel_preprocessing(image), self.stride, self.smallest_px)
        logits: Tensor = self.architecture(padded)
        return logits[..., :height, :width]


def pad_to_multiple(image: Tensor, stride: int, smallest_px: int = 1) -> Tensor:
    """Pad (B, C, H, W) at the bottom and the right to multiples of `stride` by repeating the border.

    Args:
        image: The images.
        stride: What both sides are to be multiples of.
        smallest_px: What both sides are to be at least; a multiple of `stride`, or 1.
    """
    height, width = image.shape[-2:]
    bottom, right = max(-height % stride, smallest_px - height), max(-width % stride, smallest_px - width)
    if bottom == 0 and right == 0:
        return image
    return functional.pad(image, (0, right, 0, bottom), mode="replicate")


def segmentation_model(
    *,
    channels: int,
    classes: int,
    architecture: str = "Unet",
    encoder: str = "resnet18",
    depth: int = 5,
    decoder_channels: int | Sequence[int] | None = None,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    channel_preprocessing: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A segmentation network of segmentation-models-pytorch, (B, C, H, W) → logits (B, K, H, W) for any H and W.

    Args:
        channels: Channels of the image, C.
        classes: Number of classes, K.
        architecture: `Unet`, `UnetPlusPlus`, `MAnet`, `Linknet`, `FPN`, `PSPNet`, `DeepLabV3`, `DeepLabV3Plus`,
            `PAN`, `UPerNet`, `Segformer` or `DPT`.
        encoder: An encoder of segmentation-models-pytorch (`efficientnet-b5`), or `tu-` and the name of any timm
            network that gives feature maps (`tu-convnext_tiny`).
        depth: Down-scaling steps of the encoder.
        decoder_channels: Channels of the decoder; the library's default when not given.
        weights: Weights of the encoder, for example `imagenet` (downloaded by the library); random when not given.
        options: Further parameters of the architecture, for example `{"decoder_attention_type": "scse"}`.
        channel_preprocessing: Parameters of `ChannelConvolutions`, which then reduce the channels first.

    Raises:
        ConfigError: an unknown architecture, encoder, weights or option, or values that do not fit together.
        MissingFile: the weights of the encoder cannot be downloaded.
    """
    before = None
    if channel_preprocessing is not None:
        before = channel_convolutions(channels, channel_preprocessing)
        channels = before.remaining
    network = smp_network(
        architecture,
        channels,
        classes,
        encoder,
        depth=depth,
        decoder_channels=decoder_channels,
        weights=weights,
        options=options or {},
    )
    stride = math.lcm(2**depth, int(network.encoder.output_stride))
    pyramid = architecture.lower() == "pan"  # it halves the last feature map three times
    return PaddedSegmentation(network, stride, before, 8 * stride if pyramid else 1)


def unet(
    *,
    channels: int,
    classes: int,
    encoder: str = "resnet18",
    depth: int = 3,
    decoder_channels: Sequence[int] = (64, 32, 16),
    weights: str | None = None,
) -> nn.Module:
    """A small U-Net that trains on a laptop; `segmentation_model` with other defaults.

    Args:
        channels: Channels of the image.
        classes: Number of classes.
        encoder: As in `segmentation_model`.
        depth: Down-scaling steps of the encoder.
        decoder_channels: One number a step.
        weights: As in `segmentation_model`.
    """
    return segmentation_model(
        channels=channels,
        classes=classes,
        encoder=encoder,
        depth=depth,
        decoder_channels=decoder_channels,
        weights=weights,
    )


def smp_network(
    architecture: str,
    channels: int,
    classes: int,
    encoder: str,
    *,
    depth: int = 5,
    decoder_channels: int | Sequence[int] | None = None,
    weights: str | None = None,
    options: Mapping[str, Any],
) -> Any:
    """The network of the library itself; parameters and errors as in `segmentation_model`."""
    factory = _ARCHITECTURES.get(architecture.lower())
    if factory is None:
        names = [known.__name__ for known in _ARCHITECTURES.values()]
        raise ConfigError(
            f"unknown segmentation architecture '{architecture}'", next_step=nearest(architecture, names)
        )
    given: dict[str, Any] = {"encoder_name": encoder, "encoder_depth": depth, "encoder_weights": weights}
    if decoder_channels is None and "decoder_channels" in _list_parameters(factory):
        decoder_channels = _UNET_CHANNELS[-depth:]
    if decoder_channels is not None:
        given["decoder_channels"] = decoder_channels
    if factory is smp.PSPNet:  # its own default fits depth 3 only
        given["upsampling"] = 2**depth
    given |= options
    _check_options(factory, given)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*`timm-` encoders are deprecated.*")
            network = factory(in_channels=channels, classes=classes, **given)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{architecture} with encoder '{encoder}' cannot be made: {_one_line(error)}",
            next_step=nearest(encoder, smp.encoders.get_encoder_names()),
        ) from error
    except OSError as error:
        raise MissingFile(
            f"the weights '{weights}' of encoder '{encoder}' cannot be downloaded ({_one_line(error)})",
            next_step="Connect to the network once, or train with weights: null",
        ) from error
    return network


def _list_parameters(factory: Any) -> set[str]:
    """Parameters whose default is one number a decoder step."""
    parameters = inspect.signature(factory.__init__).parameters.values()
    return {p.name for p in parameters if isinstance(p.default, tuple | list)}


def _check_options(factory: Any, given: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(factory.__init__).parameters if name not in ("self", "kwargs")]
    for name in given:
        if name not in known:
            raise ConfigError(f"{factory.__name__} has no parameter '{name}'", next_step=nearest(name, known))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
