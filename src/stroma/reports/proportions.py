"""How much of each image, or each subject, lies in which cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure as Canvas

from stroma.features.proportions import subject_proportions
from stroma.reports.clusters import cluster_colours, cluster_name
from stroma.reports.figure import QUIET, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style

MOST_BARS = 40
"""From more images than this, the bars are subjects (means over their images)."""


def proportions_figure(proportions: pl.DataFrame) -> Figure | None:
    """Draw one stacked bar an image, grouped by subject; or one a subject where there are many images.

    Args:
        proportions: Columns image_id, subject_id, cluster, fraction (0-1, null for images without tiles), n_tiles.

    Returns:
        The figure, or None without rows. Its table has subject_id, image_id (null for subjects), cluster, fraction.
    """
    known = proportions.filter(pl.col("fraction").is_not_null())
    if known.is_empty():
        return None
    by_image = known["image_id"].n_unique() <= MOST_BARS
    if not by_image:
        known = subject_proportions(known).with_columns(pl.lit(None, pl.String).alias("image_id"))
    table = known.select("subject_id", "image_id", "cluster", "fraction")
    table = table.sort("subject_id", "image_id", "cluster")
    bars = table.select("subject_id", "image_id").unique(maintain_order=True).rows()
    colours = cluster_colours(table["cluster"].to_list())
    fractions = {(s, i, c): f for s, i, c, f in table.iter_rows()}
    unit = "image" if by_image else "subject"
    return Figure(
        interactive=_interactive(bars, colours, fractions, by_image),
        static=_static(bars, colours, fractions, by_image),
        table=table,
        text=f"Fractions of {count(len(colours), 'cluster')} in {count(len(bars), unit)}",
        min_width_px=560,
    )


Bars = Sequence[tuple[str, str | None]]
Fractions = Mapping[tuple[str, str | None, int], float]


def _names(bars: Bars, by_image: bool) -> list[str]:
    return [str(image) if by_image else subject for subject, image in bars]


def _positions(bars: Bars, by_image: bool) -> list[float]:
    """Bars one under the other, with a gap between subjects."""
    positions, place = [], 0.0
    for number, (subject, _) in enumerate(bars):
        if number:
            place += 1.5 if by_image and subject != bars[number - 1][0] else 1.0
        positions.append(place)
    return positions


def _interactive(bars: Bars, colours: Mapping[int, str], fractions: Fractions, by_image: bool) -> Any:
    positions = _positions(bars, by_image)
    figure = plotly_figure(barmode="stack", height=int(150 + 24 * (positions[-1] + 1)))
    names = [plotly_text(name) for name in _names(bars, by_image)]
    subjects = [plotly_text(subject) for subject, _ in bars]
    for cluster, colour in colours.items():
        figure.add_bar(
            x=[fractions.get((*bar, cluster), 0.0) for bar in bars], y=positions, orientation="h", width=0.82,
            name=cluster_name(cluster), marker={"color": colour, "line": {"width": 0}},
            customdata=[list(pair) for pair in zip(names, subjects, strict=True)],
            hovertemplate=f"<b>{cluster_name(cluster)}</b> %{{x:.3f}}<br>%{{customdata[0]}}<br>"
            "subject %{customdata[1]}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 50, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        xaxis={"title": {"text": "Fraction of tiles"}, "range": [0, 1.002]},
        yaxis={
            "tickvals": positions, "ticktext": names, "range": [positions[-1] + 0.6, -0.6], "automargin": True,
            "showgrid": False, "tickfont": {"size": 11},
        },
    )  # fmt: skip
    return figure


def _static(bars: Bars, colours: Mapping[int, str], fractions: Fractions, by_image: bool) -> Canvas:
    positions = _positions(bars, by_image)
    legend_rows = -(-len(colours) // 8)
    bar_in = min(0.19, 8.0 / (positions[-1] + 1))
    with static_style():
        canvas = Canvas(
            figsize=(WIDTH_IN, 0.65 + 0.18 * legend_rows + bar_in * (positions[-1] + 1.2)), layout="constrained"
        )
        axes = canvas.add_subplot()
        starts = [0.0] * len(bars)
        for cluster, colour in colours.items():
            widths = [fractions.get((*bar, cluster), 0.0) for bar in bars]
            axes.barh(positions, widths, left=starts, height=0.82, color=colour, label=cluster_name(cluster))
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        axes.set_yticks(positions, [_shorten(name) for name in _names(bars, by_image)])
        axes.tick_params(axis="y", length=0, labelsize=min(7, 62 * bar_in * 0.72))
        axes.set_ylim(positions[-1] + 0.6, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Fraction of tiles")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        canvas.legend(loc="outside upper center", ncols=min(8, len(colours)), handlelength=1.0, columnspacing=1.0)
    return canvas


def _shorten(name: str, longest: int = 42) -> str:
    return name if len(name) <= longest else f"{name[:20]}…{name[-21:]}"
