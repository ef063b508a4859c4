"""Layouts by name: those of Stroma, those of plug-ins, and a class of the user's own as `module:Class`."""

from __future__ import annotations

import importlib

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError, nearest
from stroma.core.registry import Registry
from stroma.study import registry
from stroma.study.layouts.layout import Layout

_METHODS = ("listing", "scan", "propose")
_OURS = "stroma.study.layouts."


def make_layout(component: Component) -> Layout:
    """Make the layout that `study.yaml` names.

    Args:
        component: `name` is a layout of Stroma, an entry point of the group `stroma.study`, or `module:Class` with a
            module that Python can import; the parameters are given to it.

    Raises:
        UsageError: there is no such layout, module or class.
        ConfigError: the class is no layout, or has no such parameter.
    """
    source = _own(component.name) if ":" in component.name else registry
    known = [*known_layouts(), component.name] if source is not registry else known_layouts()
    if component.name not in known:
        raise UsageError(f"there is no layout '{component.name}'", next_step=nearest(component.name, known))
    kind = source.get(component.name)
    missing = [method for method in _METHODS if not callable(getattr(kind, method, None))]
    if missing:
        raise ConfigError(
            f"'{component.name}' is no layout: it lacks {', '.join(missing)}",
            next_step="stroma.study.layouts.layout.Layout says what each has to return",
        )
    layout: Layout = component.make(source)
    return layout


def known_layouts() -> list[str]:
    """Names of the layouts of Stroma and of plug-ins."""
    ours = [name for name, target in registry.table.items() if target.startswith(_OURS)]
    return [*ours, *registry.plugins]


def _own(name: str) -> Registry:
    """A registry that knows one class of the user's."""
    module, _, attribute = name.partition(":")
    try:
        there = hasattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UsageError(
            f"the module '{module}' of the layout '{name}' cannot be imported ({error})",
            next_step="Install it, or name its folder in the environment variable PYTHONPATH",
        ) from error
    if not there:
        raise UsageError(f"the module '{module}' has no class '{attribute}'")
    return Registry("stroma.study", {name: name})
