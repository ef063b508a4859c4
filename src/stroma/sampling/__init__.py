"""Granularities, samplers and preparation: from images to batches and back."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.sampling",
    {
        "Preparation": "stroma.sampling.preparation:Preparation",
        "l1": "stroma.spectra.normalise:l1",
        "l2": "stroma.spectra.normalise:l2",
        "snv": "stroma.spectra.normalise:snv",
        "absorbance": "stroma.spectra.normalise:absorbance",
        "savitzky_golay": "stroma.spectra.derivatives:savitzky_golay",
        "zero_highlights": "stroma.spectra.highlights:zero_highlights",
        "resample": "stroma.sampling.preparation:resample",
        "divide": "stroma.sampling.preparation:divide",
        "mean_std": "stroma.sampling.preparation:mean_std",
        "image": "stroma.sampling.granularity:WholeImage",
        "patch": "stroma.sampling.granularity:Patch",
    },
)
__getattr__, __dir__ = registry.attributes()
