"""Spectra: normalisation, optics, tissue parameters, medians, colour."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.spectra",
    {
        "l1": "stroma.spectra.normalise:l1",
        "l1_in_place": "stroma.spectra.normalise:l1_in_place",
        "l2": "stroma.spectra.normalise:l2",
        "snv": "stroma.spectra.normalise:snv",
        "absorbance": "stroma.spectra.normalise:absorbance",
        "zero_spectra": "stroma.spectra.normalise:zero_spectra",
        "savitzky_golay": "stroma.spectra.derivatives:savitzky_golay",
        "specular_highlights": "stroma.spectra.highlights:specular_highlights",
        "bright_pixels": "stroma.spectra.highlights:bright_pixels",
        "ParameterConstants": "stroma.spectra.parameters:ParameterConstants",
        "compute_parameter": "stroma.spectra.parameters:compute_parameter",
        "background_mask": "stroma.spectra.parameters:background_mask",
        "published_parameters": "stroma.spectra.parameter_maps:published_parameters",
        "TissueParameters": "stroma.spectra.parameter_maps:TissueParameters",
        "hsi_to_rgb": "stroma.spectra.rgb:hsi_to_rgb",
        "TissueOptics": "stroma.spectra.optics:TissueOptics",
        "diffuse_reflectance": "stroma.spectra.optics:diffuse_reflectance",
        "resample_spectra": "stroma.spectra.resample:resample_spectra",
        "find_colour_checker": "stroma.spectra.colour_checker:find_colour_checker",
        "read_chip_mask": "stroma.spectra.colour_masks:read_chip_mask",
        "read_spectrometer": "stroma.spectra.spectrometer:read_spectrometer",
        "SpectrometerFolder": "stroma.spectra.spectrometer:SpectrometerFolder",
        "median_rows": "stroma.spectra.medians:median_rows",
        "mean_over_subjects": "stroma.spectra.medians:mean_over_subjects",
    },
)
__getattr__, __dir__ = registry.attributes()
