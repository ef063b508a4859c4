"""The distribution of a score per class: one dot an image, one line of dots a subject, the mean with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.figure import Figure as Canvas

from stroma.reports.figure import (
    GRID,
    INK,
    QUIET,
    WIDTH_IN,
    Figure,
    plotly_figure,
    plotly_text,
    see_through,
    static_style,
)
from stroma.study.labels import LabelMapping

MEAN = "mean over classes"
_METRICS = {
    "dice": ("Dice", (0.0, 1.0)),
    "nsd": ("Normalised surface Dice", (0.0, 1.0)),
    "accuracy": ("Accuracy", (0.0, 1.0)),
}


def metric_title(metric: str) -> str:
    """How a metric is written: `Dice` for `dice`."""
    return _METRICS[metric][0] if metric in _METRICS else metric.replace("_", " ")


@dataclass(frozen=True)
class _Row:
    """What is drawn for one class."""

    name: str
    colour: str
    dots: pl.DataFrame
    means: pl.DataFrame
    mean: float | None
    low: float | None
    high: float | None
    value_text: str
    count_text: str

    @property
    def summary(self) -> str:
        """Value, interval and counts as one text."""
        return f"{self.value_text} {self.count_text}".rstrip()


def scores_figure(scores: pl.DataFrame, labels: LabelMapping, metric: str = "dice") -> Figure | None:
    """Draw one metric.

    Args:
        scores: Columns of `evaluation.schema.SCORES_SCHEMA`, the rows of one set.
        labels: The classes, which give the order and the colours.
        metric: Which metric.

    Returns:
        The figure, or None when the metric has no value at all. Its table holds the drawn rows of all three scopes.
    """
    chosen = scores.filter((pl.col("metric") == metric) & pl.col("value").is_not_nan())
    if chosen["value"].drop_nulls().is_empty():
        return None
    subjects = chosen["subject_id"].drop_nulls().unique().sort().to_list()
    rows = [_row(chosen, name, labels, subjects) for name in (None, *labels.names)]
    title, limits = _METRICS.get(metric, (metric_title(metric), None))
    lane_height = min(0.6, 0.24 + 0.03 * len(subjects), 8.5 / len(rows))
    return Figure(
        interactive=_interactive(rows, title, limits, lane_height),
        static=_static(rows, title, limits, lane_height),
        table=chosen.sort("scope", "label", "subject_id", "image_id", nulls_last=False),
        text=f"{title} per class: " + "; ".join(f"{row.name} {row.summary}" for row in rows),
        min_width_px=620,
    )


def _row(chosen: pl.DataFrame, name: str | None, labels: LabelMapping, subjects: list[str]) -> _Row:
    """The dots, subject means and the set's mean of one class (None: of the mean over classes)."""
    mine = chosen.filter(pl.col("label").is_null() if name is None else pl.col("label") == name)
    mine = mine.filter(pl.col("value").is_not_null())
    lanes = pl.DataFrame(
        {"subject_id": subjects, "lane": [(j + 0.5) / len(subjects) * 0.66 - 0.42 for j in range(len(subjects))]},
        schema={"subject_id": pl.String, "lane": pl.Float64},
    )
    placed = mine.join(lanes, on="subject_id", how="left").sort("subject_id", "image_id", "value")
    whole = mine.filter(pl.col("scope") == "set").to_dicts()
    entry: dict[str, Any] = whole[0] if whole else {"value": None, "low": None, "high": None}
    return _Row(
        name=MEAN if name is None else name,
        colour=INK if name is None else labels.colour(name),
        dots=placed.filter(pl.col("scope") == "image"),
        means=placed.filter(pl.col("scope") == "subject"),
        mean=entry["value"],
        low=entry["low"],
        high=entry["high"],
        value_text=_value_text(entry),
        count_text="" if entry["value"] is None else f"{entry['n_subjects']} / {entry['n_images']}",
    )


def _value_text(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return "not in the reference"
    interval = f"[{entry['low']:.2f}, {entry['high']:.2f}]" if entry["low"] is not None else "[no interval]"
    return f"{entry['value']:.2f} {interval}"


def _axis_range(rows: list[_Row], limits: tuple[float, float]) -> list[float]:
    """The part of a bounded scale that holds all marks, from a fifth of it, a little wider than the marks."""
    values = [v for row in rows for marks in (row.dots, row.means) for v in marks["value"].to_list()]
    lowest = min([*values, *(row.low for row in rows if row.low is not None), limits[1]])
    step = (limits[1] - limits[0]) / 5
    start = limits[0] + step * min(4, math.floor((lowest - limits[0]) / step))
    margin = 0.02 * (limits[1] - start)
    return [start - margin, limits[1] + margin]


def _interactive(rows: list[_Row], title: str, limits: tuple[float, float] | None, lane_height: float) -> Any:
    figure = plotly_figure(height=int(130 + 100 * lane_height * len(rows)), showlegend=True, hovermode="closest")
    for position, row in enumerate(rows):
        _add_row(figure, position, row, title)
    for text, shift in (("<b>mean [95 % interval]</b>", 10), ("<b>subjects / images</b>", 145)):
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=shift, y=1, yref="paper", yanchor="bottom", yshift=4,
            text=text, showarrow=False, font={"size": 11},
        )  # fmt: skip
    for name, marker in _legend_markers().items():
        mode = "lines+markers" if marker["symbol"] == "line-ns" else "markers"
        figure.add_scatter(
            x=[None], y=[None], mode=mode, marker=marker, line={"color": INK, "width": 2}, name=name, hoverinfo="skip"
        )
    figure.update_layout(
        margin={"l": 10, "r": 265, "t": 70, "b": 50},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [plotly_text(row.name) for row in rows],
            "range": [len(rows) - 0.5, -0.5],
            "automargin": True,
            "showgrid": False,
            "ticklen": 8,
            "tickcolor": "rgba(0,0,0,0)",
        },
        xaxis={"title": {"text": title}, "range": _axis_range(rows, limits) if limits else None},
    )
    return figure


