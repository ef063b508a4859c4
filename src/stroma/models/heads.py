"""Which layers of a network give its classes."""

from __future__ import annotations

from typing import Any

from torch import nn

from stroma.core.errors import UsageError


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the modules that give a network's classes, as its architecture tells; empty where there are none."""
    names = getattr(network, "head_names", None)
    if names is None:
        config: Any = getattr(network, "pretrained_cfg", {}) or {}
        names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def last_layer(network: nn.Module, head: str) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and module of the layer of a head that has one output a class.

    Raises:
        UsageError: the head has no such layer.
    """
    found = [
        (f"{head}.{name}".rstrip("."), module)
        for name, module in network.get_submodule(head).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not found:
        raise UsageError(f"the head '{head}' of {type(network).__name__} has no layer with classes")
    return found[-1]
