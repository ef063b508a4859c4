"""Synthetic studies with known truth."""

from stroma.core.registry import Registry

registry = Registry("stroma.phantom", {})
__getattr__, __dir__ = registry.attributes()
