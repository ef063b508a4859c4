"""`stroma models` and its verbs."""

import click

from stroma.cli.generate import verb_command
from stroma.prepare import model_catalogue as catalogue
from stroma.prepare.model_export import ExportOptions, export_weights
from stroma.prepare.model_import import ImportOptions, import_weights

command = click.Group(
    "models",
    help="Published and imported weights: list, show, fetch, verify, import, export.",
    commands=[
        verb_command("list", catalogue.ListOptions, catalogue.list_models),
        verb_command("show", catalogue.ShowOptions, catalogue.show_model),
        verb_command("fetch", catalogue.FetchOptions, catalogue.fetch_models),
        verb_command("verify", catalogue.VerifyOptions, catalogue.verify_models),
        verb_command("import", ImportOptions, import_weights),
        verb_command("export", ExportOptions, export_weights),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
