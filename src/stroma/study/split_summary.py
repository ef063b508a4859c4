"""What is in each set of each fold: subjects, images, classes; and what a fold lacks."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from stroma.study.schema import ROLES
from stroma.study.splits import Splits


def split_table(splits: Splits, catalog: pl.DataFrame, labels: pl.DataFrame | None = None) -> pl.DataFrame:
    """Count subjects, images and labels of each set.

    Args:
        splits: The division.
        catalog: `image_id`, `subject_id`.
        labels: `image_id`, `label`: what is in the images.

    Returns:
        One row a set of a fold: `outer, fold, role, set, n_subjects, n_images`, then for each label the images and,
        as `<label> subjects`, the subjects that have it.
    """
    rows = splits.table.join(catalog.select("image_id", "subject_id"), on="image_id", how="left")
    keys = ["outer", "fold", "role", "set"]
    counts = rows.group_by(keys).agg(
        pl.col("subject_id").n_unique().cast(pl.Int64).alias("n_subjects"),
        pl.col("image_id").n_unique().cast(pl.Int64).alias("n_images"),
    )
    names = [] if labels is None else labels["label"].drop_nulls().unique().sort().to_list()
    if labels is not None and names:
        held = rows.join(labels.unique(), on="image_id")
        for name in names:
            here = held.filter(pl.col("label") == name)
            of_label = here.group_by(keys).agg(
                pl.col("image_id").n_unique().cast(pl.Int64).alias(name),
                pl.col("subject_id").n_unique().cast(pl.Int64).alias(f"{name} subjects"),
            )
            counts = counts.join(of_label, on=keys, how="left")
        counts = counts.with_columns(pl.col(name, f"{name} subjects").fill_null(0) for name in names)
    order = pl.col("role").replace_strict({role: i for i, role in enumerate(ROLES)}, return_dtype=pl.Int64)
    return counts.sort("outer", "fold", order, "set")


def missing_sets(table: pl.DataFrame) -> list[str]:
    """Sentences about folds without training or validation images, from `split_table`."""
    sentences = []
    for role, what in (("train", "nothing can be learned"), ("validation", "nothing says which epoch is the best")):
        with_role = table.filter(pl.col("role") == role)["fold"]
        folds = [fold for fold in table["fold"].unique(maintain_order=True) if fold not in with_role]
        if folds:
            shown = ", ".join(folds[:4]) + (f" and {len(folds) - 4} more" if len(folds) > 4 else "")
            sentences.append(f"no {role} image in {shown}: {what}")
    return sentences


def missing_labels(table: pl.DataFrame, labels: Sequence[str]) -> list[str]:
    """Sentences about labels that a fold cannot learn or judge, from `split_table`."""
    sentences = []
    for label in labels:
        for role, what in (
            ("train", "cannot be learned"),
            ("validation", "is not validated"),
            ("test", "is not tested"),
        ):
            rows = (
                table.filter(pl.col("role") == role)
                .group_by("outer", "fold", maintain_order=True)
                .agg(pl.col(label).sum())
            )
            folds = rows.filter(pl.col(label) == 0)["fold"].to_list()
            if folds:
                shown = ", ".join(folds[:4]) + (f" and {len(folds) - 4} more" if len(folds) > 4 else "")
                sentences.append(f"the label '{label}' {what} in {shown}: no {role} image has it")
    return sentences
