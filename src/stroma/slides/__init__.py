"""Slides: tissue masks, tile quality, stain."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.slides",
    {
        "tissue_mask": "stroma.slides.tissue:tissue_mask",
        "smooth_mask": "stroma.slides.tissue:smooth_mask",
        "clean_mask": "stroma.slides.tissue:clean_mask",
        "ink_mask": "stroma.slides.pen_ink:ink_mask",
        "fold_mask": "stroma.slides.folds:fold_mask",
        "find_cores": "stroma.slides.cores:find_cores",
        "write_pyramid": "stroma.slides.pyramid:write_pyramid",
        "read_overview": "stroma.slides.overview:read_overview",
        "draw_tiles": "stroma.slides.thumbnail:draw_tiles",
        "tile_metrics": "stroma.slides.quality:tile_metrics",
        "mean_and_std": "stroma.slides.quality:mean_and_std",
        "Stains": "stroma.slides.stain:Stains",
        "fit_stains": "stroma.slides.stain_fit:fit_stains",
        "fit_slide_stains": "stroma.slides.stain_fit:fit_slide_stains",
        "normalise": "stroma.slides.stain:normalise",
        "separate": "stroma.slides.stain:separate",
        "adjust": "stroma.slides.stain:adjust",
    },
)
__getattr__, __dir__ = registry.attributes()
