"""Grids, masks, polygons and their codecs: where both worlds meet."""

from stroma.core.registry import Registry

registry = Registry("stroma.regions", {})
__getattr__, __dir__ = registry.attributes()
