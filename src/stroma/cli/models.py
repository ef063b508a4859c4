"""`stroma models` and its verbs."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "models",
    "Published and imported weights: list, show, fetch, verify, import, export.",
    {
        "list": "stroma.prepare.model_catalogue:ListOptions:list_models",
        "show": "stroma.prepare.model_catalogue:ShowOptions:show_model",
        "fetch": "stroma.prepare.model_catalogue:FetchOptions:fetch_models",
        "verify": "stroma.prepare.model_catalogue:VerifyOptions:verify_models",
        "import": "stroma.prepare.model_import:ImportOptions:import_weights",
        "export": "stroma.prepare.model_export:ExportOptions:export_weights",
    },
)
