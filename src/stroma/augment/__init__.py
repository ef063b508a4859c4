"""Transforms of whole batches on the device."""

from stroma.core.registry import Registry

registry = Registry("stroma.augment", {})
__getattr__, __dir__ = registry.attributes()
