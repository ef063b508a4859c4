"""Features as points in the plane: principal components, or UMAP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import UsageError
from stroma.core.extras import require
from stroma.features.moments import Standard

ProjectionName = Literal["pca", "umap"]
Projection = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Standardised features (n, D) → points (n, 2)."""

_UMAP_NEIGHBOURS = 15


def pca(standard: Standard) -> Projection:
    """The first two principal components over all tiles."""
    axes = standard.principal_axes(2)

    def project(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        points: NDArray[np.float64] = rows @ axes
        return points

    return project


def check_projection(name: ProjectionName) -> None:
    """Find out before long work whether what `name` needs is installed.

    Raises:
        MissingExtra: umap-learn is not installed.
    """
    if name == "umap":
        require("umap", extra="umap", feature="--projection umap")


def umap(sample: NDArray[np.float32], *, seed: int) -> Projection:
    """UMAP (McInnes, Healy and Melville 2018), fitted on a sample; every tile is then placed among the sample.

    Distances between far groups and the axes themselves mean nothing. It is deterministic for one seed, and needs
    one thread for that.

    Raises:
        MissingExtra: umap-learn is not installed.
        UsageError: there are too few tiles for its neighbourhoods.
    """
    if len(sample) <= _UMAP_NEIGHBOURS:
        raise UsageError(
            f"UMAP needs more than {_UMAP_NEIGHBOURS} tiles, there are {len(sample)}",
            next_step="Use --projection pca",
        )
    module = require("umap", extra="umap", feature="--projection umap")
    model = module.UMAP(n_components=2, n_neighbors=_UMAP_NEIGHBOURS, random_state=seed, n_jobs=1)
    with stage("forward"):
        model.fit(sample)

    def project(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        points: NDArray[np.float64] = np.asarray(model.transform(rows), dtype=np.float64)
        return points

    return project
