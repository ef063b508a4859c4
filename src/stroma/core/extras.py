"""Optional dependencies: imported where they are used, with one clear line when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from stroma.core.errors import MissingExtra


def require(module: str, *, extra: str, feature: str) -> Any:
    """Import an optional dependency.

    Args:
        module: The module to import, for example `torch`.
        extra: The extra of Stroma that installs it, for example `learn`.
        feature: What needs it, for the message: "training", "clustering with HDBSCAN".

    Returns:
        The imported module.

    Raises:
        MissingExtra: the module is not installed; the message has the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingExtra(
            f"{feature} needs the package '{error.name}', which is not installed",
            next_step=f'Install it with: python -m pip install "stroma[{extra}]"',
        ) from error
