"""DeepCMorph: nuclei maps first, then a tissue classifier that sees the image and the maps."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.efficientnet import efficientnet_b7

from stroma.core.errors import ConfigError
from stroma.models.segmentation import pad_to_multiple

STRIDE = 16
FEATURES = 2560
NUCLEI_CLASSES = 7
Head = Literal["output", "output_41", "output_32", "output_9"]


class NucleiMaps(NamedTuple):
    """Probabilities, each pixel by itself: `nuclei` (B, 1, H, W), and `classes` (B, 7, H, W) by kind of cell."""

    nuclei: Tensor
    classes: Tensor


class DoubleConv(nn.Module):
    """Twice: 3×3 convolution, batch normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        result: Tensor = self.conv(x)
        return result


class Upsample(nn.Module):
    """Twice the size by a transposed convolution, then leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upconv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, 2H, 2W)."""
        return functional.leaky_relu(self.upconv(x), 0.2)


class NucleiEncoder(nn.Module):
    """EfficientNet-B7 up to the first expansion of its sixth stage, tapped at strides 2, 4, 8 and 16."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages = efficientnet_b7().features[:7]
        if channels != 3:
            stages[0][0] = nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False)
        first = stages[6][0]
        first.block = nn.Sequential(first.block[0])
        stages[6] = nn.Sequential(first)
        self.features = stages

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, H, W) → features of 192, 288, 480 and 1,344 channels at strides 2, 4, 8, 16."""
        taps = []
        x = image
        for index, stage in enumerate(self.features):
            if index not in (2, 3, 4, 6):
                x = stage(x)
                continue
            first = stage[0].block  # the first block of these stages has no residual connection
            x = first[0](x)
            taps.append(x)
            x = stage[1:](first[1:](x))
        return taps


class NucleiSegmentation(nn.Module):
    """The first module: a U-Net that finds nuclei and their kinds; 25,437,088 parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = NucleiEncoder(channels)
        self.upsample_1, self.conv_1 = Upsample(1344, 512), DoubleConv(512 + 480, 512)
        self.upsample_2, self.conv_2 = Upsample(512, 256), DoubleConv(256 + 288, 256)
        self.upsample_3, self.conv_3 = Upsample(256, 128), DoubleConv(128 + 192, 128)
        self.upsample_4, self.conv_4 = Upsample(128, 64), DoubleConv(64, 64)
        self.conv_segmentation = nn.Conv2d(64, 1, 3, padding=1)
        self.conv_classification = nn.Conv2d(64, NUCLEI_CLASSES, 3, padding=1)

    def forward(self, image: Tensor) -> NucleiMaps:
        """Maps of an image (B, C, H, W), any H and W."""
        height, width = image.shape[-2:]
        at_2, at_4, at_8, x = self.encoder(pad_to_multiple(image, STRIDE))
        x = self.conv_1(torch.cat([self.upsample_1(x), at_8], dim=1))
        x = self.conv_2(torch.cat([self.upsample_2(x), at_4], dim=1))
        x = self.conv_3(torch.cat([self.upsample_3(x), at_2], dim=1))
        x = self.conv_4(self.upsample_4(x))[..., :height, :width]
        return NucleiMaps(self.conv_segmentation(x).sigmoid(), self.conv_classification(x).sigmoid())


class TissueEncoder(nn.Module):
    """EfficientNet-B7 whose stem is a bare convolution of the image and the eight maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = efficientnet_b7().features
        self.features[0] = nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 2560), the mean over the last feature map."""
        result: Tensor = self.features(x).mean(dim=(2, 3))
        return result


class DeepCMorph(nn.Module):
    """Both modules and the four classification heads that published weights hold.

    Source: Ignatov, Yates and Boeva, "Histopathological image classification with cell morphology aware deep
    neural networks", CVPR Workshops 2024. The input is RGB in 0 to 1, without further normalisation.

    A frozen module also stays in eval mode while the rest trains: its batch statistics do not move and nothing in it
    is dropped.

    Args:
        channels: Channels of the image.
        classes: Number of classes of the head that `forward` uses.
        head: This head: `output` for a task of one's own, or that of a published task.
        unused_classes: Number of classes of `output` where another head is used; `classes` by default.
        dropout: Probability before the head.
        freeze_segmentation: Keep the nuclei module as it is while training.
        freeze_classification: Keep the tissue encoder as it is while training, so that only heads learn.
    """

    head_names: ClassVar = ("output",)
    unused_names: ClassVar = ("output", "output_41", "output_32", "output_9")

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int,
        head: Head = "output",
        unused_classes: int | None = None,
        dropout: float = 0.0,
        freeze_segmentation: bool = True,
        freeze_classification: bool = False,
    ) -> None:
        super().__init__()
        own = classes if head == "output" or unused_classes is None else unused_classes
        heads = {"output": own, "output_41": 41, "output_32": 32, "output_9": 9}
        if head not in heads:
            raise ConfigError(f"DeepCMorph has no head '{head}'", next_step=f"Known: {', '.join(heads)}")
        if heads[head] != classes:
            raise ConfigError(
                f"the head '{head}' has {heads[head]} classes, not {classes}",
                next_step="Use head: output for classes of your own",
            )
        self.model_preprocessing = NucleiSegmentation(channels)
        self.encoder = TissueEncoder(1 + NUCLEI_CLASSES + channels)
        for name, count in heads.items():
            self.add_module(name, nn.Linear(FEATURES, count))
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.freeze(segmentation=freeze_segmentation, classification=freeze_classification)

    def freeze(self, *, segmentation: bool, classification: bool) -> None:
        """Choose what training leaves as it is; the rest is made trainable."""
        self.model_preprocessing.requires_grad_(not segmentation)
        self.encoder.requires_grad_(not classification)
        self._frozen = (segmentation, classification)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to train or eval mode; frozen modules stay in eval mode."""
        super().train(mode)
        for module, frozen in zip((self.model_preprocessing, self.encoder), self._frozen, strict=True):
            if frozen:
                module.eval()
        return self

    def nuclei(self, image: Tensor) -> NucleiMaps:
        """Nuclei maps of images (B, C, H, W) in 0 to 1."""
        maps: NucleiMaps = self.model_preprocessing(image)
        return maps

    def features(self, image: Tensor) -> Tensor:
        """Feature vectors (B, 2560) of images (B, C, H, W)."""
        maps = self.nuclei(image)
        vectors: Tensor = self.encoder(torch.cat([maps.nuclei, maps.classes, image], dim=1))
        return vectors

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.get_submodule(self.head)(self.dropout(self.features(image)))
        return logits
