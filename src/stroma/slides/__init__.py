"""Slides: tissue masks, tile quality, stain."""

from stroma.core.registry import Registry

registry = Registry("stroma.slides", {})
__getattr__, __dir__ = registry.attributes()
