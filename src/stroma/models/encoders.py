"""Encoders: from tiles to feature vectors, with any timm network or the built-in `colour-texture`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.device import enough_memory, full_float32, resolve_device
from stroma.core.errors import UsageError
from stroma.core.extras import require
from stroma.models.colour_texture import ColourTexture

if TYPE_CHECKING:
    import torch
    from torch import nn

PRETRAINED, RANDOM = "pretrained", "random"


class Encoder(Protocol):
    """What turns tiles into feature vectors.

    Attributes:
        name: As given to `load_encoder`.
        dim: Length of a feature vector, D.
        identity: What the features depend on, as plain values: it goes into the provenance of every features file.
        mpp: Resolution it was trained at in µm per pixel, where known.
    """

    name: str
    dim: int
    identity: Mapping[str, Any]
    mpp: float | None

    def __call__(self, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Encode RGB tiles, each (h, w, 3) uint8, into (len(tiles), D) float32; each tile by itself."""


def load_encoder(
    name: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    input_px: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    num_blocks: int = 1,
    avg_pool: bool = False,
    weights_dir: Path | None = None,
    accept_licence: bool = False,
) -> Encoder:
    """Load an encoder.

    Args:
        name: `colour-texture`, an encoder of the catalogue (`prostate_small`, `deepcmorph/tcga`, `uni`), any timm
            network (`resnet18`, `vit_small_patch16_224.dino`, `xcit_small_12_p16_224`), `hf-hub:owner/name` for a
            timm network on the Hugging Face Hub, or the path of weights that tell what they are (a published file, a
            folder of `stroma models import`).
        weights: `pretrained` (the default: what timm or the Hub offers for `name`), `random`, or a weight file
            (`.safetensors`, or `.pth`/`.pt`, read without running anything in it).
        seed: Seed of random weights; without effect otherwise.
        input_px: Side to which tiles are resized on the device. By default tiles keep their size, except for networks
            that need a fixed one.
        device: As in `resolve_device`.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 on processors that compute in it.
        num_blocks: Blocks, from the end, whose class tokens (or means) are joined.
        avg_pool: Add the mean over the patches of the last block.
        weights_dir: Where weights of the catalogue lie; see `weights_folder`.
        accept_licence: Accept a licence that forbids commercial use.

    Raises:
        UsageError: an unknown encoder, a size it cannot take, or a licence to be accepted.
        MissingExtra: torch or timm is not installed.
        MissingFile: the weights cannot be fetched, or there is no such file.
        InvalidData: the weights do not fit the network.
    """
    if name == ColourTexture.name:
        if weights is not None:
            raise UsageError("the encoder 'colour-texture' has no weights", next_step="Leave out --weights")
        if num_blocks != 1 or avg_pool:
            raise UsageError("the encoder 'colour-texture' has no blocks", next_step="Leave out --num-blocks")
        return ColourTexture(input_px)
    require("timm", extra="learn", feature=f"the encoder '{name}'")
    device = resolve_device(device)
    from stroma.models.encoder_network import encoder_network
    from stroma.models.precision import inference_precision

    built = encoder_network(
        name,
        weights=str(weights or PRETRAINED),
        seed=seed,
        num_blocks=num_blocks,
        avg_pool=avg_pool,
        weights_dir=weights_dir,
        accept_licence=accept_licence,
    )
    return NetworkEncoder(
        name,
        built.network,
        built.identity,
        built.data,
        input_px=input_px,
        device=device,
        precision=inference_precision(precision, device),
    )


