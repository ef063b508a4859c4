"""Activation and normalisation layers by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from stroma.core.errors import ConfigError, nearest

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Identity,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}
_NORMALISATIONS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": nn.BatchNorm1d,
    "InstanceNorm": partial(nn.InstanceNorm1d, affine=True),
}


def activation_layer(name: str | None) -> nn.Module:
    """The activation called `name`; none and `linear` change nothing.

    Raises:
        ConfigError: the name is unknown.
    """
    if name is None:
        return nn.Identity()
    if name not in _ACTIVATIONS:
        raise ConfigError(f"unknown activation '{name}'", next_step=nearest(name, _ACTIVATIONS))
    return _ACTIVATIONS[name]()


def normalisation_layer(name: str | None, features: int) -> nn.Module:
    """A one-dimensional normalisation over `features`; none changes nothing.

    Raises:
        ConfigError: the name is unknown.
    """
    if name is None:
        return nn.Identity()
    if name not in _NORMALISATIONS:
        raise ConfigError(f"unknown normalisation '{name}'", next_step=nearest(name, _NORMALISATIONS))
    return _NORMALISATIONS[name](features)
