"""Run folders, run configuration, model cards."""

from stroma.core.registry import Registry

registry = Registry("stroma.runs", {})
__getattr__, __dir__ = registry.attributes()
