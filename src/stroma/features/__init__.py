"""Embedding, clustering, projection."""

from stroma.core.registry import Registry

registry = Registry("stroma.features", {})
__getattr__, __dir__ = registry.attributes()
