"""Demo, inspection and help for users."""

from stroma.core.registry import Registry

registry = Registry("stroma.support", {})
__getattr__, __dir__ = registry.attributes()
