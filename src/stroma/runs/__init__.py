"""Run folders, run configuration, model cards."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.runs",
    {
        "Run": "stroma.runs.run:Run",
        "RunConfig": "stroma.runs.config:RunConfig",
        "ModelCard": "stroma.runs.card:ModelCard",
    },
)
__getattr__, __dir__ = registry.attributes()
