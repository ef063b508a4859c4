"""Networks and encoders."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.models",
    {
        "unet": "stroma.models.segmentation:unet",
        "segmentation": "stroma.models.segmentation:segmentation_model",
    },
)
__getattr__, __dir__ = registry.attributes()
