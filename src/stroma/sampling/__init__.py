"""Granularities, samplers and preparation: from images to batches and back."""

from stroma.core.registry import Registry

registry = Registry("stroma.sampling", {})
__getattr__, __dir__ = registry.attributes()
