"""Slides: tissue masks, tile quality, stain."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.slides",
    {
        "tissue_mask": "stroma.slides.tissue:tissue_mask",
        "clean_mask": "stroma.slides.tissue:clean_mask",
        "read_overview": "stroma.slides.overview:read_overview",
        "draw_tiles": "stroma.slides.thumbnail:draw_tiles",
    },
)
__getattr__, __dir__ = registry.attributes()
