"""Networks and encoders."""

from stroma.core.registry import Registry

registry = Registry("stroma.models", {})
__getattr__, __dir__ = registry.attributes()
