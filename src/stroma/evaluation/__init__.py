"""Metrics, aggregation, intervals."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.evaluation",
    {
        "subject_values": "stroma.evaluation.subjects:subject_values",
        "compare_groups": "stroma.evaluation.comparison:compare_groups",
        "sentence": "stroma.evaluation.wording:sentence",
        "fit_random_intercept": "stroma.evaluation.mixed_model:fit_random_intercept",
        "corrected": "stroma.evaluation.correction:corrected",
        "compare_masks": "stroma.evaluation.agreement:compare_masks",
        "read_tolerances": "stroma.evaluation.agreement:read_tolerances",
    },
)
__getattr__, __dir__ = registry.attributes()
