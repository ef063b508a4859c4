"""Figures and offline HTML."""

from stroma.core.registry import Registry

registry = Registry("stroma.reports", {})
__getattr__, __dir__ = registry.attributes()
