"""Which layers of a network give its classes."""

from __future__ import annotations

from typing import Any

from torch import nn


def head_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the modules that give a network's classes, as its architecture tells; empty where there are none."""
    names = getattr(network, "head_names", None)
    if names is None:
        config: Any = getattr(network, "pretrained_cfg", {}) or {}
        names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
