"""Figures and offline HTML."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.reports",
    {
        "Report": "stroma.reports.page:Report",
        "overlay_figure": "stroma.reports.overlays:overlay_figure",
        "scores_figure": "stroma.reports.scores:scores_figure",
        "spectra_figure": "stroma.reports.spectra:spectra_figure",
        "confusion_figure": "stroma.reports.confusion:confusion_figure",
        "learning_figure": "stroma.reports.learning:learning_figure",
        "mosaic_figure": "stroma.reports.mosaic:mosaic_figure",
        "feature_map_figure": "stroma.reports.feature_map:feature_map_figure",
        "proportions_figure": "stroma.reports.proportions:proportions_figure",
    },
)
__getattr__, __dir__ = registry.attributes()
