"""Transforms of whole batches on the device."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.augment",
    {
        "flip": "stroma.augment.geometry:flip",
        "rotate": "stroma.augment.geometry:rotate",
        "gain": "stroma.augment.intensity:gain",
        "noise": "stroma.augment.intensity:noise",
    },
)
__getattr__, __dir__ = registry.attributes()
