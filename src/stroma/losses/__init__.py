"""Objectives."""

from stroma.core.registry import Registry

registry = Registry("stroma.losses", {})
__getattr__, __dir__ = registry.attributes()
