"""Spectra: normalisation, optics, medians, colour."""

from stroma.core.registry import Registry

registry = Registry("stroma.spectra", {})
__getattr__, __dir__ = registry.attributes()
