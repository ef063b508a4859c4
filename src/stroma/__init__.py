"""Stroma: tissue imaging research, from files to scores.

import stroma
image = stroma.open_image("P086/2021_04_15_09_22_02")   # a Tivita cube, a slide, a picture
cube = image.read(x=100, y=50, w=64, h=64)               # (64, 64, 100)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stroma.core.registry import Registry

__version__ = "0.1.0.dev0"

registry = Registry(
    "stroma",
    {
        "open_image": "stroma.images.open:open_image",
        "open_study": "stroma.study.study:open_study",
        "train": "stroma.training.train:train",
        "predict": "stroma.inference.predict:predict",
        "evaluate": "stroma.evaluation.evaluate:evaluate",
        "load_model": "stroma.models.load:load_model",
        "StromaError": "stroma.core.errors:StromaError",
    },
)
__getattr__, __dir__ = registry.attributes()

if TYPE_CHECKING:
    from stroma.core.errors import StromaError as StromaError
    from stroma.evaluation.evaluate import evaluate as evaluate
    from stroma.images.open import open_image as open_image
    from stroma.inference.predict import predict as predict
    from stroma.models.load import load_model as load_model
    from stroma.study.study import open_study as open_study
    from stroma.training.train import train as train
