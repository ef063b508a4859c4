"""`stroma annotations` and its verbs."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "annotations",
    "Drawn and detected objects: import, export, convert, summary, agreement, colour checkers, pairs of tiles…",
    {
        "import": "stroma.prepare.annotations:AnnotationImportOptions:import_annotations",
        "export": "stroma.prepare.annotations:AnnotationConvertOptions:export_annotations",
        "convert": "stroma.prepare.annotations:AnnotationConvertOptions:convert_annotations",
        "summary": "stroma.prepare.annotations:AnnotationSummaryOptions:summarise_annotations",
        "agreement": "stroma.reports.agreement:AgreementOptions:annotator_agreement",
        "colour-checker": "stroma.prepare.colour_checkers:ColourCheckerOptions:find_colour_checkers",
        "pairs": "stroma.prepare.annotation_pairs:AnnotationPairsOptions:make_pairs",
        "scripts": "stroma.prepare.qupath_scripts:QuPathScriptsOptions:write_qupath_scripts",
    },
)
