"""The tables of an evaluation: their columns, in the order in which they are stored."""

from __future__ import annotations

import polars as pl

SCORES_FORMAT = "scores/1"
SCORES_SCHEMA: dict[str, pl.DataType] = {
    "scope": pl.String(),
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "label": pl.String(),
    "metric": pl.String(),
    "convention": pl.String(),
    "annotator": pl.String(),
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "n_subjects": pl.Int64(),
    "n_images": pl.Int64(),
}
"""Scores at three scopes: `image`, `subject` (mean over its images), `set` (mean over subjects).

`label` is a class name, or null for the mean over classes. `convention` says what counts
(`reference-present`: on annotated pixels, for classes that the reference of the image holds); `annotator`
whose reference it is. `low` and `high` are the limits of the 95 % interval over subjects (scope `set` only,
null for fewer than two subjects). `n_subjects` and `n_images` count what a value was computed from.
"""

CONFUSION_FORMAT = "confusion/1"
CONFUSION_SCHEMA: dict[str, pl.DataType] = {
    "unit": pl.String(),
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "reference": pl.String(),
    "predicted": pl.String(),
    "count": pl.Int64(),
}
"""How many units (`pixel`) of the class `reference` were predicted as `predicted`, image by image."""
