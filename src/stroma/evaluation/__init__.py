"""Metrics, aggregation, intervals."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.evaluation",
    {
        "compare_masks": "stroma.evaluation.agreement:compare_masks",
        "read_tolerances": "stroma.evaluation.agreement:read_tolerances",
    },
)
__getattr__, __dir__ = registry.attributes()
