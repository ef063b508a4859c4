"""The table of predictions: its columns, in the order in which they are stored."""

from __future__ import annotations

import polars as pl

PREDICTIONS_FORMAT = "predictions/1"
PREDICTIONS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "folds": pl.String(),
    "path": pl.String(),
}
"""One row per predicted image: the folds whose networks were averaged (joined by `+`), and the PNG of class
indices, relative to the folder of the table."""

CLASSES_FORMAT = "class-predictions/1"


def classes_schema(classes: int) -> dict[str, pl.DataType]:
    """Columns of the predictions of models that give one answer an image.

    `label` is the most probable class and `probability` its probability; `probabilities` those of all classes in the
    order of `labels.yaml`.
    """
    return {
        "image_id": pl.String(),
        "subject_id": pl.String(),
        "folds": pl.String(),
        "label": pl.String(),
        "probability": pl.Float64(),
        "probabilities": pl.Array(pl.Float32(), classes),
    }
