"""A mosaic of clusters: a row of tiles for each cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stroma.reports.clusters import cluster_name
from stroma.reports.figure import (
    WIDTH_IN,
    Figure,
    count,
    data_uri,
    plotly_figure,
    plotly_text,
    shrink,
    static_style,
)

SHOWN_PX = 112
"""Longer side of a shown tile."""
_LABEL = 0.17
_GAP = 0.006


@dataclass(frozen=True)
class ClusterTiles:
    """A row of the mosaic.

    Attributes:
        cluster: Its number.
        colour: `#rrggbb`.
        n_tiles, n_images, n_subjects: What the cluster holds, in all; n_subjects is None where they are unknown.
        thumbnails: The shown tiles, (h, w, 3) uint8 each.
        names: What each shown tile is (image and position), as many as thumbnails.
    """

    cluster: int
    colour: str
    n_tiles: int
    n_images: int
    n_subjects: int | None
    thumbnails: tuple[NDArray[np.uint8], ...]
    names: tuple[str, ...]


def mosaic_figure(clusters: Sequence[ClusterTiles]) -> Figure | None:
    """Draw the clusters one under the other.

    Args:
        clusters: From top to bottom.

    Returns:
        The figure, or None without any thumbnail. Its table has cluster, n_tiles, n_images, n_subjects, position
        and tile.
    """
    columns = max((len(entry.thumbnails) for entry in clusters), default=0)
    if columns == 0:
        return None
    side = (1 - _LABEL) / max(columns, 4)
    height = side * len(clusters)
    rows = [
        (entry.cluster, entry.n_tiles, entry.n_images, entry.n_subjects, position, name)
        for entry in clusters
        for position, name in enumerate(entry.names)
    ]
    schema = ["cluster", "n_tiles", "n_images", "n_subjects", "position", "tile"]
    return Figure(
        interactive=_interactive(clusters, side, height),
        static=_static(clusters, side, height),
        table=pl.DataFrame(rows, schema=schema, orient="row"),
        text=f"Tiles of {count(len(clusters), 'cluster')}: "
        + "; ".join(f"{cluster_name(entry.cluster)}, {count(entry.n_tiles, 'tile')}" for entry in clusters),
        aspect=1 / (height + 0.04),
        min_width_px=640,
    )


def _lines(entry: ClusterTiles) -> tuple[str, ...]:
    lines = (count(entry.n_tiles, "tile"), count(entry.n_images, "image"))
    return lines if entry.n_subjects is None else (*lines, count(entry.n_subjects, "subject"))


def _fit(thumbnail: NDArray[np.uint8], cell: float) -> tuple[float, float]:
    """Width and height of a thumbnail in a square cell, its shape kept."""
    height, width = thumbnail.shape[:2]
    scale = (cell - _GAP) / max(height, width)
    return width * scale, height * scale


def _interactive(clusters: Sequence[ClusterTiles], side: float, height: float) -> Any:
    figure = plotly_figure(margin={"l": 0, "r": 0, "t": 34, "b": 0}, hovermode="closest", showlegend=False)
    for row, entry in enumerate(clusters):
        top = row * side
        figure.add_shape(
            type="rect",
            x0=0,
            x1=0.012,
            y0=top + _GAP / 2,
            y1=top + side - _GAP / 2,
            fillcolor=entry.colour,
            line_width=0,
        )
        figure.add_annotation(
            x=0.02, y=top + side / 2, xanchor="left", yanchor="middle", align="left", showarrow=False,
            text=f"<b>{cluster_name(entry.cluster)}</b><br>" + "<br>".join(_lines(entry)), font={"size": 12},
        )  # fmt: skip
        centres = [_LABEL + (column + 0.5) * side for column in range(len(entry.thumbnails))]
        for centre, thumbnail in zip(centres, entry.thumbnails, strict=True):
            w, h = _fit(thumbnail, side)
            figure.add_layout_image(
                source=data_uri(shrink(thumbnail, SHOWN_PX)), xref="x", yref="y", x=centre - w / 2,
                y=top + side / 2 - h / 2, sizex=w, sizey=h, sizing="stretch", layer="below",
            )  # fmt: skip
        figure.add_scatter(
            x=centres, y=[top + side / 2] * len(centres), mode="markers", opacity=0,
            marker={"size": 40, "color": entry.colour}, text=[plotly_text(name) for name in entry.names],
            hovertemplate=f"<b>{cluster_name(entry.cluster)}</b><br>%{{text}}<extra></extra>",
        )  # fmt: skip
    hidden = {"visible": False, "showgrid": False}
    figure.update_layout(
        xaxis={"range": [0, 1], **hidden},
        yaxis={"range": [height, 0], "scaleanchor": "x", "constrain": "domain", **hidden},
    )
    return figure


def _static(clusters: Sequence[ClusterTiles], side: float, height: float) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, WIDTH_IN * height))
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(height, 0)
        for row, entry in enumerate(clusters):
            top = row * side
            axes.add_patch(Rectangle((0, top + _GAP / 2), 0.012, side - _GAP, facecolor=entry.colour, linewidth=0))
            middle = top + side / 2
            for line, text in enumerate((cluster_name(entry.cluster), *_lines(entry))):
                axes.annotate(
                    text, (0.02, middle), (0, 12.5 - 8.5 * line), textcoords="offset points", va="center",
                    fontsize=6.5 if line else 7, fontweight="normal" if line else "bold",
                )  # fmt: skip
            for column, thumbnail in enumerate(entry.thumbnails):
                w, h = _fit(thumbnail, side)
                left, upper = _LABEL + (column + 0.5) * side - w / 2, middle - h / 2
                axes.imshow(
                    shrink(thumbnail, SHOWN_PX),
                    extent=(left, left + w, upper + h, upper),
                    interpolation="none",
                    aspect="auto",
                )
        axes.set_xlim(0, 1)
        axes.set_ylim(height, 0)
    return canvas
