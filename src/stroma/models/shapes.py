"""Which tensors of a network depend on its channels and classes, found by building it without memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stroma.core.component import Component
from stroma.core.errors import InvalidData
from stroma.models.build import build_model
from stroma.models.keys import translate
from stroma.models.recognise import Recognised

Shapes = dict[str, tuple[int, ...]]
_CHANNELS, _CLASSES = 100, 7


def shapes(component: Component, *, channels: int, classes: int) -> Shapes:
    """Key → shape of the network that a component builds, without allocating it."""
    with torch.device("meta"):
        model = build_model(component, channels=channels, classes=classes)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def input_layers(component: Component, *, channels: int, classes: int) -> dict[str, int]:
    """Find the first layers by building the network twice, once with a channel more.

    Returns:
        Key of a first layer → its inputs before the image's channels (dimension 1).
    """
    base = shapes(component, channels=channels, classes=classes)
    wider = shapes(component, channels=channels + 1, classes=classes)
    return {
        key: shape[1] - channels for key, shape in base.items() if len(shape) > 1 and wider[key][1] == shape[1] + 1
    }


def class_layers(component: Component, *, channels: int, classes: int) -> list[str]:
    """Keys whose dimension 0 is the number of classes, found by building the network with a class more."""
    base = shapes(component, channels=channels, classes=classes)
    more = shapes(component, channels=channels, classes=classes + 1)
    return [key for key, shape in base.items() if shape and more[key][0] == shape[0] + 1]


def smallest_spectrum(length: int) -> int:
    """Fewest bands that three convolutions of 5, halved each time, bring to `length`: 100 for 9."""
    for _ in range(3):
        length = 2 * length + 4
    return length


def channels_and_classes(component: Component, state: Mapping[str, Tensor], *, where: Path) -> Recognised:
    """Read the numbers of channels and classes off a file whose architecture is known.

    Raises:
        InvalidData: the file lacks the first layer or the head of this architecture.
    """
    first = input_layers(component, channels=_CHANNELS, classes=_CLASSES)
    last = class_layers(component, channels=_CHANNELS, classes=_CLASSES)
    keys = translate(state, shapes(component, channels=_CHANNELS, classes=_CLASSES))
    inputs = {keys[key].shape[1] - before for key, before in first.items() if key in keys}
    if component.name == "spectrum_cnn" and {"conv3.weight", "fc1.weight"} <= keys.keys():
        inputs = {smallest_spectrum(keys["fc1.weight"].shape[1] // keys["conv3.weight"].shape[0])}
    heads = {keys[key].shape[0] for key in last if key in keys}
    if len(inputs) != 1 or len(heads) != 1:
        part, names = ("first layer", list(first)) if len(inputs) != 1 else ("head", last)
        raise InvalidData(
            f"does not hold the {part} of '{component.name}' ({', '.join(names)})",
            where=where,
            next_step="Check the architecture and its parameters",
        )
    return Recognised(component, inputs.pop(), heads.pop())
