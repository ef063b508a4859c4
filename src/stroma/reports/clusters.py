"""What the figures of clusters share: their colours, and tiles drawn so that every subject has its turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import polars as pl

from stroma.reports.figure import ABSENT
from stroma.study.labels import distinct_colours


def cluster_colours(clusters: Iterable[int]) -> dict[int, str]:
    """The colour of each cluster, the same in all figures; negative ones (no cluster) are grey."""
    found = sorted(set(clusters))
    palette = distinct_colours(max(found, default=-1) + 1) if max(found, default=-1) < 256 else []
    return {c: palette[c] if 0 <= c < len(palette) else ABSENT for c in found}


def cluster_name(cluster: int) -> str:
    """`cluster 3`, or `no cluster` for a negative number."""
    return f"cluster {cluster}" if cluster >= 0 else "no cluster"


def draw_tiles(tiles: pl.DataFrame, number: int, *, by: Sequence[str] = ("subject_id", "image_id")) -> pl.DataFrame:
    """Draw tiles at random, subjects in turn, and within a subject its images in turn.

    The draw depends on the tiles' addresses alone, so it is the same in every run and on every machine.

    Args:
        tiles: Columns image_id, region and those of `by`.
        number: How many to draw at most.
        by: Columns to take turns over, the outer one first.

    Returns:
        The drawn rows, in the order of the draw.
    """
    keys = [
        hashlib.sha256(f"{image}\0{region}".encode()).hexdigest() for image, region in
        tiles.select("image_id", "region").iter_rows()
    ]  # fmt: skip
    drawn = tiles.with_columns(pl.Series("_key", keys, dtype=pl.String)).sort("_key")
    turns: list[str] = []
    for depth in range(len(by), 0, -1):
        group = list(by[:depth])
        order = [*turns, "_key"]
        drawn = drawn.sort(order).with_columns(pl.int_range(pl.len()).over(group).alias(f"_turn{depth}"))
        turns = [f"_turn{depth}"]
    return drawn.sort(*turns, "_key").head(number).drop("_key", *[f"_turn{d}" for d in range(1, len(by) + 1)])
