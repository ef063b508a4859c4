"""A component in a configuration: `{name: …, its parameters}`, checked against what it names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from stroma.core.errors import ConfigError, nearest
from stroma.core.registry import Registry


class Component(BaseModel):
    """`{name: unet, encoder: resnet18}`; a bare text stands for a name without parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.__pydantic_extra__ or {})

    def make(self, registry: Registry, *arguments: Any, **named: Any) -> Any:
        """Call what `name` names in `registry` with the parameters and the given arguments.

        Raises:
            UsageError: the name is unknown.
            ConfigError: a parameter is unknown, with the nearest known one.
        """
        factory: Callable[..., Any] = registry.get(self.name)
        accepted = inspect.signature(factory).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            known = [name for name in accepted if name not in named][len(arguments) :]
            for key in self.parameters:
                if key not in known:
                    raise ConfigError(
                        f"'{self.name}' of {registry.folder} has no parameter '{key}'",
                        next_step=nearest(key, known),
                    )
        return factory(*arguments, **self.parameters, **named)
