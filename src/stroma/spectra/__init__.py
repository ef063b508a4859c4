"""Spectra: normalisation, optics, medians, colour."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.spectra",
    {
        "l1": "stroma.spectra.normalise:l1",
        "zero_spectra": "stroma.spectra.normalise:zero_spectra",
        "hsi_to_rgb": "stroma.spectra.rgb:hsi_to_rgb",
        "TissueOptics": "stroma.spectra.optics:TissueOptics",
        "diffuse_reflectance": "stroma.spectra.optics:diffuse_reflectance",
        "resample_spectra": "stroma.spectra.resample:resample_spectra",
        "median_rows": "stroma.spectra.medians:median_rows",
        "mean_over_subjects": "stroma.spectra.medians:mean_over_subjects",
    },
)
__getattr__, __dir__ = registry.attributes()
