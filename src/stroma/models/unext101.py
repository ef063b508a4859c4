"""UneXt101: a U-Net on ResNeXt-101 with atrous pooling and a feature pyramid, for glomeruli."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck, ResNet

from stroma.models.segmentation import pad_to_multiple

STRIDE = 32


class WeightNormConv(nn.Module):
    """A 1×1 convolution whose weight is a length times a direction: g · v / ‖v‖ per output channel.

    Source: Salimans and Kingma, "Weight normalization", NeurIPS 2016.

    Args:
        inputs, outputs: Channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = nn.init.kaiming_normal_(torch.empty(outputs // 4, inputs, 1, 1))
        direction = quarter.repeat_interleave(4, dim=0)  # ICNR: the four sub-pixels begin equal
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_g = nn.Parameter(_norm(direction))
        self.weight_v = nn.Parameter(direction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        return functional.conv2d(x, self.weight_g * self.weight_v / _norm(self.weight_v), self.bias)


def _norm(weight: Tensor) -> Tensor:
    return weight.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


class UpBlock(nn.Module):
    """Doubles the size by pixel shuffling, joins the encoder's features, and convolves twice.

    Args:
        inputs: Channels from below.
        skip: Channels of the encoder's features.
        outputs: Channels of the result.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.shuf = nn.Sequential(nn.Sequential(WeightNormConv(inputs, 2 * inputs), nn.ReLU()), nn.PixelShuffle(2))
        self.bn = nn.BatchNorm2d(skip)
        self.conv1 = nn.Sequential(nn.Conv2d(inputs // 2 + skip, outputs, 3, padding=1), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU())

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, skip, 2h, 2w) → (B, outputs, 2h, 2w)."""
        joined = functional.relu(torch.cat([self.shuf(below), self.bn(skip)], dim=1))
        result: Tensor = self.conv2(self.conv1(joined))
        return result


class AtrousBranch(nn.Module):
    """A convolution without bias, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int, groups: int) -> None:
        super().__init__()
        size = 3 if dilation else 1
        self.atrous_conv = nn.Conv2d(
            inputs, outputs, size, padding=dilation, dilation=max(1, dilation), groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        return functional.relu(self.bn(self.atrous_conv(x)))


class AtrousPooling(nn.Module):
    """Five branches of growing reach and a global maximum, joined (Chen et al., DeepLab, 2017).

    Args:
        inputs: Channels of the input.
        branch: Channels of every branch.
        outputs: Channels of the result.
    """

    def __init__(self, inputs: int, branch: int, outputs: int) -> None:
        super().__init__()
        self.aspps = nn.ModuleList(
            [AtrousBranch(inputs, branch, 0, 1), *(AtrousBranch(inputs, branch, d, 4) for d in (1, 2, 3, 4))]
        )
        self.global_pool = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Conv2d(inputs, branch, 1, bias=False), nn.BatchNorm2d(branch), nn.ReLU()
        )
        self.out_conv = nn.Sequential(
            nn.Conv2d(6 * branch, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(6 * branch, outputs, 1, bias=False)  # never used; published weights hold it

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W)."""
        pooled = functional.interpolate(self.global_pool(x), size=x.shape[2:], mode="bilinear", align_corners=True)
        result: Tensor = self.out_conv(torch.cat([pooled, *(branch(x) for branch in self.aspps)], dim=1))
        return result


class Pyramid(nn.Module):
    """Brings features of several sizes to the size of the last one, 16 channels each."""

    def __init__(self, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32), nn.Conv2d(32, 16, 3, padding=1)
            )
            for count in inputs
        )

    def forward(self, features: list[Tensor], last: Tensor) -> Tensor:
        """Features, coarsest first, each half as coarse as the one before → (B, 16 each + last, H, W)."""
        scaled = [
            functional.interpolate(conv(x), scale_factor=2 ** (len(features) - i), mode="bilinear")
            for i, (conv, x) in enumerate(zip(self.convs, features, strict=True))
        ]
        return torch.cat([*scaled, last], dim=1)


class UneXt101(nn.Module):
    """The glomeruli network of the HuBMAP kidney competition; 205,003,937 parameters for RGB and one class.

    Args:
        channels: Channels of the image.
        classes: Number of maps.
    """

    head_names: ClassVar = ("final_conv",)

    def __init__(self, *, channels: int = 3, classes: int = 1) -> None:
        super().__init__()
        encoder = ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=16)
        stem = encoder.conv1 if channels == 3 else nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.enc0 = nn.Sequential(stem, encoder.bn1, nn.ReLU())
        self.enc1 = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), encoder.layer1)
        self.enc2, self.enc3, self.enc4 = encoder.layer2, encoder.layer3, encoder.layer4
        self.aspp = AtrousPooling(2048, 256, 512)
        self.drop_aspp = nn.Dropout2d(0.5)
        self.dec4 = UpBlock(512, 1024, 256)
        self.dec3 = UpBlock(256, 512, 128)
        self.dec2 = UpBlock(128, 256, 64)
        self.dec1 = UpBlock(64, 64, 32)
        self.fpn = Pyramid((512, 256, 128, 64))
        self.drop = nn.Dropout2d(0.1)
        self.final_conv = nn.Sequential(nn.Conv2d(4 * 16 + 32, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, C, H, W), any H and W."""
        height, width = image.shape[-2:]
        enc0 = self.enc0(pad_to_multiple(image, STRIDE))
        enc1 = self.enc1(enc0)
        enc2 = self.enc2(enc1)
        enc3 = self.enc3(enc2)
        pooled = self.aspp(self.enc4(enc3))
        dec4 = self.dec4(self.drop_aspp(pooled), enc3)
        dec3 = self.dec3(dec4, enc2)
        dec2 = self.dec2(dec3, enc1)
        dec1 = self.dec1(dec2, enc0)
        maps = self.final_conv(self.drop(self.fpn([pooled, dec4, dec3, dec2], dec1)))
        return functional.interpolate(maps, scale_factor=2, mode="bilinear")[..., :height, :width]
