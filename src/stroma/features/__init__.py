"""Embedding, clustering, projection."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.features",
    {
        "EmbedOptions": "stroma.features.embed:EmbedOptions",
        "ClusterOptions": "stroma.features.cluster:ClusterOptions",
        "open_features": "stroma.features.table:open_features",
    },
)
__getattr__, __dir__ = registry.attributes()
