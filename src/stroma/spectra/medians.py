"""Median spectra of annotated regions, and their mean over images and subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.core.tables import require_columns
from stroma.core.threads import in_threads
from stroma.spectra.normalise import l1, measured

_CHANNELS = 8  # in a part for one thread

MEDIANS_FORMAT = "medians/1"
SPECTRUM_COLUMNS = (
    "median_spectrum",
    "std_spectrum",
    "median_normalized_spectrum",
    "std_normalized_spectrum",
)
Spectrum = Literal["median_spectrum", "std_spectrum", "median_normalized_spectrum", "std_normalized_spectrum"]


def medians_schema(channels: int) -> dict[str, pl.DataType]:
    """Columns of a table of median spectra, one row per image, annotator and label.

    `median_…` is the median over the pixels of the label, channel by channel, `std_…` their standard deviation
    (divisor n - 1; 0 for a single pixel); `…_normalized_…` is of spectra that were L1-normalised pixel by pixel
    before. `n_pixels` counts the pixels.
    """
    spectrum = pl.Array(pl.Float32(), channels)
    return {
        "image_id": pl.String(),
        "subject_id": pl.String(),
        "annotator": pl.String(),
        "label": pl.String(),
        "n_pixels": pl.Int64(),
        **dict.fromkeys(SPECTRUM_COLUMNS, spectrum),
    }


def median_rows(
    cube: NDArray[Any],
    labels: NDArray[np.uint8],
    names: tuple[str, ...],
    *,
    image_id: str,
    subject_id: str,
    annotator: str,
) -> pl.DataFrame:
    """Median spectra of the labels of one annotator in one image.

    Args:
        cube: (H, W, C) reflectance.
        labels: (H, W) indices into `names`; other values are not annotated.
        names: Class names, as in `LabelMapping.names`.
        image_id: The image.
        subject_id: Its subject.
        annotator: Who annotated it.

    Returns:
        A row for each label with at least one measured pixel, in the order of `names`, with the columns of
        `medians_schema`. Spectra that are zero or have a value that is not finite count in `n_pixels` alone.

    Raises:
        InvalidData: the labels are not of the cube's size.
    """
    if labels.shape != cube.shape[:2]:
        raise InvalidData(
            f"the labels are {labels.shape[0]} × {labels.shape[1]} (height × width), "
            f"the cube is {cube.shape[0]} × {cube.shape[1]}",
            where=image_id,
        )
    rows = []
    for index, name in enumerate(names):
        spectra = cube[labels == index].astype(np.float32, copy=False)
        usable = spectra[measured(spectra)]
        if len(usable):
            rows.append((image_id, subject_id, annotator, name, len(spectra), *spectrum_statistics(usable)))
    columns = list(zip(*rows, strict=True)) if rows else [()] * (5 + len(SPECTRUM_COLUMNS))
    schema = medians_schema(cube.shape[2])
    series = [
        pl.Series(name, np.stack(values) if name in SPECTRUM_COLUMNS and values else list(values), dtype=kind)
        for (name, kind), values in zip(schema.items(), columns, strict=True)
    ]
    return pl.DataFrame(series)


def spectrum_statistics(spectra: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The four spectra of `SPECTRUM_COLUMNS`.

    Args:
        spectra: (n, C) float32, all measured, n of at least 1.

    Returns:
        Median, standard deviation, and both after L1 normalisation, each (C,) float32.
    """
    return (*_median_and_std(spectra), *_median_and_std(l1(spectra)))


