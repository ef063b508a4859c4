"""Grids, masks, polygons and their codecs: where both worlds meet."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.regions",
    {
        "read_mask": "stroma.regions.masks:read_mask",
        "rgb_to_index": "stroma.regions.masks:rgb_to_index",
    },
)
__getattr__, __dir__ = registry.attributes()
