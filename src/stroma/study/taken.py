"""Whose annotations are taken where several people annotated: known before any mask is read, printed and stored."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from stroma.core.text import plural
from stroma.study.study import Study

TAKEN_FORMAT = "annotations-taken/1"


def annotations_taken(study: Study, image_ids: Iterable[str], annotator: str | None = None) -> pl.DataFrame:
    """For each image the annotation that `Study.annotated_mask` reads.

    Args:
        study: The study.
        image_ids: The images; those that are not annotated have no row.
        annotator: Whose; by default the first of `Study.annotators` who annotated an image.

    Returns:
        Columns `image_id`, `layer`, `annotator`, sorted by image.
    """
    order = (annotator,) if annotator else study.annotators
    rows = study.annotations.filter(
        pl.col("layer").eq_missing(study.layer),
        pl.col("annotator").is_in(list(order)),
        pl.col("image_id").is_in(list(image_ids)),
    )
    rank = pl.col("annotator").replace_strict(list(order), list(range(len(order))), return_dtype=pl.Int64)
    first = rows.sort("image_id", rank).unique("image_id", keep="first", maintain_order=True)
    return first.select("image_id", "layer", "annotator")


def describe_taken(taken: pl.DataFrame) -> list[str]:
    """A line that names the annotators with their numbers of images; none where the files name nobody."""
    counted = taken.group_by("annotator").len().sort("len", "annotator", descending=[True, False])
    named = [f"{name} ({plural(count, 'image')})" for name, count in counted.iter_rows() if name]
    return [f"annotated by {', '.join(named)}"] if named else []
