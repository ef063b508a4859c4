"""Tiles that look unlike the others of their cohort: scores, groups, and a picture of each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stroma.core.clock import stage
from stroma.core.done import done_path, first_difference, is_complete, write_done
from stroma.core.errors import OutputConflict
from stroma.core.files import read_json
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, read_table, write_table
from stroma.images.resize import resize_area
from stroma.prepare.slide_grid import read_tile
from stroma.prepare.slide_images import write_picture
from stroma.prepare.sources import open_source
from stroma.slides.quality import METRIC_COLUMNS

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

OUTLIERS_FORMAT = "outliers/1"
OUTLIERS_SCHEMA: dict[str, pl.DataType] = {
    **ADDRESS_SCHEMA,
    "outlier_score": pl.Float64(),
    "outlier_cluster": pl.Int64(),
}
"""One row a tile, in the order of the quality table. Scores are 0-1, higher is odder; cluster 0 is the oddest."""

OUTLIER_METRICS = METRIC_COLUMNS[3:]
"""The 64 metrics that are in gray levels; fractions of background, black and white are not."""

_SAMPLE = 50_000
_COLUMNS, _ROWS, _THUMB_PX, _GAP_PX = 8, 4, 96, 4

Cohort = Mapping[str, tuple[Path, Path]]


@dataclass(frozen=True)
class OutlierReport:
    """What was found: the folder, the number of tiles, and how many are in each group."""

    folder: Path
    tiles: int
    sizes: tuple[int, ...]


def find_outliers(
    output: Path, cohort: Cohort, *, clusters: int, seed: int, overwrite: bool = False, verify: bool = False
) -> OutlierReport:
    """Score and group the tiles of all slides, and write `outliers/` into the output folder of `stroma quality`.

    The score is that of an isolation forest (Liu et al. 2008): how few random cuts separate a tile from the others,
    0.5 for the average one. Groups are those of k-means on the 64 metrics over 255, as HistoPrep makes them, numbered
    by the distance of their centres from the mean of the centres, the largest first. Both are fitted on at most
    50,000 tiles. What is there and of the same tiles and settings is left.

    Args:
        output: Output folder of `stroma quality`.
        cohort: Slide and quality table of each image id.
        clusters: Number of groups; fewer where there are fewer different tiles.
        seed: Of all that is drawn.
        overwrite: Replace results of other settings.
        verify: Hash what is there before leaving it.

    Raises:
        OutputConflict: there are results of other settings, and `overwrite` is not set.
    """
    folder = output / "outliers"
    record = done_path(folder, "outliers")
    inputs = tuple(InputRecord.of(image_id, table) for image_id, (_, table) in sorted(cohort.items()))
    provenance = Provenance(OUTLIERS_FORMAT, {"clusters": clusters, "seed": seed}, inputs)
    if _is_current(record, provenance, overwrite=overwrite, verify=verify):
        return _report(folder, [table_path(folder, table) for _, table in cohort.values()])
    record.unlink(missing_ok=True)  # from here on the item is not complete
    with stage("forward"):
        outputs = _write_tables(folder, cohort, clusters, seed, provenance)
    report = _report(folder, outputs)
    with stage("write"):
        outputs += _write_collages(folder, cohort, len(report.sizes), seed)
        for stale in {*folder.glob("*.parquet"), *folder.glob("*.png")} - set(outputs):
            stale.unlink()
        write_done(record, provenance, outputs)
    return report


def table_path(folder: Path, quality_table: Path) -> Path:
    """Where the scores of a slide lie."""
    return folder / quality_table.name


def _is_current(record: Path, provenance: Provenance, *, overwrite: bool, verify: bool) -> bool:
    """Whether all is there; results of the same settings from other tiles are out of date, not in the way."""
    try:
        return is_complete(record, provenance, verify=verify)
    except OutputConflict:
        if overwrite or not first_difference(read_json(record)["settings"], provenance.settings):
            return False
        raise


def _write_tables(folder: Path, cohort: Cohort, clusters: int, seed: int, provenance: Provenance) -> list[Path]:
    """Fit on all tiles, then score and group those of one slide after the other."""
    forest, centres = _fit(cohort, clusters, seed)
    outputs = []
    for _, table in cohort.values():
        values, addresses = _read(table)
        columns = {"outlier_score": _scores(forest, values), "outlier_cluster": _nearest(values, centres)}
        scored = addresses.with_columns(pl.Series(n, v, dtype=OUTLIERS_SCHEMA[n]) for n, v in columns.items())
        outputs.append(write_table(scored, table_path(folder, table), provenance))
    return outputs


def _report(folder: Path, tables: list[Path]) -> OutlierReport:
    clusters = [read_table(path, format=OUTLIERS_FORMAT)["outlier_cluster"].to_numpy() for path in tables]
    sizes = np.bincount(np.concatenate([np.empty(0, dtype=np.int64), *clusters]))
    return OutlierReport(folder, int(sizes.sum()), tuple(sizes.tolist()))


def _read(table: Path) -> tuple[NDArray[np.float64], pl.DataFrame]:
    """The metrics (n, 64) of a slide's tiles, 0-1, and their addresses."""
    content = read_table(table)
    return content.select(OUTLIER_METRICS).to_numpy().astype(np.float64) / 255, content.select(*ADDRESS_SCHEMA)


