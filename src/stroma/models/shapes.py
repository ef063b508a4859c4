"""Which tensors of a network depend on its channels and classes, found by building it without memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Dependence:
    """How a network's tensors depend on its channels and classes.

    Attributes:
        inputs: Key of a first layer → its inputs before the image's channels (dimension 1).
        heads: Keys whose dimension 0 is the number of classes.
    """

    inputs: Mapping[str, int]
    heads: tuple[str, ...]


def shapes(component: Component, *, channels: int, classes: int) -> Shapes:
    """Key → shape of the network that a component builds, without allocating it."""
    with torch.device("meta"):
        model = build_model(component, channels=channels, classes=classes)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def dependence(component: Component, *, channels: int = _CHANNELS, classes: int = _CLASSES) -> Dependence:
    """Find the tensors that depend on the channels and on the classes by building the network three times."""
    base = shapes(component, channels=channels, classes=classes)
    wider = shapes(component, channels=channels + 1, classes=classes)
    inputs = {
        key: shape[1] - channels for key, shape in base.items() if len(shape) > 1 and wider[key][1] == shape[1] + 1
    }
    if classes == 0:
        return Dependence(inputs, ())
    more = shapes(component, channels=channels, classes=classes + 1)
    heads = tuple(key for key, shape in base.items() if shape and more[key][0] == shape[0] + 1)
    return Dependence(inputs, heads)


def channels_and_classes(component: Component, state: Mapping[str, Tensor], *, where: Path) -> Recognised:
    """Read the numbers of channels and classes off a file whose architecture is known.

    Raises:
        InvalidData: the file lacks the first layer or the head of this architecture.
    """
    found = dependence(component)
    keys = translate(state, shapes(component, channels=_CHANNELS, classes=_CLASSES))
    inputs = {keys[key].shape[1] - before for key, before in found.inputs.items() if key in keys}
    heads = {keys[key].shape[0] for key in found.heads if key in keys}
    if len(inputs) != 1 or len(heads) != 1:
        part, names = ("first layer", found.inputs) if len(inputs) != 1 else ("head", found.heads)
        raise InvalidData(
            f"does not hold the {part} of '{component.name}' ({', '.join(names)})",
            where=where,
            next_step="Check the architecture and its parameters",
        )
    return Recognised(component, inputs.pop(), heads.pop())
