"""`stroma annotations` and its verbs."""

import click

from stroma.cli.generate import verb_command
from stroma.prepare import annotation_options as options
from stroma.prepare import annotations

command = click.Group(
    "annotations",
    help="Drawn and detected objects: import, export, convert, summary.",
    commands=[
        verb_command("import", options.AnnotationImportOptions, annotations.import_annotations),
        verb_command("export", options.AnnotationConvertOptions, annotations.export_annotations),
        verb_command("convert", options.AnnotationConvertOptions, annotations.convert_annotations),
        verb_command("summary", options.AnnotationSummaryOptions, annotations.summarise_annotations),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
