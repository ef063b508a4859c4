"""From the `model` component of a configuration to a network."""

from __future__ import annotations

import timm
from torch import nn

from stroma.core.component import Component
from stroma.core.errors import UsageError
from stroma.models import registry


def build_model(component: Component, *, channels: int, classes: int) -> nn.Module:
    """Make the network that a configuration names.

    Args:
        component: `{name: unet, encoder: resnet18}`; `name` is one of `stroma.models.registry`.
        channels: Channels of the image.
        classes: Number of classes.

    Returns:
        The network in train mode, with random weights unless the component names others.

    Raises:
        UsageError: the name is unknown.
        ConfigError: a parameter is unknown or impossible.
    """
    if component.name not in registry.names() and timm.is_model(component.name.partition(".")[0]):
        raise UsageError(
            f"'{component.name}' is an encoder, which is one part of an architecture",
            next_step=f"Write {{name: timm, encoder: {component.name}}} for one answer an image, or "
            f"{{name: segmentation, encoder: tu-{component.name}}} for maps",
        )
    model: nn.Module = component.make(registry, channels=channels, classes=classes)
    return model
