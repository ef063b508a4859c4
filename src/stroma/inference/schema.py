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
