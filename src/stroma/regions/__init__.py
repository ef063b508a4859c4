"""Grids, masks, polygons and their codecs: where both worlds meet."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.regions",
    {
        "tile_grid": "stroma.regions.grid:tile_grid",
        "box_coverage": "stroma.regions.grid:box_coverage",
        "slic": "stroma.regions.superpixels:slic",
        "slic_batch": "stroma.regions.superpixels_torch:slic_batch",
        "SlicOptions": "stroma.regions.superpixels:SlicOptions",
        "read_mask": "stroma.regions.masks:read_mask",
        "rgb_to_index": "stroma.regions.masks:rgb_to_index",
        "Annotation": "stroma.regions.annotation:Annotation",
        "read_geojson": "stroma.regions.geojson:read_geojson",
        "write_geojson": "stroma.regions.geojson:write_geojson",
        "read_xml": "stroma.regions.xml_annotations:read_xml",
        "read_coco": "stroma.regions.coco:read_coco",
        "write_coco": "stroma.regions.coco:write_coco",
        "read_mitk_nrrd": "stroma.regions.nrrd:read_mitk_nrrd",
        "find_problems": "stroma.regions.check:find_problems",
        "objects_from_annotations": "stroma.regions.objects:objects_from_annotations",
        "objects_from_mask": "stroma.regions.objects:objects_from_mask",
        "summarise_objects": "stroma.regions.objects:summarise_objects",
        "write_mask_pyramid": "stroma.regions.mask_files:write_mask_pyramid",
        "polygons_from_runs": "stroma.regions.run_outlines:polygons_from_runs",
        "decode_runs": "stroma.regions.rle:decode_runs",
        "encode_mask": "stroma.regions.rle:encode_mask",
        "polygons_from_mask": "stroma.regions.outlines:polygons_from_mask",
        "mask_from_polygons": "stroma.regions.polygons:mask_from_polygons",
    },
)
__getattr__, __dir__ = registry.attributes()
