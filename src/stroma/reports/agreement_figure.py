"""Bland-Altman plot: differences of two measurements over their mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from stroma.reports.figure import GRID, INK, QUIET, WIDTH_IN, Figure, plotly_figure, plotly_text, static_style

_MOST_DOTS = 3000
_PIXEL, _RECORDING = "#8fb3cc", "#1f4e79"


def agreement_figure(
    name: str,
    pixels: NDArray[np.float32],
    recordings: pl.DataFrame,
    overall: Mapping[str, Any],
    names: tuple[str, str],
) -> Figure:
    """Draw the differences of one parameter.

    Args:
        name: The parameter.
        pixels: (n, 2) values of single pixels, by both.
        recordings: `image_id, mean, mean_reference, bias, n_pixels`.
        overall: `bias, low, high`.
        names: What was compared with what.

    Returns:
        The figure; its table has the recordings.
    """
    lines = {"bias": overall["bias"], "lower limit": overall["low"], "upper limit": overall["high"]}
    titles = (f"Mean of both, {name}", f"{name}: {names[0]} − {names[1]}")
    pixels = pixels[:: max(1, len(pixels) // _MOST_DOTS)]
    mean, difference = pixels.mean(axis=1), pixels[:, 0] - pixels[:, 1]
    x = ((recordings["mean"] + recordings["mean_reference"]) / 2).to_numpy()
    y = recordings["bias"].to_numpy()
    table = recordings.select("image_id", "mean", "mean_reference", "bias", "n_pixels")
    return Figure(
        interactive=_interactive((mean, difference), (x, y), recordings, lines, titles),
        static=_static((mean, difference), (x, y), lines, titles),
        table=table,
        text=f"{name}: bias {overall['bias']:.3f}, limits of agreement {overall['low']:.3f} to {overall['high']:.3f}",
        min_width_px=560,
    )


def _interactive(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
    recordings: tuple[NDArray[np.float64], NDArray[np.float64]],
    table: pl.DataFrame,
    lines: Mapping[str, float],
    titles: tuple[str, str],
) -> Any:
    figure = plotly_figure(
        xaxis={"title": {"text": plotly_text(titles[0])}}, yaxis={"title": {"text": plotly_text(titles[1])}},
        height=430, showlegend=False, hovermode="closest", margin={"l": 75, "r": 145, "t": 20, "b": 55},
    )  # fmt: skip
    figure.add_scatter(
        x=pixels[0],
        y=pixels[1],
        mode="markers",
        hoverinfo="skip",
        marker={"size": 3, "color": _PIXEL, "opacity": 0.4},
    )
    figure.add_scatter(
        x=recordings[0], y=recordings[1], mode="markers", marker={"size": 9, "color": _RECORDING},
        text=[plotly_text(image_id) for image_id in table["image_id"]],
        hovertemplate="<b>%{text}</b><br>mean %{x:.3f}, bias %{y:+.3f}<extra></extra>",
    )  # fmt: skip
    for label, value in lines.items():
        dash = "solid" if label == "bias" else "dash"
        figure.add_hline(y=value, line={"color": INK, "width": 1.4, "dash": dash})
        figure.add_annotation(
            text=f"{label} {value:+.3f}",
            x=1.01,
            xref="paper",
            xanchor="left",
            y=value,
            yanchor="middle",
            showarrow=False,
        )
    return figure


def _static(
    pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
    recordings: tuple[NDArray[np.float64], NDArray[np.float64]],
    lines: Mapping[str, float],
    titles: tuple[str, str],
) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN * 0.75, 3.3), layout="constrained")
        axes = canvas.subplots()
        axes.scatter(*pixels, s=2, color=_PIXEL, alpha=0.4, linewidths=0, zorder=2, rasterized=True)
        axes.scatter(*recordings, s=22, color=_RECORDING, edgecolors="white", linewidths=0.5, zorder=4)
        axes.axhline(0, color=QUIET, linewidth=0.6, zorder=1)
        for label, value in lines.items():
            axes.axhline(value, color=INK, linewidth=0.9, linestyle="-" if label == "bias" else "--", zorder=3)
            axes.annotate(
                f"{label} {value:+.3f}", (1, value), (4, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=7,
            )  # fmt: skip
        axes.set_xlabel(titles[0])
        axes.set_ylabel(titles[1])
        axes.grid(color=GRID)
    return canvas
