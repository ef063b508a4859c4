"""`stroma cluster`: group feature vectors, and say how much of each image and subject lies in each group."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.io.plugins import register_io_source
from pydantic import Field

from stroma.core.clock import running_clock, stage
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import InvalidData, OutputConflict
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA, write_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult
from stroma.features.kmeans import SAMPLE_ROWS, assign, by_size, fit_centres
from stroma.features.moments import Moments, Standard
from stroma.features.project import Projection, ProjectionName, check_projection, pca, umap
from stroma.features.proportions import (
    PROPORTIONS_FORMAT,
    SUBJECT_PROPORTIONS_FORMAT,
    image_proportions,
    subject_proportions,
)
from stroma.features.table import FeatureSet, open_features
from stroma.models.encoders import RANDOM
from stroma.prepare.sources import write_sources

CLUSTERS_FORMAT = "clusters/1"
CLUSTERS_SCHEMA: dict[str, pl.DataType] = {
    **ADDRESS_SCHEMA,
    "cluster": pl.Int64(),
    "x2d": pl.Float64(),
    "y2d": pl.Float64(),
}
"""One row a tile, in the order of the features: its cluster (0 is the largest) and its point in the plane."""

_ROW_GROUP = 65_536


class ClusterOptions(VerbOptions):
    """Options of `stroma cluster`."""

    features: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="Output folders of 'stroma embed'"
    )
    output: Output
    clusters: int = Field(8, gt=0, description="Number of clusters")
    projection: ProjectionName = Field("pca", description="How features become points in the plane")
    seed: int = Field(0, ge=0, description="Seed of everything that is drawn at random")


def cluster(options: ClusterOptions) -> VerbResult:
    """Cluster feature vectors with k-means.

    FEATURES are output folders of `stroma embed`, all of one encoder. All their tiles are standardised and clustered
    together; cluster 0 is the largest.

    Written are `clusters.parquet` (every tile's cluster and its point in the plane), `proportions.parquet` (the
    fraction of each image in each cluster), `subject_proportions.parquet` (the mean of those over a subject's images)
    and `sources.parquet`.

    Args:
        options: See `ClusterOptions`.

    Raises:
        MissingFile: an input is no output folder of `stroma embed`.
        InvalidData: features of several encoders, two images of one id, or features that are not finite.
        UsageError: fewer tiles than clusters.
        MissingExtra: UMAP is asked for and not installed.
        OutputConflict: the output holds clusters made with other settings or from other features.
    """
    check_projection(options.projection)
    features = open_features(options.features)
    settings = {**options.settings(), "encoder": dict(features.encoder)}
    provenance = Provenance(CLUSTERS_FORMAT, settings, features.inputs())
    record = done_path(options.output, "clusters")
    found = {"images": len(features.sources), "tiles": features.rows, **_describe(features)}
    if _is_complete(provenance, options):
        return VerbResult(output=options.output, summary=found, skipped=1)
    if options.dry_run:
        return VerbResult(output=options.output, summary=found, lines=[f"would make {options.clusters} clusters"])
    with running_clock() as clock:
        labels, points = _fit(features, options)
        proportions = _proportions(features, labels, options.clusters)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        outputs = _write(features, labels, points, proportions, provenance, options.output)
        write_done(record, provenance, outputs)
    sizes = np.bincount(labels, minlength=options.clusters).tolist()
    return VerbResult(
        output=options.output,
        summary={**found, "tiles_per_cluster": sizes},
        lines=_lines(proportions, sizes),
        next=[f"stroma report {shlex.quote(str(options.output))}"],
        done=1,
        clock=clock,
    )


def _is_complete(provenance: Provenance, options: ClusterOptions) -> bool:
    try:
        return is_complete(done_path(options.output, "clusters"), provenance, verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def _fit(features: FeatureSet, options: ClusterOptions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cluster (n,) and point (n, 2) of every tile."""
    standard, sample = _survey(features, options.seed)
    centres = fit_centres(features, standard, sample, clusters=options.clusters, seed=options.seed)
    project: Projection = pca(standard) if options.projection == "pca" else umap(sample, seed=options.seed)
    labels = np.empty(features.rows, dtype=np.int64)
    points = np.empty((features.rows, 2))
    done = 0
    for batch in features.batches():
        here = slice(done, done + len(batch))
        rows = standard.apply(batch)
        labels[here], points[here] = assign(rows, centres), project(rows)
        done += len(batch)
    return by_size(labels, centres)[labels], points


def _survey(features: FeatureSet, seed: int) -> tuple[Standard, NDArray[np.float32]]:
    """The standardisation over all tiles, and a standardised uniform sample of them (all, when they are few)."""
    generator = np.random.default_rng(seed)
    count = min(features.rows, SAMPLE_ROWS)
    chosen = np.zeros(features.rows, dtype=bool)
    chosen[generator.choice(features.rows, count, replace=False)] = True
    moments = Moments(features.dim)
    sample: list[NDArray[np.float32]] = []
    done = 0
    for batch in features.batches():
        with stage("transform"):
            moments.add(batch)
        sample.append(batch[chosen[done : done + len(batch)]])
        done += len(batch)
    standard = moments.standard()
    return standard, standard.apply(np.concatenate([np.empty((0, features.dim), dtype=np.float32), *sample]))


def _proportions(features: FeatureSet, labels: NDArray[np.int64], clusters: int) -> pl.DataFrame:
    counts: list[pl.DataFrame] = []
    done = 0
    for addresses in features.addresses():
        here = addresses.select("image_id", cluster=pl.Series(labels[done : done + len(addresses)]))
        counts.append(here.group_by("image_id", "cluster").agg(n_tiles=pl.len().cast(pl.Int64)))
        done += len(addresses)
    table = pl.concat(counts)
    unknown = table.join(features.sources, on="image_id", how="anti")["image_id"].sort()
    if len(unknown):
        raise InvalidData(
            f"the features of image '{unknown[0]}' have no row in sources.parquet",
            next_step="Run the same stroma embed command again, it goes on where it stopped",
        )
    return image_proportions(table, features.sources, clusters)


def _write(
    features: FeatureSet,
    labels: NDArray[np.int64],
    points: NDArray[np.float64],
    proportions: pl.DataFrame,
    provenance: Provenance,
    output: Path,
) -> list[Path]:
    def pieces(*_: object) -> Iterator[pl.DataFrame]:
        done = 0
        for addresses in features.addresses():
            here = slice(done, done + len(addresses))
            columns = {"cluster": labels[here], "x2d": points[here, 0], "y2d": points[here, 1]}
            yield addresses.with_columns(pl.Series(name, values) for name, values in columns.items())
            done += len(addresses)

    table = register_io_source(pieces, schema=CLUSTERS_SCHEMA)
    subjects = subject_proportions(proportions)
    with stage("write"):
        written = [
            write_table(table, output / "clusters.parquet", provenance, row_group_size=_ROW_GROUP),
            write_table(proportions, output / "proportions.parquet", replace(provenance, format=PROPORTIONS_FORMAT)),
            write_table(
                subjects,
                output / "subject_proportions.parquet",
                replace(provenance, format=SUBJECT_PROPORTIONS_FORMAT),
            ),
        ]
        rows = ((image, subject, Path(path)) for image, subject, path in features.sources.iter_rows())
        written.append(write_sources(output, rows, provenance))
    return written


def _describe(features: FeatureSet) -> dict[str, str]:
    weights = features.encoder.get("weights")
    note = ", random weights: these clusters say nothing about the tissue" if weights == RANDOM else ""
    return {"encoder": f"{features.encoder.get('name', 'unknown')}{note}"}


def _lines(proportions: pl.DataFrame, sizes: list[int]) -> list[str]:
    bare = proportions.filter(pl.col("fraction").is_null())["image_id"].unique().sort().to_list()
    lines = [f"{len(bare)} images have no features, so no proportions: {', '.join(bare[:5])}"] if bare else []
    empty = sizes.count(0)
    return lines + ([f"{empty} clusters are empty: there are fewer different tiles than clusters"] if empty else [])
