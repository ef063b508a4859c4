"""Networks and encoders."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.models",
    {
        "unet": "stroma.models.segmentation:unet",
        "segmentation": "stroma.models.segmentation:segmentation_model",
        "spectrum_cnn": "stroma.models.spectra:SpectrumCNN",
        "spectrum_mlp": "stroma.models.spectra:SpectrumMLP",
        "encoder_classifier": "stroma.models.superpixel:EncoderClassifier",
        "table": "stroma.models.tabular:TableNetwork",
        "image_table": "stroma.models.tabular:ImageTableNetwork",
        "unext101": "stroma.models.unext101:UneXt101",
        "deepcmorph": "stroma.models.deepcmorph:DeepCMorph",
        "xcit": "stroma.models.xcit:xcit",
        "load_encoder": "stroma.models.encoders:load_encoder",
        "timm": "stroma.models.timm_network:timm_network",
    },
)
__getattr__, __dir__ = registry.attributes()
