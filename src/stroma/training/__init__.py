"""Training with Lightning, fold by fold."""

from stroma.core.registry import Registry

registry = Registry("stroma.training", {})
__getattr__, __dir__ = registry.attributes()
