"""The report of clusters: tiles of each, the map of their features, and how much of each image they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import MissingFile, StromaError
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_provenance, read_table, require_columns
from stroma.features.cluster import CLUSTERS_FORMAT, CLUSTERS_SCHEMA
from stroma.features.tiles import rgb
from stroma.images.image import Image
from stroma.models.encoders import RANDOM
from stroma.prepare.sources import open_source, read_sources
from stroma.reports.clusters import cluster_colours, cluster_name, draw_tiles
from stroma.reports.feature_map import feature_map_figure
from stroma.reports.figure import count, shrink
from stroma.reports.mosaic import SHOWN_PX, ClusterTiles, mosaic_figure
from stroma.reports.page import REPORT_FORMAT, Report
from stroma.reports.proportions import MOST_BARS, proportions_figure

_TILES_PER_CLUSTER = 10
_DOTS = 2_000
_POOL = 60_000
"""Larger tables are thinned evenly to about so many rows before tiles are drawn."""

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class ClusterTables:
    """The tables of a cluster folder.

    Attributes:
        tiles: `CLUSTERS_SCHEMA` and subject_id; large tables are thinned evenly.
        sizes: cluster, n_tiles, n_images, n_subjects of all tiles.
        sources: image_id, subject_id, path.
        settings: What the clusters were made with.
    """

    tiles: pl.DataFrame
    sizes: pl.DataFrame
    sources: pl.DataFrame
    settings: dict[str, Any]


def features_report(cluster_folder: Path | str, *, tiles: int = 400) -> Path:
    """Write `report.html` into an output folder of `stroma cluster`.

    Args:
        cluster_folder: The folder.
        tiles: How many dots of the feature map show their tile on hover.

    Returns:
        The page.

    Raises:
        MissingFile: it is no such folder.
        InvalidData: a table is damaged.
    """
    folder = Path(cluster_folder)
    provenance = Provenance(REPORT_FORMAT, {"tiles": tiles}, features_inputs(folder))
    report = Report(f"Report: {folder.resolve().name}", subtitle=features_subtitle(folder), provenance=provenance)
    add_features(report, folder, tiles=tiles)
    return report.write(folder / "report.html")[-1]


def features_inputs(folder: Path) -> tuple[InputRecord, ...]:
    """The tables that the report is made from, as records for provenance."""
    names = ("clusters.parquet", "proportions.parquet", "sources.parquet")
    name = folder.resolve().name
    return tuple(InputRecord.of(f"{name}/{entry}", folder / entry) for entry in names if (folder / entry).is_file())


def features_subtitle(folder: Path) -> str:
    """One sentence: which features were clustered."""
    encoder = read_provenance(_clusters_path(folder)).settings.get("encoder", {})
    name = encoder.get("encoder") or encoder.get("name")
    return f"Tiles grouped by their {name} features." if name else "Tiles grouped by their features."


def add_features(report: Report, folder: Path, *, group: str = "", tiles: int = 400) -> None:
    """Add the clusters of a folder to a report.

    Args:
        report: The report.
        folder: Output folder of `stroma cluster`.
        group: Its name where the page shows several things.
        tiles: How many dots of the feature map show their tile on hover.
    """
    found = read_clusters(Path(folder))
    prefix = f"{group}: " if group else ""
    n_tiles, n_images = int(found.sizes["n_tiles"].sum()), found.sources["image_id"].n_unique()
    n_subjects = found.sources["subject_id"].n_unique()
    report.card(f"{prefix}clusters", f"{found.sizes.height:,}", "")
    report.card(f"{prefix}tiles", f"{n_tiles:,}", "")
    report.card(f"{prefix}images", f"{n_images:,}", "")
    own = _each_its_own(found.sources)
    report.card(
        f"{prefix}subjects", "unknown" if own else f"{n_subjects:,}", "each image counts as one" if own else ""
    )
    subjects = "unknown subjects" if own else count(n_subjects, "subject")
    counts = f"{count(n_tiles, 'tile')}, {count(n_images, 'image')}, {subjects}"
    shown = {
        cluster: draw_tiles(found.tiles.filter(pl.col("cluster") == cluster), _TILES_PER_CLUSTER)
        for cluster in found.sizes["cluster"].to_list()
    }
    dots = draw_tiles(draw_tiles(found.tiles, _DOTS, by=()), _DOTS, by=("cluster", "subject_id"))
    thumbnails, notes = read_thumbnails(pl.concat([*shown.values(), dots.head(tiles)]), found)
    _add_mosaic(report, found, shown, thumbnails, group, counts)
    _add_map(report, found, dots, thumbnails, group, n_tiles)
    _add_proportions(report, Path(folder), group, own)
    report.section("Limits", group=group).limits([*_limits(found), *notes])


def _each_its_own(sources: pl.DataFrame) -> bool:
    """Whether it is unknown whose the images are, so that each counts as a subject."""
    return sources.height > 1 and sources.filter(pl.col("subject_id") != pl.col("image_id")).is_empty()


def _clusters_path(folder: Path) -> Path:
    path = folder / "clusters.parquet"
    if not path.is_file():
        raise MissingFile(
            "is no output folder of stroma cluster (it has no clusters.parquet)",
            where=folder,
            next_step="Make one: stroma cluster FEATURES -o OUT",
        )
    return path


def read_clusters(folder: Path) -> ClusterTables:
    """Read an output folder of `stroma cluster`.

    Raises:
        MissingFile: it is none.
        InvalidData: a table is damaged.
    """
    path = _clusters_path(folder)
    with stage("read"):
        table = read_table(path, format=CLUSTERS_FORMAT)
        require_columns(table, list(CLUSTERS_SCHEMA), where=path)
        sources = read_sources(folder)
    table = table.join(sources.select("image_id", "subject_id"), on="image_id", how="left")
    table = table.with_columns(pl.col("subject_id").fill_null(pl.col("image_id")))
    sizes = (
        table.group_by("cluster")
        .agg(
            pl.len().cast(pl.Int64).alias("n_tiles"),
            pl.col("image_id").n_unique().cast(pl.Int64).alias("n_images"),
            pl.col("subject_id").n_unique().cast(pl.Int64).alias("n_subjects"),
        )
        .sort("cluster")
    )
    thinned = table.gather_every(max(1, -(-table.height // _POOL)))
    return ClusterTables(thinned, sizes, sources, dict(read_provenance(path).settings))


Key = tuple[str, int]


def read_thumbnails(tiles: pl.DataFrame, found: ClusterTables) -> tuple[dict[Key, Thumbnail], list[str]]:
    """Read small pictures of tiles from the images they were cut from.

    Args:
        tiles: Columns of `ADDRESS_SCHEMA`.
        found: The folder's tables.

    Returns:
        (image_id, region) → (h, w, 3) uint8, at most `SHOWN_PX` long, and sentences on what could not be read.
    """
    paths = dict(found.sources.select("image_id", "path").iter_rows())
    thumbnails: dict[Key, Thumbnail] = {}
    unread: list[str] = []
    wanted = tiles.unique(["image_id", "region"]).sort("image_id", "region")
    for image_id in wanted["image_id"].unique(maintain_order=True).to_list():
        mine = wanted.filter(pl.col("image_id") == image_id).rows(named=True)
        try:
            if image_id not in paths:
                raise MissingFile("sources.parquet does not list it", where=image_id)
            pictures = _read_tiles(Path(paths[image_id]), mine, found.settings)
        except StromaError:
            unread.append(image_id)
            continue
        thumbnails.update({(image_id, row["region"]): p for row, p in zip(mine, pictures, strict=True)})
    if not unread:
        return thumbnails, []
    return thumbnails, [
        f"The files of {count(len(unread), 'image')} could not be read (moved, or no RGB of 8 bit), so none of their "
        "tiles is shown."
    ]


def _read_tiles(path: Path, rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[Thumbnail]:
    if path.is_dir():
        return [_read_tile_file(path, row) for row in rows]
    with open_source(path, settings) as image:
        return [_read_tile(image, row) for row in rows]


def _read_tile(image: Image, row: dict[str, Any]) -> Thumbnail:
    level = image.level_for(max(row["w"], row["h"]) / SHOWN_PX)
    tile = image.read(row["x"], row["y"], row["w"], row["h"], level=level)
    return shrink(rgb(tile, where=image.path), SHOWN_PX)


def _read_tile_file(folder: Path, row: dict[str, Any]) -> Thumbnail:
    """A tile that is a file of its own, named by its address, in a folder that stands for the slide."""
    name = f"x{row['x']}_y{row['y']}_w{row['w']}_h{row['h']}"
    found = [
        file for place in (folder, folder / "tiles", folder / "images") for file in sorted(place.glob(f"{name}.*"))
    ]
    if not found:
        raise MissingFile(f"holds no tile {name}", where=folder)
    with open_source(found[0], {}) as image:
        return shrink(rgb(image.read(), where=found[0]), SHOWN_PX)


def _add_mosaic(
    report: Report,
    found: ClusterTables,
    shown: dict[int, pl.DataFrame],
    thumbnails: dict[Key, Thumbnail],
    group: str,
    counts: str,
) -> None:
    colours, own = cluster_colours(shown), _each_its_own(found.sources)
    rows = []
    for size in found.sizes.rows(named=True):
        drawn = [
            row for row in shown[size["cluster"]].rows(named=True) if (row["image_id"], row["region"]) in thumbnails
        ]
        rows.append(
            ClusterTiles(
                colour=colours[size["cluster"]],
                thumbnails=tuple(thumbnails[row["image_id"], row["region"]] for row in drawn),
                names=tuple(f"{row['image_id']}, x {row['x']:,}, y {row['y']:,}" for row in drawn),
                **(size | ({"n_subjects": None} if own else {})),
            )
        )
    section = report.section("Clusters", group=group)
    section.figure(
        mosaic_figure(rows),
        "clusters",
        caption=f"Tiles of each cluster ({counts}).",
        reading="A row is a cluster; its numbers count all its tiles. The tiles shown are drawn at random, subjects "
        "in turn and their images in turn, and are not chosen for being typical. Hover for image and position.",
        otherwise="There are no clusters, or none of their tiles could be read.",
    )
    section.table(
        found.sizes.with_columns((pl.col("n_tiles") / pl.col("n_tiles").sum()).alias("fraction")),
        "cluster-sizes",
        caption="What each cluster holds.",
        headers={"cluster": "Cluster", "n_tiles": "Tiles", "fraction": "Fraction", "n_images": "Images",
                 **({} if own else {"n_subjects": "Subjects"})},
        otherwise="There are no clusters.",
    )  # fmt: skip


def _add_map(
    report: Report,
    found: ClusterTables,
    dots: pl.DataFrame,
    thumbnails: dict[Key, Thumbnail],
    group: str,
    n_tiles: int,
) -> None:
    pictures = {
        place: thumbnails[key]
        for place, key in enumerate(dots.select("image_id", "region").iter_rows())
        if key in thumbnails
    }
    drawn = count(n_tiles, "tile")
    if dots.height < n_tiles:
        drawn = f"{dots.height:,} of {drawn}, drawn at random"
    projection = str(found.settings.get("projection", "")).upper() or "a projection"
    report.section("Feature map", group=group).figure(
        feature_map_figure(dots, pictures),
        "feature-map",
        caption=f"The features in two dimensions ({projection}): {drawn}; {len(pictures):,} dots show their tile.",
        reading="A dot is a tile, its colour the cluster. Hover over a large dot for its tile. On paper, tiles lie "
        "centred on their own dots, and are left out where they would cover each other. The axes have no unit; two "
        "dimensions cannot keep all distances, so tiles that lie close together here need not be alike.",
        otherwise="There are no tiles to map.",
    )


def _add_proportions(report: Report, folder: Path, group: str, own: bool) -> None:
    path = folder / "proportions.parquet"
    section = report.section("Proportions", group=group)
    table = read_table(path) if path.is_file() else None
    n_images, n_subjects = (0, 0) if table is None else (table["image_id"].n_unique(), table["subject_id"].n_unique())
    unit = "image" if n_images <= MOST_BARS else "subject (the mean of its images)"
    subjects = "unknown subjects" if own else count(n_subjects, "subject")
    together = "" if own else "; images of one subject stand together"
    section.figure(
        proportions_figure(table) if table is not None else None,
        "proportions",
        caption=f"Fraction of the tiles of each {unit} in each cluster ({count(n_images, 'image')}, {subjects}).",
        reading="A bar is one " + (f"image{together}." if n_images <= MOST_BARS else "subject."),
        otherwise="The folder has no table of proportions.",
    )


def _limits(found: ClusterTables) -> list[str]:
    sentences = []
    if found.settings.get("encoder", {}).get("weights") == RANDOM:
        sentences.append("The encoder has random weights: these clusters say nothing about the tissue.")
    sentences.append(
        "The number of clusters was given, not found. Clusters are groups of similar features; whether they are "
        "kinds of tissue is for a reader to judge, and staining or scanner can make groups of their own."
    )
    empty = int(found.settings.get("clusters", 0)) - found.sizes.height
    if empty > 0:
        sentences.append(f"{count(empty, 'cluster')} of those asked for holds no tile and stands in no figure.")
    few = found.sizes.filter(pl.col("n_subjects") == 1)["cluster"].to_list()
    if few and found.sources["subject_id"].n_unique() > 1:
        names = ", ".join(cluster_name(c) for c in few)
        unit = "image" if _each_its_own(found.sources) else "subject"
        sentences.append(f"All tiles of {names} come from one {unit}: it may show that {unit} rather than a tissue.")
    if _each_its_own(found.sources):
        sentences.append("It is not known whose the images are, so each counts as a subject of its own.")
    return sentences
