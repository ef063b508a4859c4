"""`stroma models` and its verbs."""

from stroma.cli.generate import VerbGroup

command = VerbGroup(
    "models",
    "Published and imported weights: list, show, fetch, verify, import, export.",
    {
        "list": (
            "stroma.prepare.model_catalogue:ListOptions:list_models",
            "List the published models that Stroma knows",
        ),
        "show": (
            "stroma.prepare.model_catalogue:ShowOptions:show_model",
            "Show the card of a published model",
        ),
        "fetch": (
            "stroma.prepare.model_catalogue:FetchOptions:fetch_models",
            "Download published weights, going on with interrupted downloads, and verify them",
        ),
        "verify": (
            "stroma.prepare.model_catalogue:VerifyOptions:verify_models",
            "Compare fetched weights with their published hashes, or with those noted when they were fetched",
        ),
        "import": (
            "stroma.prepare.model_import:ImportOptions:import_weights",
            "Import weights of other projects: one folder `folds/<name>` per network, safetensors beside its card",
        ),
        "export": (
            "stroma.prepare.model_export:ExportOptions:export_weights",
            "Export a network and compare the exported file's output with the original's",
        ),
    },
)
