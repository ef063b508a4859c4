"""Values of subjects in groups: a point a subject, joined where it is in several, the mean with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from plotly.subplots import make_subplots

from stroma.evaluation.comparison import Comparison
from stroma.evaluation.mean_tests import mean_interval
from stroma.evaluation.wording import label_title, number, p_text
from stroma.reports.figure import GRID, INK, QUIET, WIDTH_IN, Figure, plotly_figure, plotly_text, static_style

_COLOURS = ("#33658a", "#c8553d", "#5a8f5a", "#8f6aa8", "#b58b00", "#2a9d8f", "#9c4a6b", "#5c6b73")
_COLUMNS = 4
MOST_PANELS = 40
"""Labels beyond these are in the tables only."""


@dataclass(frozen=True)
class _Panel:
    """What is drawn of one label."""

    title: str
    below: str
    values: list[dict[str, float]]
    means: list[tuple[float, float, float]]
    lines: list[tuple[str, list[tuple[float, float]]]]
    used: frozenset[str]

    def opacities(self, group: int) -> list[float]:
        """Subjects that the test did not use are pale."""
        return [0.85 if subject in self.used else 0.3 for subject in self.values[group]]


def comparison_figure(comparison: Comparison, value: str, by: str | None = None) -> Figure:
    """Draw the values of all subjects in all groups, one panel a label.

    Args:
        comparison: The comparison.
        value: Name of the value, for the axis.
        by: What the labels are, for titles such as `cluster 3`.

    Returns:
        The figure. Its table has by, group, subject_id, value, and where a mean is drawn its interval.
    """
    labels = comparison.values.labels[:MOST_PANELS]
    panels = [_panel(comparison, label, by) for label in labels]
    table = comparison.values.table.filter(pl.col("by").is_in(labels) & pl.col("group").is_in(comparison.groups))
    described = "; ".join(
        (f"{panel.title}: " if panel.title else "")
        + ", ".join(f"{g} {number(mean[0])}" for g, mean in zip(comparison.groups, panel.means, strict=True))
        for panel in panels
    )
    return Figure(
        interactive=_interactive(panels, comparison, value),
        static=_static(panels, comparison, value),
        table=table.select("by", "group", "subject_id", "value", "n_images", "n_rows"),
        text=f"{value} of subjects in {len(comparison.groups)} groups. Means: {described}",
        min_width_px=560,
    )


def _panel(comparison: Comparison, label: str, by: str | None) -> _Panel:
    mine = comparison.values.table.filter(pl.col("by") == label)
    values = []
    for group in comparison.groups:
        rows = mine.filter(pl.col("group") == group).select("subject_id", "value")
        values.append(dict(sorted(rows.iter_rows())))
    used = set.intersection(*map(set, values)) if comparison.paired else set().union(*values)
    means = []
    for found in values:
        array = np.array([value for subject, value in found.items() if subject in used], dtype=np.float64)
        low, high = mean_interval(array)
        means.append((float(array.mean()) if len(array) else float("nan"), low, high))
    rows = comparison.table.filter(pl.col("by") == label)
    main = rows.sort(pl.col("kind") != "groups", maintain_order=True).row(0, named=True)
    p = main["p_corrected"]
    family = comparison.table.filter(pl.col("kind") == main["kind"])["p"].count()
    corrected = " corrected" if comparison.correction != "none" and family > 1 else ""
    below = "not tested" if p is None else f"{p_text(p)}{corrected}"
    places = _places(values)
    lines = []
    subjects = sorted(set().union(*values))
    for subject in subjects:
        points = [(places[i][subject], found[subject]) for i, found in enumerate(values) if subject in found]
        if len(points) > 1:
            lines.append((subject, points))
    return _Panel(label_title(label, by), below, values, means, lines, frozenset(used))


def _places(values: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Where on the axis each point stands: side by side in a group, so that equal values can be told apart.

    A subject stands at the same place in every group, so that lines between groups do not cross without need.
    """
    subjects = sorted(set().union(*values))
    width = min(0.3, 0.04 * len(subjects))
    shift = {s: (i / max(1, len(subjects) - 1) - 0.5) * width for i, s in enumerate(subjects)}
    if len(subjects) == 1:
        shift = dict.fromkeys(subjects, 0.0)
    return [{subject: position + shift[subject] for subject in found} for position, found in enumerate(values)]


def _beside(group: int) -> float:
    """Where the mean of a group stands: left of the first, right of the others, clear of the lines between two."""
    return group - 0.3 if group == 0 else group + 0.3


def _grid(panels: Sequence[_Panel]) -> tuple[int, int]:
    columns = min(_COLUMNS, len(panels))
    return math.ceil(len(panels) / columns), columns