def _add_row(figure: Any, position: int, row: _Row, title: str) -> None:
    if position % 2:
        figure.add_hrect(position - 0.5, position + 0.5, fillcolor="#f5f7f9", line_width=0, layer="below")
    for marks, kind, size in ((row.dots, "image", 7), (row.means, "subject", 11)):
        if marks.is_empty():
            continue
        is_image = kind == "image"
        figure.add_scatter(
            x=marks["value"].to_list(),
            y=[position + lane for lane in marks["lane"].fill_null(0)],
            mode="markers",
            marker={
                "size": size,
                "color": see_through(row.colour, 0.5) if is_image else row.colour,
                "line": {"width": 0 if is_image else 1.2, "color": INK},
                "symbol": "circle" if is_image else "diamond",
            },
            text=[_hover(row, mark, title, is_image) for mark in marks.to_dicts()],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    if row.mean is not None:
        figure.add_scatter(
            x=[row.mean],
            y=[position + 0.34],
            mode="markers",
            marker={"symbol": "line-ns", "size": 12, "color": INK, "line": {"width": 3, "color": INK}},
            error_x=_error_bar(row),
            hovertemplate=f"{plotly_text(row.name)}<br>{title} {plotly_text(row.summary)}<extra></extra>",
            showlegend=False,
        )
    for text, shift in ((row.value_text, 10), (row.count_text, 145)):
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=shift, y=position, text=text, showarrow=False,
            font={"size": 12, "color": INK if row.mean is not None else QUIET},
        )  # fmt: skip


def _hover(row: _Row, mark: dict[str, Any], title: str, is_image: bool) -> str:
    subject = plotly_text(mark["subject_id"])
    if is_image:
        return f"<b>{plotly_text(row.name)}</b><br>image {plotly_text(mark['image_id'])}<br>subject {subject}<br>" + (
            f"{title} {mark['value']:.3f}"
        )
    return (
        f"<b>{plotly_text(row.name)}</b><br>subject {subject}, mean of {mark['n_images']} images<br>"
        f"{title} {mark['value']:.3f}"
    )


def _error_bar(row: _Row) -> dict[str, Any] | None:
    if row.mean is None or row.low is None or row.high is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [row.high - row.mean],
        "arrayminus": [row.mean - row.low],
        "color": INK,
        "thickness": 2,
        "width": 0,
    }


def _legend_markers() -> dict[str, dict[str, Any]]:
    return {
        "image": {"symbol": "circle", "size": 7, "color": "rgba(97,110,124,0.5)"},
        "subject (mean of its images)": {"symbol": "diamond", "size": 11, "color": QUIET,
                                         "line": {"width": 1.2, "color": INK}},
        "mean of subjects, 95 % interval": {"symbol": "line-ns", "size": 12, "color": INK,
                                            "line": {"width": 3, "color": INK}},
    }  # fmt: skip


def _static(rows: list[_Row], title: str, limits: tuple[float, float] | None, lane_height: float) -> Canvas:
    with static_style():
        height = 0.9 + lane_height * len(rows)
        canvas = Canvas(figsize=(WIDTH_IN, height), layout="constrained")
        axes = canvas.add_subplot()
        for position, row in enumerate(rows):
            _draw_row(axes, position, row)
        for text, shift in (("mean [95 % interval]", 6), ("subjects / images", 88)):
            axes.annotate(
                text, (1, 1), (shift, 4), xycoords="axes fraction", textcoords="offset points", fontsize=6.5,
                fontweight="bold",
            )  # fmt: skip
        axes.plot([], [], "o", color=QUIET, alpha=0.5, markersize=3.5, linestyle="", label="image")
        axes.plot([], [], "D", color=QUIET, markeredgecolor=INK, markeredgewidth=0.6, markersize=4.5, linestyle="",
                  label="subject (mean of its images)")  # fmt: skip
        axes.plot([], [], color=INK, marker="|", markersize=7, markeredgewidth=1.8, linewidth=1.4,
                  label="mean of subjects, 95 % interval")  # fmt: skip
        canvas.legend(loc="outside lower center", ncols=3, handletextpad=0.4)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID)
        axes.set_xlabel(title)
        if limits:
            axes.set_xlim(*_axis_range(rows, limits))
    return canvas


def _draw_row(axes: Any, position: int, row: _Row) -> None:
    if position % 2:
        axes.axhspan(position - 0.5, position + 0.5, color="#f5f7f9", linewidth=0, zorder=0)
    for marks, shape, size in ((row.dots, "o", 12), (row.means, "D", 22)):
        is_image = shape == "o"
        axes.scatter(
            marks["value"].to_list(),
            [position + lane for lane in marks["lane"].fill_null(0)],
            s=size,
            marker=shape,
            color=row.colour,
            alpha=0.5 if is_image else 1.0,
            edgecolors="none" if is_image else INK,
            linewidths=0.0 if is_image else 0.6,
            zorder=2 if is_image else 3,
        )
    if row.mean is not None:
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [position + 0.34] * 2, color=INK, linewidth=1.4, zorder=4)
        axes.plot([row.mean], [position + 0.34], "|", color=INK, markersize=7, markeredgewidth=1.8, zorder=5)
    for text, shift in ((row.value_text, 6), (row.count_text, 88)):
        axes.annotate(
            text, (1, position), (shift, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=7, color=INK if row.mean is not None else QUIET,
        )  # fmt: skip
