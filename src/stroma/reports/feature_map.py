"""The 2-D map of tile features: one dot a tile, tiles themselves on hover and, without overlap, on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stroma.reports.clusters import cluster_colours, cluster_name
from stroma.reports.figure import (
    GRID,
    WIDTH_IN,
    Figure,
    count,
    data_uri,
    plotly_figure,
    plotly_text,
    shrink,
    static_style,
)

HOVER_PX = 64
"""Longer side of a tile shown on hover."""
_HEIGHT_IN = 5.6
_THUMBNAIL_IN = 0.34


def feature_map_figure(tiles: pl.DataFrame, thumbnails: Mapping[int, NDArray[np.uint8]]) -> Figure | None:
    """Draw the map.

    Args:
        tiles: Columns image_id, subject_id, x, y, cluster, x2d, y2d; a row without finite coordinates is left out.
        thumbnails: Row number in `tiles` → its tile, (h, w, 3) uint8. Rows without one get a dot only.

    Returns:
        The figure, or None without any row. Its table holds the drawn rows.
    """
    numbered = tiles.with_row_index("_row").filter(
        pl.col("x2d").is_not_null()
        & pl.col("x2d").is_finite()
        & pl.col("y2d").is_not_null()
        & pl.col("y2d").is_finite()
    )
    if numbered.is_empty():
        return None
    clusters = numbered["cluster"].unique().sort().to_list()
    colours = cluster_colours(clusters)
    return Figure(
        interactive=_interactive(numbered, thumbnails, colours),
        static=_static(numbered, thumbnails, colours),
        table=numbered.drop("_row"),
        text=f"Feature map of {count(numbered.height, 'tile')} in {count(len(clusters), 'cluster')}",
        aspect=1.25,
        min_width_px=560,
    )


def place_without_overlap(points: NDArray[np.float64], size: tuple[float, float]) -> list[int]:
    """Choose points, in order, so that boxes of `size` centred on them do not overlap.

    Args:
        points: (n, 2) x and y.
        size: Width and height of a box in the units of the points.

    Returns:
        Positions of the chosen points. A point is left out only if its box would overlap a chosen one's.
    """
    chosen: list[int] = []
    for position, point in enumerate(points):
        apart = np.abs(points[chosen] - point) >= np.asarray(size) if chosen else np.ones((1, 2), bool)
        if bool(apart.any(axis=1).all()):
            chosen.append(position)
    return chosen


def _interactive(tiles: pl.DataFrame, thumbnails: Mapping[int, NDArray[np.uint8]], colours: Mapping[int, str]) -> Any:
    figure = plotly_figure(hovermode="closest", meta={"hover": "tile"}, margin={"l": 20, "r": 10, "t": 40, "b": 40})
    for cluster, colour in colours.items():
        mine = tiles.filter(pl.col("cluster") == cluster)
        data = [
            [
                plotly_text(row["image_id"]),
                plotly_text(row["subject_id"]),
                f"x {row['x']:,}, y {row['y']:,}",
                data_uri(shrink(thumbnails[row["_row"]], HOVER_PX), kind="webp", quality=70)
                if row["_row"] in thumbnails
                else "",
            ]
            for row in mine.to_dicts()
        ]
        figure.add_scatter(
            x=mine["x2d"].to_numpy().astype(np.float32), y=mine["y2d"].to_numpy().astype(np.float32), mode="markers",
            name=cluster_name(cluster), customdata=data,
            marker={
                "size": [8 if entry[-1] else 5 for entry in data], "color": colour,
                "opacity": [0.9 if entry[-1] else 0.45 for entry in data],
            },
            hovertemplate=f"<b>{cluster_name(cluster)}</b><br>image %{{customdata[0]}}<br>subject %{{customdata[1]}}"
            "<br>%{customdata[2]}<extra></extra>",
        )  # fmt: skip
    plain = {"showticklabels": False, "ticks": ""}
    figure.update_layout(
        xaxis={"title": {"text": "Map axis 1 (no unit)"}, **plain},
        yaxis={"title": {"text": "Map axis 2 (no unit)"}, **plain},
    )
    return figure


def _static(tiles: pl.DataFrame, thumbnails: Mapping[int, NDArray[np.uint8]], colours: Mapping[int, str]) -> Canvas:
    points = tiles.select("x2d", "y2d").to_numpy().astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    low, high = low - 0.06 * span, high + 0.06 * span
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, _HEIGHT_IN))
        axes = canvas.add_axes((0.04, 0.13, 0.94, 0.85))
        for cluster, colour in colours.items():
            mine = tiles.filter(pl.col("cluster") == cluster)
            axes.scatter(
                mine["x2d"].to_list(), mine["y2d"].to_list(), s=7, color=colour, alpha=0.75, linewidths=0,
                label=cluster_name(cluster),
            )  # fmt: skip
        inches = np.asarray([0.94 * WIDTH_IN, 0.85 * _HEIGHT_IN])
        size = _THUMBNAIL_IN * (high - low) / inches
        _draw_thumbnails(axes, tiles, thumbnails, colours, points, (float(size[0]), float(size[1])))
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(color=GRID)
        axes.set_xlabel("Map axis 1 (no unit)")
        axes.set_ylabel("Map axis 2 (no unit)")
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=min(8, len(colours)), markerscale=2,
            handletextpad=0.2, columnspacing=1.0,
        )  # fmt: skip
    return canvas


def _draw_thumbnails(
    axes: Any,
    tiles: pl.DataFrame,
    thumbnails: Mapping[int, NDArray[np.uint8]],
    colours: Mapping[int, str],
    points: NDArray[np.float64],
    size: tuple[float, float],
) -> None:
    """Tiles in frames of their cluster's colour, over their dots."""
    rows: Sequence[int] = tiles["_row"].to_list()
    pictured = [position for position, row in enumerate(rows) if row in thumbnails]
    spaced = (size[0] * 1.12, size[1] * 1.12)
    for chosen in place_without_overlap(points[pictured], spaced):
        position = pictured[chosen]
        x, y = points[position] - np.asarray(size) / 2
        picture = shrink(thumbnails[rows[position]], 96)
        axes.imshow(picture, extent=(x, x + size[0], y, y + size[1]), aspect="auto", interpolation="none", zorder=3)
        axes.add_patch(
            Rectangle(
                (x, y), *size, fill=False, edgecolor=colours[tiles["cluster"][position]], linewidth=1.2, zorder=4
            )
        )
