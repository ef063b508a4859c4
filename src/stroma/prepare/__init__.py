"""Verbs over many images: tissue, tiles."""

from stroma.core.registry import Registry

registry = Registry("stroma.prepare", {})
__getattr__, __dir__ = registry.attributes()
