"""What a user owns: studies, their layouts, catalog, annotations, labels and splits."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.study",
    {
        "Study": "stroma.study.study:Study",
        "open_study": "stroma.study.study:open_study",
        "LabelMapping": "stroma.study.labels:LabelMapping",
        "Splits": "stroma.study.splits:Splits",
        "Recording": "stroma.study.recording:Recording",
        "select": "stroma.study.selection:select",
        "open_dataset": "stroma.study.datasets:open_dataset",
        "open_datasets": "stroma.study.datasets:open_datasets",
        "find_recording": "stroma.study.datasets:find_recording",
        "read_path_links": "stroma.study.htc.path_links:read_path_links",
        "linked_recordings": "stroma.study.htc.path_links:linked_recordings",
        "ImageName": "stroma.study.htc.names:ImageName",
        "read_camera_log": "stroma.study.htc.camera_log:read_camera_log",
        "read_patient_file": "stroma.study.htc.patient_file:read_patient_file",
        "read_htc_config": "stroma.study.htc.config:read_htc_config",
        "read_data_spec": "stroma.study.htc.specs:read_data_spec",
        "write_data_spec": "stroma.study.htc.specs:write_data_spec",
        "write_data_specs": "stroma.study.htc.specs:write_data_specs",
        "draw_splits": "stroma.study.split_schemes:draw_splits",
        "mapping_from_htc": "stroma.study.htc.label_mappings:mapping_from_htc",
        "write_htc_blosc": "stroma.study.htc.blosc_file:write_htc_blosc",
        "write_htc_cubes": "stroma.study.htc.export:write_htc_cubes",
        "write_htc_medians": "stroma.study.htc.median_tables:write_htc_medians",
        "read_htc_medians": "stroma.study.htc.median_tables:read_htc_medians",
        "write_htc_masks": "stroma.study.htc.export:write_htc_masks",
        "write_htc_meta_table": "stroma.study.htc.export:write_htc_meta_table",
        "heiporspectral": "stroma.study.layouts.heiporspectral:HeiPorSpectral",
        "references": "stroma.study.layouts.references:ImageReferences",
        "tivita": "stroma.study.layouts.tivita:TivitaFolders",
        "masks": "stroma.study.layouts.masks:ImageMaskPairs",
        "classes": "stroma.study.layouts.classes:ClassFolders",
        "slides": "stroma.study.layouts.slides:SlideFolder",
        "hubmap": "stroma.study.layouts.hubmap:HubmapFolder",
        "tiles": "stroma.study.layouts.tiles:TileFolders",
    },
)
__getattr__, __dir__ = registry.attributes()
