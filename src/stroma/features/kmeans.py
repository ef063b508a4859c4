"""k-means over features that need not fit in memory; clusters are numbered by size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UsageError
from stroma.features.moments import Standard
from stroma.features.table import FeatureSet

SAMPLE_ROWS = 16_384
"""Tiles that are held in memory to start from; cohorts up to this size are clustered exactly."""

_BATCH_ROWS = 4_096
_BUFFER_PIECES = 8
_EPOCHS = 3
_STARTS = 4


def fit_centres(
    features: FeatureSet, standard: Standard, sample: NDArray[np.float32], *, clusters: int, seed: int
) -> NDArray[np.float32]:
    """Find cluster centres.

    k-means (Lloyd 1982) from four k-means++ starts (Arthur and Vassilvitskii 2007) on the sample. If there are more
    tiles than that, the centres are refined by mini-batch k-means (Sculley 2010) in three passes over all of them,
    in an order that is shuffled in pieces.

    Args:
        features: All features.
        standard: Their standardisation.
        sample: Standardised features (n, D) of a uniform sample, or of all tiles.
        clusters: Number of clusters, k.
        seed: Of starts and order; the same gives the same centres.

    Returns:
        (k, D), standardised.

    Raises:
        UsageError: there are fewer tiles than clusters.
    """
    if features.rows < clusters:
        raise UsageError(
            f"{clusters} clusters cannot be made of {features.rows} tiles",
            next_step=f"Use --clusters {max(1, features.rows // 4)} or fewer, or embed more tiles",
        )
    from sklearn.cluster import KMeans, MiniBatchKMeans  # takes a second: not for --help, nor for a report
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), stage("forward"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal tiles leave clusters empty, which is told later
        start = KMeans(clusters, n_init=_STARTS, random_state=seed).fit(sample)
    if len(sample) == features.rows:
        centres: NDArray[np.float32] = start.cluster_centers_
        return centres
    model = MiniBatchKMeans(clusters, init=start.cluster_centers_, n_init=1, random_state=seed, reassignment_ratio=0)
    for epoch in range(_EPOCHS):
        for batch in shuffled(features, seed=seed, epoch=epoch):
            with stage("forward"):
                model.partial_fit(standard.apply(batch))
    refined: NDArray[np.float32] = model.cluster_centers_
    return refined


def shuffled(features: FeatureSet, *, seed: int, epoch: int) -> Iterator[NDArray[np.float32]]:
    """All features once, in batches that mix slides: pieces in random order, then rows within several pieces."""
    generator = np.random.default_rng((seed, epoch))
    pieces = features.pieces()
    order = generator.permutation(len(pieces))
    for first in range(0, len(order), _BUFFER_PIECES):
        chosen = [pieces[i] for i in order[first : first + _BUFFER_PIECES]]
        rows = generator.permutation(np.concatenate([features.read(*piece) for piece in chosen]))
        for start in range(0, len(rows), _BATCH_ROWS):
            yield rows[start : start + _BATCH_ROWS]


def assign(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index of the nearest centre of each standardised row, (n,)."""
    from sklearn.metrics import pairwise_distances_argmin

    with stage("forward"):
        nearest: NDArray[np.int64] = pairwise_distances_argmin(rows, centres).astype(np.int64)
    return nearest


def by_size(labels: NDArray[np.int64], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """The new number of each cluster, (k,): 0 for the largest; ties go to the centre with the smaller first entry."""
    counts = np.bincount(labels, minlength=len(centres))
    numbers = np.empty(len(centres), dtype=np.int64)
    numbers[np.lexsort((centres[:, 0], -counts))] = np.arange(len(centres))
    return numbers
