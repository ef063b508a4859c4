"""What is taken for what: the confusion matrix, row by row as fractions, every subject weighing the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from stroma.reports.figure import (
    ABSENT,
    INK,
    QUIET,
    WIDTH_IN,
    Figure,
    count,
    plotly_figure,
    plotly_text,
    static_style,
)
from stroma.study.labels import LabelMapping

_SCALE = ("#ffffff", "#bfe0e2", "#5ba8ae", "#0b6e75", "#04363a")
_STRIP = 0.45
"""Width of the strip of class colours along the axes, in cells."""


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix over subjects.

    Attributes:
        references: Row names, K.
        predictions: Column names, K or more (`not predicted` is no class).
        fraction: (K, P) mean over subjects of the fraction of the row; NaN where no subject has the class.
        sd: (K, P) standard deviation over subjects (n - 1); NaN for fewer than two.
        counts: (K, P) units of all subjects together.
        n_subjects: (K,) subjects that have the class.
    """

    references: tuple[str, ...]
    predictions: tuple[str, ...]
    fraction: NDArray[np.float64]
    sd: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_subjects: NDArray[np.int64]


def confusion_over_subjects(confusion: pl.DataFrame, names: Sequence[str]) -> Confusion:
    """Sum the counts of each subject, turn rows into fractions, and average over the subjects that have the class.

    Args:
        confusion: Columns of `evaluation.schema.CONFUSION_SCHEMA`, one unit.
        names: The classes in order; predictions of other names get columns behind them.
    """
    others = sorted(set(confusion.filter(pl.col("count") > 0)["predicted"].unique()) - set(names))
    predictions = (*names, *others)
    sums = confusion.group_by("subject_id", "reference", "predicted").agg(pl.col("count").sum())
    subjects = sums["subject_id"].unique().sort().to_list()
    counts = np.zeros((len(subjects), len(names), len(predictions)), dtype=np.int64)
    place = [{name: i for i, name in enumerate(axis)} for axis in (subjects, names, predictions)]
    for subject, reference, predicted, number in sums.iter_rows():
        if reference in place[1] and predicted in place[2]:
            counts[place[0][subject], place[1][reference], place[2][predicted]] += number
    totals = counts.sum(axis=2, keepdims=True)
    present = totals[:, :, 0] > 0
    n_subjects = present.sum(axis=0)
    fractions = counts / np.maximum(totals, 1)
    sums_of_fractions = fractions.sum(axis=0)
    mean = np.where(n_subjects[:, None] > 0, sums_of_fractions / np.maximum(n_subjects, 1)[:, None], np.nan)
    squares = np.where(present[:, :, None], (fractions - mean) ** 2, 0.0).sum(axis=0)
    sd = np.where(n_subjects[:, None] > 1, np.sqrt(squares / np.maximum(n_subjects - 1, 1)[:, None]), np.nan)
    return Confusion(tuple(names), predictions, mean, sd, counts.sum(axis=0), n_subjects)


def confusion_figure(confusion: pl.DataFrame, labels: LabelMapping) -> Figure | None:
    """Draw the confusion matrix of one set.

    Args:
        confusion: Columns of `evaluation.schema.CONFUSION_SCHEMA`.
        labels: The classes, which give order and colours.

    Returns:
        The figure, or None when nothing was counted. Its table has reference, predicted, fraction, sd, count,
        n_subjects.
    """
    if confusion["count"].sum() == 0:
        return None
    unit = confusion["unit"].drop_nulls().unique().sort().to_list()[0]
    matrix = confusion_over_subjects(confusion.filter(pl.col("unit") == unit), labels.names)
    absent = [name for name, n in zip(matrix.references, matrix.n_subjects, strict=True) if n == 0]
    return Figure(
        interactive=_interactive(matrix, labels, unit),
        static=_static(matrix, labels),
        table=_table(matrix),
        text=f"Confusion matrix of {count(len(labels), 'class', 'classes')}, rows are the reference. Diagonal: "
        + "; ".join(
            f"{name} {matrix.fraction[i, i]:.2f}" for i, name in enumerate(matrix.references) if name not in absent
        )
        + (f". Not in the reference: {', '.join(absent)}" if absent else ""),
        min_width_px=min(1000, 320 + 34 * len(matrix.predictions)),
    )


