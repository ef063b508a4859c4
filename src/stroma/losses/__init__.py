"""Objectives."""

from stroma.core.registry import Registry

registry = Registry("stroma.losses", {"dice_cross_entropy": "stroma.losses.dice:DiceCrossEntropy"})
__getattr__, __dir__ = registry.attributes()