def _fit(cohort: Cohort, clusters: int, seed: int) -> tuple[IsolationForest | None, NDArray[np.float64]]:
    """The forest and the centres (k, 64) of the groups, from a sample that is uniform over all tiles."""
    from sklearn.cluster import KMeans  # takes a second: only where outliers are looked for
    from sklearn.ensemble import IsolationForest

    sizes = [pl.scan_parquet(table, glob=False).select(pl.len()).collect().item() for _, table in cohort.values()]
    total = sum(sizes)
    if not total:
        return None, np.empty((0, len(OUTLIER_METRICS)))
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(total, _SAMPLE), replace=False))
    starts = np.cumsum([0, *sizes])
    parts = []
    for (_, table), start, stop in zip(cohort.values(), starts, starts[1:], strict=False):
        rows = chosen[(chosen >= start) & (chosen < stop)] - start
        parts.append(_read(table)[0][rows])
    sample = np.concatenate(parts)
    count = min(clusters, len(np.unique(sample, axis=0)))
    with threadpool_limits(1):  # sums of several threads differ from run to run
        forest = IsolationForest(random_state=seed).fit(sample)
        centres = KMeans(count, n_init=3, random_state=seed).fit(sample).cluster_centers_
    distance = np.linalg.norm(centres - centres.mean(axis=0), axis=1)
    return forest, centres[np.argsort(-distance, kind="stable")]


def _scores(forest: IsolationForest | None, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.empty(0) if forest is None or not len(values) else -np.asarray(forest.score_samples(values))


def _nearest(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    if not len(values):
        return np.empty(0, dtype=np.int64)
    distances = np.stack([np.square(values - centre).sum(axis=1) for centre in centres])
    return np.asarray(distances.argmin(axis=0))


def _write_collages(folder: Path, cohort: Cohort, clusters: int, seed: int) -> list[Path]:
    """A picture of tiles of each group, drawn at random, and one of the tiles with the highest scores."""
    scans = [
        pl.scan_parquet(table_path(folder, table), glob=False).with_columns(pl.lit(image_id).alias("slide"))
        for image_id, (_, table) in cohort.items()
    ]
    every = pl.concat(scans).select("slide", "x", "y", "w", "h", "mpp", "outlier_score", "outlier_cluster").collect()
    shown = {"highest_scores": every.top_k(_COLUMNS * _ROWS, by="outlier_score")} if len(every) else {}
    for cluster in range(clusters):
        members = every.filter(pl.col("outlier_cluster") == cluster)
        shown[f"cluster_{cluster}"] = members.sample(min(len(members), _COLUMNS * _ROWS), seed=seed)
    paths = []
    for name, tiles in shown.items():
        ordered = tiles.sort("outlier_score", "slide", "y", "x", descending=[True, False, False, False])
        paths.append(write_picture(folder / f"{name}.png", _collage(ordered, cohort)))
    return paths


def _collage(tiles: pl.DataFrame, cohort: Cohort) -> NDArray[np.uint8]:
    """Tiles side by side in reading order, on white."""
    step = _THUMB_PX + _GAP_PX
    rows = -(-len(tiles) // _COLUMNS)
    canvas = np.full((rows * step + _GAP_PX, _COLUMNS * step + _GAP_PX, 3), 255, dtype=np.uint8)
    for position, picture in _thumbnails(tiles.with_row_index("position"), cohort):
        top, left = (_GAP_PX + part * step for part in divmod(position, _COLUMNS))
        height, width, _ = picture.shape
        top, left = top + (_THUMB_PX - height) // 2, left + (_THUMB_PX - width) // 2
        canvas[top : top + height, left : left + width] = picture
    return canvas


def _thumbnails(tiles: pl.DataFrame, cohort: Cohort) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Position and small picture of each tile, slide by slide."""
    for (image_id,), rows in tiles.group_by("slide", maintain_order=True):
        slide, table = cohort[str(image_id)]
        settings = read_provenance(table).settings["tiles"]
        with open_source(slide, settings) as image:
            for row in rows.rows(named=True):
                pixels = read_tile(image, row, settings)
                scale = _THUMB_PX / max(pixels.shape[:2])
                height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
                yield row["position"], np.broadcast_to(resize_area(pixels, height, width), (height, width, 3))
