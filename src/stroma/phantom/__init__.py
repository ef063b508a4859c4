"""Synthetic studies with known truth."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.phantom",
    {
        "hsi": "stroma.phantom.hsi:phantom_hsi",
        "slides": "stroma.phantom.slides:phantom_slides",
    },
)
__getattr__, __dir__ = registry.attributes()