def _table(matrix: Confusion) -> pl.DataFrame:
    rows = [
        (r, p, _or_none(matrix.fraction[i, j]), _or_none(matrix.sd[i, j]), int(matrix.counts[i, j]), int(n))
        for i, (r, n) in enumerate(zip(matrix.references, matrix.n_subjects, strict=True))
        for j, p in enumerate(matrix.predictions)
    ]
    schema = {"reference": pl.String, "predicted": pl.String, "fraction": pl.Float64, "sd": pl.Float64}
    return pl.DataFrame(rows, schema={**schema, "count": pl.Int64, "n_subjects": pl.Int64}, orient="row")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _colour(labels: LabelMapping, name: str) -> str:
    return labels.colour(name) if name in labels.names else ABSENT


def _cell_text(value: Any) -> str:
    """Two decimals without the leading zero; nothing below one half per cent, so that the eye finds what matters."""
    if np.isnan(value) or value < 0.005:
        return ""
    return "1.0" if value >= 0.995 else f"{value:.2f}"[1:]


def _interactive(matrix: Confusion, labels: LabelMapping, unit: str) -> Any:
    rows, columns = matrix.fraction.shape
    hover = [[_hover(matrix, i, j, unit) for j in range(columns)] for i in range(rows)]
    texts = [[_cell_text(value) for value in row] for row in matrix.fraction]
    figure = plotly_figure()
    figure.add_heatmap(
        z=matrix.fraction, text=texts, texttemplate="%{text}", textfont={"size": 11}, hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>", zmin=0, zmax=1, xgap=1, ygap=1,
        colorscale=[[i / (len(_SCALE) - 1), colour] for i, colour in enumerate(_SCALE)],
        colorbar={
            "title": {"text": "fraction of<br>the reference"}, "thickness": 14, "len": 160,
            "lenmode": "pixels", "tickformat": ".1f",
        },
    )  # fmt: skip
    _add_strips(figure, matrix, labels)
    cell_px = min(56.0, max(27.0, 420 / rows))
    longest = max(len(name) for name in matrix.predictions) if columns > 4 else 0
    shared = {"showgrid": False, "zeroline": False, "ticks": "", "automargin": True, "linecolor": "rgba(0,0,0,0)"}
    figure.update_layout(
        height=int(110 + 4.5 * longest + cell_px * (rows + _STRIP)),
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        xaxis={
            "title": {"text": "Predicted", "standoff": 12},
            "constrain": "domain",
            "tickvals": list(range(columns)),
            "ticktext": [plotly_text(name) for name in matrix.predictions],
            "tickangle": -45 if columns > 4 else 0,
            "range": [-0.5 - _STRIP, columns - 0.5],
            **shared,
        },
        yaxis={
            "title": {"text": "Reference", "standoff": 12},
            "scaleanchor": "x",
            "constrain": "domain",
            "tickvals": list(range(rows)),
            "ticktext": [plotly_text(name) for name in matrix.references],
            "range": [rows - 0.5 + _STRIP, -0.5],
            **shared,
        },
    )
    return figure


def _add_strips(figure: Any, matrix: Confusion, labels: LabelMapping) -> None:
    """Strips in the colours of the classes beside rows and columns; rows that the reference lacks are covered."""
    rows, columns = matrix.fraction.shape
    for i, name in enumerate(matrix.references):
        figure.add_shape(
            type="rect", x0=-0.5 - _STRIP, x1=-0.56, y0=i - 0.48, y1=i + 0.48, line_width=0,
            fillcolor=_colour(labels, name),
        )  # fmt: skip
        if matrix.n_subjects[i] == 0:
            figure.add_shape(
                type="rect", x0=-0.5, x1=columns - 0.5, y0=i - 0.48, y1=i + 0.48, line_width=0, fillcolor="#eceff2"
            )
            figure.add_annotation(
                x=(columns - 1) / 2,
                y=i,
                text="not in the reference",
                showarrow=False,
                font={"size": 11, "color": QUIET},
            )
    for j, name in enumerate(matrix.predictions):
        figure.add_shape(
            type="rect", x0=j - 0.48, x1=j + 0.48, y0=rows - 0.44, y1=rows - 0.5 + _STRIP, line_width=0,
            fillcolor=_colour(labels, name),
        )  # fmt: skip


