"""`stroma annotations` and its verbs."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "annotations",
    "Drawn and detected objects: import, export, convert, summary, agreement, colour checkers, pairs of tiles…",
    {
        "import": (
            "stroma.prepare.annotations:AnnotationImportOptions:import_annotations",
            "Bring annotation files of any kind into one table, OUT/annotations.parquet",
        ),
        "export": (
            "stroma.prepare.annotations:AnnotationConvertOptions:export_annotations",
            "Export the annotations of a study.yaml, or an imported annotations.parquet, for other programs",
        ),
        "convert": (
            "stroma.prepare.annotations:AnnotationConvertOptions:convert_annotations",
            "Convert annotation files into another format",
        ),
        "summary": (
            "stroma.prepare.annotations:AnnotationSummaryOptions:summarise_annotations",
            "Count annotations per class: objects, images, areas, and densities in tissue",
        ),
        "agreement": (
            "stroma.reports.agreement:AgreementOptions:annotator_agreement",
            "Compare the annotators of a study, and estimate NSD tolerances",
        ),
        "colour-checker": (
            "stroma.prepare.colour_checkers:ColourCheckerOptions:find_colour_checkers",
            "Find the colour checker in recordings or photographs, and measure its chips",
        ),
        "pairs": (
            "stroma.prepare.annotation_pairs:AnnotationPairsOptions:make_pairs",
            "Cut images and their annotations into pairs of tiles, and describe them as a study for training",
        ),
        "scripts": (
            "stroma.prepare.qupath_scripts:QuPathScriptsOptions:write_qupath_scripts",
            "Write two scripts for QuPath's script editor: export all objects of a project, and import results",
        ),
    },
)
