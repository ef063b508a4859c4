"""Metrics, aggregation, intervals."""

from stroma.core.registry import Registry

registry = Registry("stroma.evaluation", {})
__getattr__, __dir__ = registry.attributes()