def _hover(matrix: Confusion, i: int, j: int, unit: str) -> str:
    reference, predicted = plotly_text(matrix.references[i]), plotly_text(matrix.predictions[j])
    if matrix.n_subjects[i] == 0:
        return f"no {unit} of {reference} in the reference"
    spread = "" if np.isnan(matrix.sd[i, j]) else f" ± {matrix.sd[i, j]:.3f} (sd over subjects)"
    return (
        f"reference <b>{reference}</b><br>predicted <b>{predicted}</b><br>{matrix.fraction[i, j]:.3f}{spread}<br>"
        f"{count(int(matrix.counts[i, j]), unit)} of {matrix.counts[i].sum():,}, "
        f"{count(int(matrix.n_subjects[i]), 'subject')}"
    )


def _static(matrix: Confusion, labels: LabelMapping) -> Canvas:
    rows, columns = matrix.fraction.shape
    with static_style():
        longest = max(len(name) for name in matrix.predictions)
        beside_in = 1.25 + 0.058 * max(len(name) for name in matrix.references)
        side = min(0.4, (WIDTH_IN - beside_in) / (columns + _STRIP))
        below_in = 0.5 + (0.042 * longest if columns > 4 else 0.15)
        size = (side * (columns + _STRIP) + beside_in, side * (rows + _STRIP) + below_in)
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.add_subplot()
        scale = LinearSegmentedColormap.from_list("stroma", list(_SCALE))
        picture = axes.imshow(matrix.fraction, cmap=scale, vmin=0, vmax=1, interpolation="none")
        for i, j in np.ndindex(rows, columns):
            text = _cell_text(matrix.fraction[i, j])
            if text:
                dark = matrix.fraction[i, j] > 0.55
                axes.text(
                    j, i, text, ha="center", va="center", fontsize=min(7, 26 * side), color="white" if dark else INK
                )
        for i, name in enumerate(matrix.references):
            axes.add_patch(_patch(-0.5 - _STRIP, i - 0.48, _STRIP - 0.08, 0.96, _colour(labels, name)))
            if matrix.n_subjects[i] == 0:
                axes.add_patch(_patch(-0.5, i - 0.48, columns, 0.96, "#eceff2"))
                axes.text(
                    (columns - 1) / 2, i, "not in the reference", ha="center", va="center", fontsize=6, color=QUIET
                )
        for j, name in enumerate(matrix.predictions):
            axes.add_patch(_patch(j - 0.48, rows - 0.42, 0.96, _STRIP - 0.08, _colour(labels, name)))
        axes.set_xlim(-0.5 - _STRIP, columns - 0.5)
        axes.set_ylim(rows - 0.5 + _STRIP, -0.5)
        crowded = columns > 4
        axes.set_xticks(
            range(columns), list(matrix.predictions), rotation=45 if crowded else 0,
            ha="right" if crowded else "center", rotation_mode="anchor" if crowded else None,
        )  # fmt: skip
        axes.set_yticks(range(rows), list(matrix.references))
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("Predicted")
        axes.set_ylabel("Reference")
        bar = canvas.colorbar(picture, ax=axes, shrink=0.6, aspect=24, pad=0.02, label="fraction of the reference")
        bar.outline.set_visible(False)
    return canvas


def _patch(x: float, y: float, width: float, height: float, colour: str) -> Rectangle:
    return Rectangle((x, y), width, height, facecolor=colour, linewidth=0, clip_on=False)
