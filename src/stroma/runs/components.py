"""Components and preparations as a user types them on the command line."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from stroma.core.component import Component
from stroma.core.errors import ConfigError
from stroma.sampling.preparation import Preparation


def parse_component(text: str | None) -> Component | None:
    """A component from the command line: a name, or a mapping in YAML.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return None
    try:
        return Component.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"'{text}' names no architecture", next_step="Give a name, or {name: segmentation, encoder: resnet34}"
        ) from error


def parse_preparation(text: str) -> Preparation:
    """Preparation steps from the command line: a list in YAML.

    Raises:
        ConfigError: it is none.
    """
    try:
        return Preparation.model_validate({"steps": yaml.safe_load(text) or []})
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"'{text}' is no list of preparation steps",
            next_step="Give for example '[divide, {name: mean_std, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}]'",
        ) from error
