"""Predictors: trained weights applied to images."""

from stroma.core.registry import Registry

registry = Registry("stroma.inference", {})
__getattr__, __dir__ = registry.attributes()
