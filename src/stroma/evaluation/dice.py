"""Dice from pixel counts: from a confusion matrix to scores per image, subject and set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from stroma.core.errors import InvalidData
from stroma.evaluation.schema import SCORES_SCHEMA
from stroma.study.labels import IGNORE

CONVENTION = "reference-present"
_MEAN = pl.col("value").sort().mean()  # groups come in any order, and the last bit of a sum depends on it


def confusion_matrix(reference: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by reference and predicted class, on annotated pixels only.

    Args:
        reference: (H, W) class indices, `IGNORE` where not annotated.
        predicted: (H, W) class indices; `IGNORE` (not predicted) counts as wrong, in the last column.
        classes: Number of classes K.

    Returns:
        (K, K + 1) counts; entry [r, p] has reference r and prediction p, [r, K] was not predicted.

    Raises:
        InvalidData: the sizes differ, or an index is neither a class nor `IGNORE`.
    """
    if reference.shape != predicted.shape:
        raise InvalidData(
            f"the prediction is {predicted.shape[0]} × {predicted.shape[1]} pixels, "
            f"the reference {reference.shape[0]} × {reference.shape[1]}"
        )
    annotated = reference != IGNORE
    rows, columns = reference[annotated].astype(np.int64), predicted[annotated].astype(np.int64)
    columns[columns == IGNORE] = classes
    if rows.size and (rows.max() >= classes or columns.max() > classes):
        raise InvalidData(f"holds the index {max(rows.max(), columns.max())}, but there are {classes} classes")
    counts = np.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1)


def dice_of(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Dice similarity coefficient per class, 2 |A ∩ B| / (|A| + |B|) (Dice, 1945).

    Args:
        confusion: (K, K + 1) counts of `confusion_matrix`.

    Returns:
        (K,) values from 0 to 1; NaN for classes that the reference does not hold.
    """
    classes = len(confusion)
    common = np.diag(confusion[:, :classes]).astype(np.float64)
    reference, predicted = confusion.sum(axis=1), confusion[:, :classes].sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(reference > 0, 2 * common / (reference + predicted), np.nan)


def score_rows(
    image_id: str, subject_id: str, annotator: str, names: Sequence[str], values: NDArray[np.float64]
) -> pl.DataFrame:
    """Scores of one image as rows of scope `image`; classes that are NaN have none."""
    rows = [
        ("image", image_id, subject_id, name, "dice", CONVENTION, annotator, float(value), None, None, 1, 1)
        for name, value in zip(names, values, strict=True)
        if not math.isnan(value)
    ]
    return pl.DataFrame(rows, schema=SCORES_SCHEMA, orient="row")


def aggregate(images: pl.DataFrame) -> pl.DataFrame:
    """Aggregate image scores: image → subject → set, per class, and the mean over classes.

    A subject's value is the mean over its images, the set's value the mean over its subjects, so a subject with
    many images weighs no more than another. The 95 % interval is Student's t over subject values, cut to 0 to 1.
    The mean over classes (label null) is that of the class values at the same scope; its interval has the width of
    that of the subjects' means over classes.

    Args:
        images: Rows of scope `image`.

    Returns:
        All rows of scope `image`, `subject` and `set` with the columns of `SCORES_SCHEMA`.
    """
    keys = ["metric", "convention", "annotator"]
    subjects = (
        images.group_by("subject_id", "label", *keys)
        .agg(_MEAN, pl.len().alias("n_images"))
        .with_columns(scope=pl.lit("subject"), n_subjects=pl.lit(1, pl.Int64))
    )
    subject_means = (
        subjects.group_by("subject_id", *keys)
        .agg(_MEAN, pl.col("n_images").max())
        .with_columns(scope=pl.lit("subject"), n_subjects=pl.lit(1, pl.Int64), label=pl.lit(None, pl.String))
    )
    n_images = images.group_by("subject_id").agg(n_images=pl.col("image_id").n_unique())
    subject_means = subject_means.drop("n_images").join(n_images, on="subject_id")
    per_class = _over_subjects(subjects, ["label", *keys])
    mean_of_classes = per_class.group_by(*keys).agg(_MEAN.alias("class_mean"))
    shift = pl.col("class_mean") - pl.col("value")
    overall = (
        _over_subjects(subject_means, keys)
        .join(mean_of_classes, on=keys)
        .with_columns(
            value=pl.col("class_mean"),
            low=(pl.col("low") + shift).clip(0, 1),
            high=(pl.col("high") + shift).clip(0, 1),
            label=pl.lit(None, pl.String),
        )
        .drop("class_mean")
    )
    parts = [images, subjects, subject_means, per_class, overall]
    table = pl.concat([_complete(part) for part in parts])
    order = {"image": 0, "subject": 1, "set": 2}
    return table.sort(
        pl.col("scope").replace_strict(order), "metric", "label", "subject_id", "image_id", nulls_last=True
    )


def _over_subjects(subjects: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    grouped = subjects.group_by(*keys).agg(
        pl.col("value").sort().alias("values"),
        _MEAN,
        pl.len().alias("n_subjects"),
        pl.col("n_images").sum(),
    )
    limits = [student_interval(np.asarray(values, np.float64)) for values in grouped["values"].to_list()]
    return grouped.drop("values").with_columns(
        scope=pl.lit("set"),
        low=pl.Series([low for low, _ in limits], dtype=pl.Float64),
        high=pl.Series([high for _, high in limits], dtype=pl.Float64),
    )


def _complete(part: pl.DataFrame) -> pl.DataFrame:
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in SCORES_SCHEMA.items() if name not in part.columns]
    return part.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in SCORES_SCHEMA.items())


def student_interval(values: NDArray[np.float64], confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Student's t interval of the mean of scores in 0 to 1; (None, None) for fewer than two values."""
    if len(values) < 2:
        return None, None
    half = special.stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return max(0.0, float(values.mean() - half)), min(1.0, float(values.mean() + half))
