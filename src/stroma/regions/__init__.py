"""Grids, masks, polygons and their codecs: where both worlds meet."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.regions",
    {
        "tile_grid": "stroma.regions.grid:tile_grid",
        "box_coverage": "stroma.regions.grid:box_coverage",
        "read_mask": "stroma.regions.masks:read_mask",
        "rgb_to_index": "stroma.regions.masks:rgb_to_index",
        "Annotation": "stroma.regions.annotation:Annotation",
        "read_geojson": "stroma.regions.geojson:read_geojson",
        "write_geojson": "stroma.regions.geojson:write_geojson",
        "decode_runs": "stroma.regions.rle:decode_runs",
        "encode_mask": "stroma.regions.rle:encode_mask",
        "polygons_from_mask": "stroma.regions.outlines:polygons_from_mask",
        "mask_from_polygons": "stroma.regions.polygons:mask_from_polygons",
    },
)
__getattr__, __dir__ = registry.attributes()