def _median_and_std(spectra: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Channel by channel, in one copy with the values of a channel side by side."""
    count = len(spectra)
    channels = np.ascontiguousarray(spectra.T)
    median, std = np.empty(len(channels), np.float32), np.zeros(len(channels), np.float32)

    def reduce(part: int) -> None:
        for channel in range(part * _CHANNELS, min((part + 1) * _CHANNELS, len(channels))):
            values = channels[channel]
            values.partition(count // 2)  # for two places at once it takes nearly twice as long
            below = values[: count // 2].max() if count % 2 == 0 else values[count // 2]
            median[channel] = (below + values[count // 2]) / np.float32(2)
            if count > 1:  # about the median, near which nothing cancels
                values -= median[channel]
                mean = values.sum(dtype=np.float64) / count
                std[channel] = np.sqrt((float(values @ values) - count * mean**2) / (count - 1))

    in_threads(reduce, -(-len(channels) // _CHANNELS))
    return median, std


def mean_over_subjects(medians: pl.DataFrame, column: Spectrum = "median_normalized_spectrum") -> pl.DataFrame:
    """Mean spectrum of each label: over the images of a subject first, then over subjects.

    Every subject counts the same, however many images it has. Annotators stay apart.

    Args:
        medians: Rows of `median_rows`, of any number of images.
        column: The spectrum to average.

    Returns:
        One row per annotator and label, sorted: `annotator, label, n_subjects, n_images, n_pixels, mean, std`;
        `mean` and `std` are lists of Float64, `std` the spread over subjects (divisor n - 1), null for one subject.

    Raises:
        InvalidData: a column is missing.
    """
    require_columns(medians, ["image_id", "subject_id", "annotator", "label", "n_pixels", column], where="medians")
    group = ["annotator", "label"]
    counts = medians.group_by(group).agg(
        pl.col("subject_id").n_unique().cast(pl.Int64).alias("n_subjects"),
        pl.col("image_id").n_unique().cast(pl.Int64).alias("n_images"),
        pl.col("n_pixels").sum(),
    )
    spectra = (
        medians.select(*group, "subject_id", pl.col(column).cast(pl.List(pl.Float64)).alias("value"))
        .with_columns(pl.int_ranges(pl.col("value").list.len()).alias("channel"))
        .explode("value", "channel")
        .group_by(*group, "subject_id", "channel")
        .agg(pl.col("value").mean())
        .group_by(*group, "channel")
        .agg(pl.col("value").mean().alias("mean"), pl.col("value").std(ddof=1).alias("std"))
        .sort(*group, "channel")
        .group_by(group, maintain_order=True)
        .agg("mean", "std")
        .with_columns(pl.when(pl.col("std").list.first().is_not_null()).then("std").alias("std"))
    )
    return counts.join(spectra, on=group).sort(group)


def values_over_subjects(rows: pl.DataFrame, columns: Sequence[str], by: str = "label") -> pl.DataFrame:
    """Mean of numbers for each label: over the rows of a subject first, then over subjects.

    Args:
        rows: With `subject_id`, the column `by` and `columns`; values that are null or not a number are left out.
        columns: Columns of numbers.
        by: The column of labels.

    Returns:
        One row per label and column, in the order of first appearance: `<by>, column, n_subjects, mean, std`; `std`
        is the spread over subjects (divisor n - 1), null for one subject. A label without any value is left out.

    Raises:
        InvalidData: a column is missing.
    """
    require_columns(rows, ["subject_id", by, *columns], where="medians")
    order = {name: place for place, name in enumerate(rows[by].unique(maintain_order=True))}
    long = rows.select("subject_id", by, *(pl.col(name).cast(pl.Float64) for name in columns)).unpivot(
        columns, index=["subject_id", by], variable_name="column", value_name="_value"
    )
    return (
        long.filter(pl.col("_value").is_finite())
        .group_by(by, "column", "subject_id")
        .agg(pl.col("_value").mean())
        .group_by(by, "column")
        .agg(
            pl.len().cast(pl.Int64).alias("n_subjects"),
            pl.col("_value").mean().alias("mean"),
            pl.col("_value").std(ddof=1).alias("std"),
        )
        .sort(
            pl.col(by).replace_strict(order, return_dtype=pl.Int64),
            pl.col("column").replace_strict({name: i for i, name in enumerate(columns)}, return_dtype=pl.Int64),
        )
    )
