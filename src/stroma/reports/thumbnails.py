"""Small pictures of images in rows, framed by what was found out about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stroma.reports.figure import WIDTH_IN, Figure, count, data_uri, plotly_figure, plotly_text, static_style

COLUMNS = 8
_TEXT = 0.026
_GAP = 0.008
_FRAME = 0.004
_LETTERS = 17


@dataclass(frozen=True)
class Thumbnail:
    """One small picture.

    Attributes:
        picture: (h, w, 3) uint8.
        name: What it shows; cut where it is too long, whole on hover.
        note: What is said about it on hover.
        colour: `#rrggbb` of its frame, or empty for none.
    """

    picture: NDArray[np.uint8]
    name: str
    note: str
    colour: str


def thumbnails_figure(thumbnails: Sequence[Thumbnail]) -> Figure | None:
    """Draw pictures in rows of eight, in the given order; None without any.

    The table of the figure has position, name and note.
    """
    if not thumbnails:
        return None
    side = 1 / COLUMNS
    height = -(-len(thumbnails) // COLUMNS) * (side + _TEXT)
    rows = [(i, thumbnail.name, thumbnail.note) for i, thumbnail in enumerate(thumbnails, 1)]
    return Figure(
        interactive=_interactive(thumbnails, side, height),
        static=_static(thumbnails, side, height),
        table=pl.DataFrame(rows, schema=["position", "name", "note"], orient="row"),
        text=f"Small pictures of {count(len(thumbnails), 'image')}",
        aspect=1 / height,
        min_width_px=720,
    )


def _place(index: int, picture: NDArray[np.uint8], side: float) -> tuple[float, float, float, float]:
    """Left, top, width and height of a picture in its cell, its shape kept."""
    row, column = divmod(index, COLUMNS)
    height, width = picture.shape[:2]
    scale = (side - _GAP) / max(height, width)
    w, h = width * scale, height * scale
    return column * side + (side - w) / 2, row * (side + _TEXT) + (side - h) / 2, w, h


def _short(name: str) -> str:
    """The end of a name, which tells images apart better than its beginning."""
    return name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"


def _interactive(thumbnails: Sequence[Thumbnail], side: float, height: float) -> Any:
    figure = plotly_figure(margin={"l": 0, "r": 0, "t": 0, "b": 0}, hovermode="closest", showlegend=False)
    centres: list[tuple[float, float]] = []
    pictures, frames, names = [], [], []
    for index, thumbnail in enumerate(thumbnails):
        left, top, w, h = _place(index, thumbnail.picture, side)
        pictures.append(
            {"source": data_uri(thumbnail.picture), "xref": "x", "yref": "y", "x": left, "y": top, "sizex": w,
             "sizey": h, "sizing": "stretch", "layer": "below"}
        )  # fmt: skip
        if thumbnail.colour:
            line = {"color": thumbnail.colour, "width": 3}
            frames.append({"type": "rect", "x0": left, "x1": left + w, "y0": top, "y1": top + h, "line": line})
        row, column = divmod(index, COLUMNS)
        centres.append(((column + 0.5) * side, row * (side + _TEXT) + side / 2))
        names.append(
            {"x": centres[-1][0], "y": row * (side + _TEXT) + side, "yanchor": "top", "showarrow": False,
             "text": plotly_text(_short(thumbnail.name)), "font": {"size": 10}}
        )  # fmt: skip
    figure.add_scatter(
        x=[x for x, _ in centres], y=[y for _, y in centres], mode="markers", opacity=0, marker={"size": 60},
        text=[f"<b>{plotly_text(t.name)}</b><br>{plotly_text(t.note)}" for t in thumbnails],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    hidden = {"visible": False, "showgrid": False}
    figure.update_layout(
        images=pictures,
        shapes=frames,
        annotations=names,
        xaxis={"range": [0, 1], **hidden},
        yaxis={"range": [height, 0], "scaleanchor": "x", "constrain": "domain", **hidden},
    )
    return figure


def _static(thumbnails: Sequence[Thumbnail], side: float, height: float) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, WIDTH_IN * height))
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for index, thumbnail in enumerate(thumbnails):
            left, top, w, h = _place(index, thumbnail.picture, side)
            extent = (left, left + w, top + h, top)
            axes.imshow(thumbnail.picture, extent=extent, interpolation="none", aspect="auto")
            if thumbnail.colour:
                frame = Rectangle((left, top), w, h, fill=False, edgecolor=thumbnail.colour, linewidth=1.5)
                axes.add_patch(frame)
            row, column = divmod(index, COLUMNS)
            below = ((column + 0.5) * side, row * (side + _TEXT) + side + _FRAME)
            axes.annotate(_short(thumbnail.name), below, ha="center", va="top", fontsize=5)
        axes.set_xlim(0, 1)
        axes.set_ylim(height, 0)
    return canvas
