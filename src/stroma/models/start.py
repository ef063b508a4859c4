"""The network that a training starts from: random weights by an architecture's name, or weights by a model's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError, nearest
from stroma.models import registry
from stroma.models.build import build_model
from stroma.models.catalogue import is_published
from stroma.models.load import load_model, loaded
from stroma.models.timm_network import is_timm

_PARAMETERS = ("fold", "architecture", "weights_dir")


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Attributes:
        network: In train mode.
        model: The component that builds it again, without its weights.
        origin: Name and SHA-256 of the weights it has; none for random ones.
        licence: Of weights that may not be used commercially.
        report: What became of every key of the weights.
    """

    network: nn.Module
    model: Component
    origin: str | None = None
    licence: str | None = None
    report: str = ""


def start_network(
    component: Component, *, channels: int, classes: int, wavelengths_nm: Sequence[float] | None = None
) -> Start:
    """Make the network of a configuration's `model` for a dense task.

    Args:
        component: `{name: unet, encoder: resnet18}`, or `{name: image@2022-…}` and anything else that `load_model`
            takes: its head is replaced, and its first layer carried over to the channels by nm. `fold`,
            `architecture` and `weights_dir` are its parameters.
        channels: Channels of the images.
        classes: Number of classes.
        wavelengths_nm: One per channel, where known.

    Raises:
        UsageError: the name is unknown, a licence has to be accepted, or the network gives no maps.
        ConfigError: a parameter is unknown or impossible.
    """
    name = component.name
    if name in registry.names() or not _names_weights(name):
        return Start(build_model(component, channels=channels, classes=classes), component)
    for key in component.parameters:
        if key not in _PARAMETERS:
            raise ConfigError(f"'{name}' has no parameter '{key}'", next_step=nearest(key, _PARAMETERS))
    network = load_model(
        name, channels=channels, classes=classes, wavelengths_nm=wavelengths_nm, **component.parameters
    )
    known = loaded(network)
    if known.description.output != "map" and not known.description.model.name.startswith("spectrum_"):
        raise UsageError(
            f"'{name}' gives one answer an image, and a segmentation needs one for each pixel",
            next_step="Start from a segmentation network, or name a timm encoder: {name: unet, encoder: tu-resnet18}",
        )
    return Start(
        network.train(),
        known.description.model,
        f"{name}, fold {known.folds[0]}, SHA-256 {known.sha256[0]}",
        known.description.licence,
        str(known),
    )


def _names_weights(name: str) -> bool:
    return Path(name).exists() or is_published(name) or is_timm(name)
