"""Calibration of htc: logits scaled and shifted per class, folded into the layer that gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stroma.core.errors import ConfigError
from stroma.models.heads import head_names, last_layer


@dataclass(frozen=True)
class Calibration:
    """logits · factor + bias - prior, each one number or one per class.

    Source: temperature scaling (Guo et al., ICML 2017) with a bias, as `post_processing/calibration` of htc stores it
    for each fold. htc subtracts the logarithm of the sum of exponentials afterwards, which changes no probability.
    """

    factor: tuple[float, ...]
    bias: tuple[float, ...]
    prior: tuple[float, ...] = (0.0,)

    @classmethod
    def of(cls, section: Any, fold: str, *, where: Path) -> Calibration | None:
        """From the section of a configuration; none where there is none.

        Args:
            section: `{scaling: {fold: …}, bias: {fold: …}, nll_prior: …}`, or nothing.
            fold: Name of the fold.
            where: The configuration, for messages.

        Raises:
            ConfigError: it does not hold this fold, or no numbers.
        """
        if not section:
            return None
        try:
            factor, bias = _numbers(section["scaling"][fold]), _numbers(section["bias"][fold])
            prior = _numbers(section.get("nll_prior") or 0.0)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"post_processing/calibration holds nothing that can be applied to '{fold}' ({error!r})",
                where=where,
                next_step="Add scaling and bias of this fold, or remove the section to use the network uncalibrated",
            ) from error
        return cls(factor, bias, prior)

    @torch.no_grad()
    def fold_into(self, network: nn.Module) -> str:
        """Change the layer that gives the logits, in place; returns its name.

        Raises:
            ConfigError: the numbers are neither one nor one per class.
        """
        name, layer = last_layer(network, head_names(network)[0])
        classes = layer.weight.shape[0]
        values = {"scaling": self.factor, "bias": self.bias, "nll_prior": self.prior}
        for key, numbers in values.items():
            if len(numbers) not in (1, classes):
                raise ConfigError(
                    f"post_processing/calibration/{key} holds {len(numbers)} numbers for {classes} classes"
                )
        factor, bias, prior = (torch.tensor(numbers, dtype=layer.weight.dtype) for numbers in values.values())
        layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(classes, dtype=layer.weight.dtype))
        layer.bias.mul_(factor).add_(bias).sub_(prior)
        return name


def _numbers(value: float | Sequence[float] | Mapping[str, float]) -> tuple[float, ...]:
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else [value]
    return tuple(float(number) for number in values)
