"""`stroma annotations` and its verbs."""

import click

from stroma.cli.generate import verb_command
from stroma.prepare import annotation_options as options
from stroma.prepare import annotations
from stroma.prepare.annotation_pairs import AnnotationPairsOptions, make_pairs
from stroma.prepare.colour_checkers import ColourCheckerOptions, find_colour_checkers
from stroma.prepare.qupath_scripts import QuPathScriptsOptions, write_qupath_scripts
from stroma.reports.agreement import AgreementOptions, annotator_agreement

command = click.Group(
    "annotations",
    help="Drawn and detected objects: import, export, convert, summary, agreement, colour checkers, pairs of tiles…",
    commands=[
        verb_command("import", options.AnnotationImportOptions, annotations.import_annotations),
        verb_command("export", options.AnnotationConvertOptions, annotations.export_annotations),
        verb_command("convert", options.AnnotationConvertOptions, annotations.convert_annotations),
        verb_command("summary", options.AnnotationSummaryOptions, annotations.summarise_annotations),
        verb_command("agreement", AgreementOptions, annotator_agreement),
        verb_command("colour-checker", ColourCheckerOptions, find_colour_checkers),
        verb_command("pairs", AnnotationPairsOptions, make_pairs),
        verb_command("scripts", QuPathScriptsOptions, write_qupath_scripts),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
