"""Any network of timm, as classifier or as encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

from stroma.core.errors import ConfigError, nearest
from stroma.models import hub

HUB = "hf-hub:"


def timm_network(
    *, channels: int = 3, classes: int = 0, encoder: str = "resnet18", options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A network of timm with random weights, (B, C, H, W) → logits (B, K), or vectors (B, D) for 0 classes.

    Args:
        channels: Channels of the image.
        classes: Number of classes.
        encoder: A name of timm (`vit_small_patch16_224`), or `hf-hub:owner/name` for a description on the Hub.
        options: Further parameters of the network, for example `{"dynamic_img_size": True}`.

    Raises:
        ConfigError: timm has no such network, or it does not take these options.
        MissingFile: the description on the Hub cannot be fetched.
    """
    if encoder.startswith(HUB):
        step = "Connect to the network once"
        hub.fetch(encoder.removeprefix(HUB), ["config.json"], what=f"the description of '{encoder}'", next_step=step)
    elif not timm.is_model(encoder.partition(".")[0]):
        raise ConfigError(f"timm has no network '{encoder}'", next_step=nearest(encoder, timm.list_models()))
    try:
        network: nn.Module = timm.create_model(
            encoder, pretrained=False, num_classes=classes, in_chans=channels, **(options or {})
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConfigError(f"the network '{encoder}' cannot be made ({' '.join(str(error).split())[:200]})") from error
    return network