class NetworkEncoder:
    """A network that gives one vector per tile, in eval mode.

    Args:
        name: Its name.
        network: Takes (B, 3, H, W) and returns (B, D).
        identity: Name and weights; `input_px`, `precision`, `mean` and `std` are added.
        data: `mean`, `std`, `interpolation`, `input_size`, and `fixed`: whether it takes tiles of one size only.
        input_px: As in `load_encoder`.
        device: From `resolve_device`.
        precision: `float32` or `bfloat16`.

    Raises:
        UsageError: the network cannot take tiles of `input_px`, or does not return one vector a tile.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        identity: Mapping[str, Any],
        data: Mapping[str, Any],
        *,
        input_px: int | None = None,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        import torch

        from stroma.models.precision import at_precision

        native, fixed = int(data["input_size"][-1]), bool(data["fixed"])
        self.name, self.mpp = name, data.get("mpp")
        self.side = input_px or (native if fixed else None)
        if fixed and self.side and self.side != native:
            _resample_positions(network, name, self.side)
        self._device, self._precision = device, precision
        self._mode = "bilinear" if data["interpolation"] == "bilinear" else "bicubic"
        with enough_memory(device, f"the encoder '{name}'", next_step="Use --device cpu"):
            self._network = at_precision(network, precision).to(device)
        self._mean, self._std = (
            torch.tensor(data[key], dtype=torch.float32, device=device).view(1, -1, 1, 1) for key in ("mean", "std")
        )
        statistics = {key: [float(value) for value in data[key]] for key in ("mean", "std")}
        self.identity: Mapping[str, Any] = {**identity, **statistics, "input_px": self.side, "precision": precision}
        self.dim = self._probe(self.side or native)

    def __call__(self, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Encode RGB tiles, each (h, w, 3) uint8, into (len(tiles), D) float32.

        Tiles of different sizes go through the network in groups of one size, so a network that takes any size sees
        each as it is.

        Raises:
            StromaError: the device has too little memory for the batch.
        """
        import torch

        result = np.empty((len(tiles), self.dim), dtype=np.float32)
        groups: dict[tuple[int, ...], list[int]] = {}
        for position, tile in enumerate(tiles):
            groups.setdefault(tile.shape, []).append(position)
        for positions in groups.values():
            batch = torch.from_numpy(np.stack([tiles[i] for i in positions]))
            with stage("forward"):
                result[positions] = self._forward(batch).cpu().numpy()
        return result

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the CPU → (B, D) float32 on the device."""
        import torch
        from torch.nn import functional

        what = f"{len(batch)} tiles at once with '{self.name}'"
        smaller = enough_memory(self._device, what, next_step="Use a smaller --batch-size")
        with smaller, torch.inference_mode(), full_float32(self._device):
            image = batch.to(self._device).permute(0, 3, 1, 2).float() / 255  # the memory stays channels-last
            if self.side and image.shape[-2:] != (self.side, self.side):
                size = (self.side, self.side)
                image = functional.interpolate(image, size, mode=self._mode, align_corners=False, antialias=True)
                image = image.clamp(0, 1)  # bicubic interpolation overshoots at edges
            features: torch.Tensor = self._network((image - self._mean) / self._std)
            return features

    def _probe(self, side: int) -> int:
        """Length of the feature vector, found by encoding a black tile of `side` pixels."""
        import torch

        try:
            features = self._forward(torch.zeros((1, side, side, 3), dtype=torch.uint8))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise _impossible_size(self.name, side, error) from error
        if features.ndim != 2:
            raise UsageError(
                f"the encoder '{self.name}' returns {tuple(features.shape)} instead of one vector a tile",
                next_step="Choose an encoder that pools its tokens or its map",
            )
        return int(features.shape[1])


def _resample_positions(network: nn.Module, name: str, side: int) -> None:
    """Resample the position embedding to tiles of `side` pixels, where the network has one."""
    inner = getattr(network, "network", network)
    resample: Any = getattr(inner, "set_input_size", lambda img_size: None)
    try:
        resample(img_size=(side, side))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _impossible_size(name, side, error) from error


def _impossible_size(name: str, side: int, error: Exception) -> UsageError:
    return UsageError(
        f"the encoder '{name}' cannot take tiles of {side} px ({_one_line(error)})",
        next_step="Leave out --input-px, or give a multiple of the network's patch size",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