def _static(panels: Sequence[_Panel], comparison: Comparison, value: str) -> Canvas:
    rows, columns = _grid(panels)
    groups = comparison.groups
    width = min(WIDTH_IN, columns * max(2.4, 0.55 * len(groups) + 1.2) + 0.4)
    legend = sum(map(len, groups)) * columns > 10 * width  # letters of this size that fit below the panels
    height = 0.5 + 2.1 * rows + (0.16 * math.ceil(len(groups) / _legend_columns(groups)) if legend else 0)
    with static_style():
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(rows, columns, sharey=True, squeeze=False)
        for place, cell in enumerate(axes.flat):
            if place >= len(panels):
                cell.set_visible(False)
                continue
            panel = panels[place]
            for _, points in panel.lines:
                cell.plot(*zip(*points, strict=True), color=QUIET, alpha=0.45, linewidth=0.7, zorder=2)
            for i, (found, at) in enumerate(zip(panel.values, _places(panel.values), strict=True)):
                colour = _COLOURS[i % len(_COLOURS)]
                cell.scatter(
                    [at[s] for s in found],
                    list(found.values()),
                    s=14,
                    color=colour,
                    alpha=panel.opacities(i),
                    linewidths=0,
                    zorder=3,
                )
                mean, low, high = panel.means[i]
                x = _beside(i)
                if np.isfinite(mean):
                    cell.plot([x - 0.06, x + 0.06], [mean, mean], color=INK, linewidth=1.6, zorder=4)
                if np.isfinite(low):
                    cell.plot([x, x], [low, high], color=INK, linewidth=1.1, zorder=4)
            title = f"{panel.title}\n{panel.below}" if panel.title else panel.below
            cell.set_title(title, fontsize=7.5)
            cell.set_xlim(-0.5, len(groups) - 0.4)
            cell.set_xticks(range(len(groups)), [""] * len(groups) if legend else groups)
            cell.tick_params(axis="x", length=0)
            cell.grid(axis="y", color=GRID)
        if legend:
            marks = [Line2D([], [], marker="o", linestyle="", markersize=4, color=_COLOURS[i % len(_COLOURS)])
                     for i in range(len(groups))]  # fmt: skip
            canvas.legend(marks, groups, loc="outside upper center", ncols=_legend_columns(groups), handletextpad=0.2)
        canvas.supylabel(value, fontsize=8, color=INK)
    return canvas


def _legend_columns(groups: Sequence[str]) -> int:
    return max(1, min(len(groups), int(90 / (max(map(len, groups)) + 4))))


def _interactive(panels: Sequence[_Panel], comparison: Comparison, value: str) -> Any:
    rows, columns = _grid(panels)
    titles = [
        (f"<b>{plotly_text(panel.title)}</b><br>" if panel.title else "") + f"{plotly_text(panel.below)}"
        for panel in panels
    ]
    figure = make_subplots(
        rows=rows, cols=columns, shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.03,
        vertical_spacing=min(0.3, 80 / (60 + 280 * rows)), figure=plotly_figure(),
    )  # fmt: skip
    names = [plotly_text(group) for group in comparison.groups]
    for number_, panel in enumerate(panels):
        place = {"row": number_ // columns + 1, "col": number_ % columns + 1}
        for subject, points in panel.lines:
            figure.add_scatter(
                x=[x for x, _ in points], y=[y for _, y in points], mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": "rgba(97,110,124,0.45)", "width": 1}, name=plotly_text(subject), **place,
            )  # fmt: skip
        for i, (found, at) in enumerate(zip(panel.values, _places(panel.values), strict=True)):
            figure.add_scatter(
                x=[at[s] for s in found], y=list(found.values()), mode="markers", showlegend=False,
                marker={"color": _COLOURS[i % len(_COLOURS)], "size": 8, "opacity": panel.opacities(i)},
                text=[plotly_text(s) for s in found],
                hovertemplate=f"subject %{{text}}<br>{names[i]}: %{{y:.4g}}<extra></extra>", **place,
            )  # fmt: skip
            mean, low, high = panel.means[i]
            if np.isfinite(mean):
                bar = {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low],
                       "color": INK, "thickness": 2, "width": 0}  # fmt: skip
                figure.add_scatter(
                    x=[_beside(i)], y=[mean], mode="markers", showlegend=False,
                    marker={"symbol": "line-ew", "size": 12, "line": {"width": 3, "color": INK}},
                    error_y=bar if np.isfinite(low) else None,
                    hovertemplate=f"{names[i]}: mean %{{y:.4g}}<extra></extra>", **place,
                )  # fmt: skip
    many = sum(map(len, names)) * columns > 100
    for i, name in enumerate(names if many else ()):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=name, marker={"color": _COLOURS[i % len(_COLOURS)], "size": 8}
        )
    figure.update_xaxes(
        tickvals=[] if many else list(range(len(names))), ticktext=names, range=[-0.5, len(names) - 0.4],
        showgrid=False,
    )  # fmt: skip
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 0.99, "yanchor": "top", "yref": "container"})
    figure.update_yaxes(title={"text": plotly_text(value), "standoff": 12}, automargin=True, col=1)
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        height=110 + 280 * rows, margin={"l": 70, "r": 20, "t": 100 if many else 60, "b": 60}, hovermode="closest"
    )
    return figure
