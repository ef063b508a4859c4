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
        "heiporspectral": "stroma.study.layouts.heiporspectral:HeiPorSpectral",
        "tivita": "stroma.study.layouts.tivita:TivitaFolders",
        "masks": "stroma.study.layouts.masks:ImageMaskPairs",
        "classes": "stroma.study.layouts.classes:ClassFolders",
        "slides": "stroma.study.layouts.slides:SlideFolder",
    },
)
__getattr__, __dir__ = registry.attributes()
