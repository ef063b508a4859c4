"""Verbs over many images: tissue, tiles."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.prepare",
    {
        "init": "stroma.prepare.index:init",
        "InitOptions": "stroma.prepare.index:InitOptions",
        "check": "stroma.prepare.check:check",
        "CheckOptions": "stroma.prepare.check:CheckOptions",
        "prepare": "stroma.prepare.stores:prepare",
        "PrepareOptions": "stroma.prepare.store_options:PrepareOptions",
        "tile": "stroma.prepare.tiles:tile",
        "TileOptions": "stroma.prepare.tile_options:TileOptions",
        "quality": "stroma.prepare.tile_quality:quality",
        "QualityOptions": "stroma.prepare.tile_quality:QualityOptions",
        "stain": "stroma.prepare.tile_stain:stain",
        "StainOptions": "stroma.prepare.tile_stain:StainOptions",
        "read_stains": "stroma.prepare.stain_file:read_stains",
        "tissue": "stroma.prepare.tissue:tissue",
        "TissueOptions": "stroma.prepare.tissue_options:TissueOptions",
        "find_tissue": "stroma.prepare.slide_tissue:find_tissue",
        "slide_info": "stroma.prepare.slide_info:slide_info",
        "slide_thumbnail": "stroma.prepare.slide_convert:slide_thumbnail",
        "slide_convert": "stroma.prepare.slide_convert:slide_convert",
        "import_annotations": "stroma.prepare.annotations:import_annotations",
        "convert_annotations": "stroma.prepare.annotations:convert_annotations",
        "export_annotations": "stroma.prepare.annotations:export_annotations",
        "summarise_annotations": "stroma.prepare.annotations:summarise_annotations",
        "make_pairs": "stroma.prepare.annotation_pairs:make_pairs",
        "find_inputs": "stroma.prepare.inputs:find_inputs",
        "read_sources": "stroma.prepare.sources:read_sources",
    },
)
__getattr__, __dir__ = registry.attributes()
