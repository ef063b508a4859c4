"""Activation and normalisation layers by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

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
_BATCH_NORMS: dict[int, Callable[[int], nn.Module]] = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}
_NORMALISATIONS = ("BatchNorm", "InstanceNorm")


class InstanceNorm(nn.Module):
    """Mean 0 and variance 1 of each sample by itself, without parameters, as `torch.nn.InstanceNorm1d` and `3d` do.

    Vectors (N, F) are normalised over their features.

    Args:
        dimensions: Last dimensions that are normalised together.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return functional.layer_norm(x, x.shape[-self.dimensions :])


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


def normalisation_layer(name: str | None, features: int, *, dimensions: int = 1) -> nn.Module:
    """A normalisation over `features`; none changes nothing.

    Args:
        name: `BatchNorm`, `InstanceNorm` or none.
        features: Number of features, dimension 1 of the input.
        dimensions: Dimensions that follow: 1 for sequences (and vectors, which have none), 3 for volumes.

    Raises:
        ConfigError: the name is unknown.
    """
    if name is None:
        return nn.Identity()
    if name not in _NORMALISATIONS:
        raise ConfigError(f"unknown normalisation '{name}'", next_step=nearest(name, _NORMALISATIONS))
    return InstanceNorm(dimensions) if name == "InstanceNorm" else _BATCH_NORMS[dimensions](features)
