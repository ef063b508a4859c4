"""Granularities, samplers and preparation: from images to batches and back."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.sampling",
    {
        "Preparation": "stroma.sampling.preparation:Preparation",
        "l1": "stroma.spectra.normalise:l1",
        "divide": "stroma.sampling.preparation:divide",
        "mean_std": "stroma.sampling.preparation:mean_std",
        "image": "stroma.sampling.granularity:WholeImage",
        "patch": "stroma.sampling.granularity:Patch",
    },
)
__getattr__, __dir__ = registry.attributes()
