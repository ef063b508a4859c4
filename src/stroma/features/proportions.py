"""How much of each image and subject lies in each cluster: the table that statistics go on from."""

from __future__ import annotations

import polars as pl

PROPORTIONS_FORMAT = "proportions/1"
PROPORTIONS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "cluster": pl.Int64(),
    "fraction": pl.Float64(),
    "n_tiles": pl.Int64(),
}
"""One row an image and cluster, also where no tile lies in it, sorted by both.

`n_tiles` are the image's tiles in the cluster, `fraction` their share of all its tiles; the fractions of an image
sum to 1. An image without tiles has the fraction null.
"""

SUBJECT_PROPORTIONS_FORMAT = "subject-proportions/1"
SUBJECT_PROPORTIONS_SCHEMA: dict[str, pl.DataType] = {
    "subject_id": pl.String(),
    "cluster": pl.Int64(),
    "fraction": pl.Float64(),
    "n_tiles": pl.Int64(),
    "n_images": pl.Int64(),
}
"""One row a subject and cluster: `fraction` is the mean over the subject's images that have tiles, so that a large
slide does not outweigh a small one; `n_tiles` and `n_images` count what it stands on."""


def image_proportions(counts: pl.DataFrame, sources: pl.DataFrame, clusters: int) -> pl.DataFrame:
    """Cluster fractions of each image.

    Args:
        counts: image_id, cluster, n_tiles; clusters without tiles may be missing.
        sources: image_id and subject_id of every image that is to have rows.
        clusters: Number of clusters.

    Returns:
        Columns of `PROPORTIONS_SCHEMA`.
    """
    every = sources.select("image_id", "subject_id").join(
        pl.DataFrame({"cluster": range(clusters)}, schema={"cluster": pl.Int64}), how="cross"
    )
    total = pl.col("n_tiles").sum().over("image_id")
    return (
        every.join(counts, on=["image_id", "cluster"], how="left")
        .with_columns(pl.col("n_tiles").fill_null(0).cast(pl.Int64))
        .with_columns(fraction=pl.when(total > 0).then(pl.col("n_tiles") / total))
        .select(pl.col(name).cast(kind) for name, kind in PROPORTIONS_SCHEMA.items())
        .sort("image_id", "cluster")
    )


def subject_proportions(proportions: pl.DataFrame) -> pl.DataFrame:
    """Cluster fractions of each subject, from those of its images; columns of `SUBJECT_PROPORTIONS_SCHEMA`."""
    return (
        proportions.group_by("subject_id", "cluster")
        .agg(
            pl.col("fraction").mean(),
            pl.col("n_tiles").sum(),
            pl.col("fraction").count().cast(pl.Int64).alias("n_images"),
        )
        .select(pl.col(name).cast(kind) for name, kind in SUBJECT_PROPORTIONS_SCHEMA.items())
        .sort("subject_id", "cluster")
    )
