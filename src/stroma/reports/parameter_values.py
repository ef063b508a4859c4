"""Tissue parameters per label, groups apart: the mean over subjects, its spread, and each subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from plotly.subplots import make_subplots

from stroma.reports.figure import GRID, INK, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style
from stroma.spectra.medians import values_over_subjects
from stroma.study.labels import LabelMapping, distinct_colours
from stroma.study.median_rows import PARAMETER_COLUMNS

_JITTER = 0.16
_SYMBOLS = (("circle", "o"), ("diamond", "D"), ("square", "s"), ("triangle-up", "^"), ("x", "X"), ("cross", "P"))
"""Of groups in turn, for plotly and matplotlib: colour alone does not reach every reader."""


@dataclass(frozen=True)
class _Group:
    """What is drawn of one group of rows, or of all.

    Attributes:
        name: Empty where there is one.
        colour: None takes those of the labels.
        symbol: For plotly and matplotlib.
        values: Mean and spread over subjects, `label, column, n_subjects, mean, std`.
        subjects: `label`, `subject_id` and the columns of the parameters.
        shift: Of its dots from the middle of a label.
        width: How much narrower it stands than where it is alone.
    """

    name: str
    colour: str | None
    symbol: tuple[str, str]
    values: pl.DataFrame
    subjects: pl.DataFrame
    shift: float
    width: float

    def dots(self, label: str, column: str) -> pl.DataFrame:
        """Subjects with a value, with their place `x` beside the middle, always the same."""
        rows = self.subjects.filter((pl.col("label") == label) & pl.col(column).is_finite())
        spread = 2 * ((np.arange(rows.height) * 0.618034) % 1) - 1
        return rows.with_columns(x=pl.Series(self.shift + self.width * _JITTER * spread, dtype=pl.Float64))

    def summary(self, label: str, column: str) -> tuple[float, float] | None:
        row = self.values.filter((pl.col("label") == label) & (pl.col("column") == column))
        return None if row.is_empty() else (float(row["mean"][0]), float(row["std"][0] or 0.0))


def _groups(rows: pl.DataFrame, columns: Sequence[str], by: str | None) -> list[_Group]:
    if by is None:
        parts: list[tuple[str, str | None, pl.DataFrame]] = [("", None, rows)]
    else:
        names = rows[by].drop_nulls().unique().sort().to_list()
        colours = distinct_colours(len(names))
        parts = [(str(n), c, rows.filter(pl.col(by) == n)) for n, c in zip(names, colours, strict=True)]
    found = []
    for place, (name, colour, part) in enumerate(parts):
        subjects = part.group_by("label", "subject_id").agg(pl.col(c).cast(pl.Float64).mean() for c in columns)
        shift = (place - (len(parts) - 1) / 2) * 0.8 / len(parts)
        found.append(
            _Group(
                name, colour, _SYMBOLS[place % len(_SYMBOLS)], values_over_subjects(part, columns),
                subjects.sort("label", "subject_id"), shift, 1 / len(parts),
            )
        )  # fmt: skip
    return found


def present_parameters(rows: pl.DataFrame) -> dict[str, str]:
    """Parameter → its column of medians, for those that have a value in the table."""
    return {
        name: f"median_{column}"
        for name, column in PARAMETER_COLUMNS.items()
        if f"median_{column}" in rows.columns and rows[f"median_{column}"].null_count() < len(rows)
    }


def parameter_table(rows: pl.DataFrame, labels: LabelMapping, by: str | None = None) -> pl.DataFrame:
    """Label × parameter as text: mean ± standard deviation over subjects, and how many.

    Args:
        rows: Of one annotator, with the column `label`.
        labels: The classes, which give the order.
        by: Column of groups, which get rows of their own.
    """
    parameters = present_parameters(rows)
    names = {column: name for name, column in parameters.items()}
    tables = []
    for group in _groups(rows, list(parameters.values()), by):
        shown = [
            None if mean is None else f"{mean:.3f}" + ("" if std is None else f" ± {std:.3f}")
            for mean, std in group.values.select("mean", "std").iter_rows()
        ]
        wide = group.values.with_columns(pl.col("column").replace(names), pl.Series("shown", shown, pl.String)).pivot(
            "column", index="label", values="shown", maintain_order=True
        )
        counts = group.values.group_by("label", maintain_order=True).agg(pl.col("n_subjects").max())
        present = pl.DataFrame({"label": [n for n in labels.names if n in set(group.subjects["label"])]})
        named = present.join(counts, on="label", how="left", maintain_order="left").with_columns(
            pl.lit(group.name).alias("group")
        )
        named = named.select("label", "group", "n_subjects")
        tables.append(named.join(wide, on="label", how="left", maintain_order="left"))
    if by is None:
        return tables[0].drop("group")
    place = pl.col("label").replace_strict({n: i for i, n in enumerate(labels.names)}, return_dtype=pl.Int64)
    return pl.concat(tables, how="diagonal").sort(place, maintain_order=True)


def parameter_figure(rows: pl.DataFrame, labels: LabelMapping, by: str | None = None) -> Figure | None:
    """Draw a panel a parameter: dots are subjects, the bar is their mean, the whisker one standard deviation.

    Args:
        rows: Of one annotator, with the column `label`.
        labels: The classes, which give order and colours.
        by: Column of groups, which stand side by side.

    Returns:
        The figure, or None where no parameter has a value.
    """
    parameters = present_parameters(rows)
    if not parameters:
        return None
    names = [name for name in labels.names if name in set(rows["label"])]
    groups = _groups(rows, list(parameters.values()), by)
    table = pl.concat(group.values.with_columns(pl.lit(group.name).alias("group")) for group in groups)
    table = table.with_columns(pl.col("column").str.strip_prefix("median_")).rename({"column": "parameter"})
    apart = f", {' and '.join(group.name for group in groups)} apart" if by else ""
    return Figure(
        interactive=_interactive(parameters, names, labels, groups),
        static=_static(parameters, names, labels, groups),
        table=table.drop("group") if by is None else table,
        text=f"{', '.join(parameters)} of {count(len(names), 'label')}, one dot a subject{apart}",
        min_width_px=640,
    )


def _interactive(
    parameters: dict[str, str], names: Sequence[str], labels: LabelMapping, groups: Sequence[_Group]
) -> Any:
    figure = make_subplots(
        rows=len(parameters), cols=1, shared_xaxes=True, vertical_spacing=0.04, figure=plotly_figure(),
    )  # fmt: skip
    for row, (parameter, column) in enumerate(parameters.items(), start=1):
        for group in groups:
            of_group = f"{plotly_text(group.name)}<br>" if group.name else ""
            for place, name in enumerate(names):
                mine = group.dots(name, column)
                figure.add_scatter(
                    x=place + mine["x"].to_numpy(), y=mine[column].to_numpy(), mode="markers", showlegend=False,
                    marker={"color": group.colour or labels.colour(name), "size": 7, "opacity": 0.75,
                            "symbol": group.symbol[0]},
                    text=[plotly_text(subject) for subject in mine["subject_id"]],
                    hovertemplate=f"<b>{plotly_text(name)}</b>, {parameter} %{{y:.3f}}<br>"
                    f"{of_group}subject %{{text}}<extra></extra>",
                    row=row, col=1,
                )  # fmt: skip
                summary = group.summary(name, column)
                if summary is not None:
                    figure.add_scatter(
                        x=[place + group.shift], y=[summary[0]],
                        error_y={"array": [summary[1]], "color": INK, "thickness": 1.2}, mode="markers",
                        marker={"symbol": "line-ew-open", "size": 26 * group.width, "color": INK,
                                "line": {"width": 2}},
                        showlegend=False, hoverinfo="skip", row=row, col=1,
                    )  # fmt: skip
        figure.update_yaxes(title={"text": parameter}, row=row, col=1)
    grouped = [group for group in groups if group.name]
    for group in grouped:
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=plotly_text(group.name),
            marker={"color": group.colour, "symbol": group.symbol[0], "size": 8},
        )  # fmt: skip
    figure.update_xaxes(
        tickmode="array", tickvals=list(range(len(names))), ticktext=[plotly_text(name) for name in names],
        range=[-0.6, len(names) - 0.4],
    )  # fmt: skip
    figure.update_layout(
        height=80 + 190 * len(parameters), margin={"l": 75, "r": 20, "t": 50 if grouped else 20, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    )  # fmt: skip
    return figure


def _static(
    parameters: dict[str, str], names: Sequence[str], labels: LabelMapping, groups: Sequence[_Group]
) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, 0.5 + 1.35 * len(parameters)), layout="constrained")
        grid = canvas.subplots(len(parameters), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (parameter, column) in zip(grid, parameters.items(), strict=True):
            for group in groups:
                for place, name in enumerate(names):
                    dots, middle = group.dots(name, column), place + group.shift
                    axes.scatter(
                        place + dots["x"].to_numpy(), dots[column], s=12, color=group.colour or labels.colour(name),
                        marker=group.symbol[1], alpha=0.75, linewidths=0, zorder=3,
                    )  # fmt: skip
                    summary = group.summary(name, column)
                    if summary is not None:
                        half = 0.24 * group.width
                        axes.errorbar(middle, summary[0], summary[1], color=INK, elinewidth=0.9, capsize=0, zorder=4)
                        axes.hlines(summary[0], middle - half, middle + half, color=INK, linewidth=1.4, zorder=4)
            axes.set_ylabel(parameter)
            axes.grid(axis="y", color=GRID)
        grid[-1].set_xticks(
            range(len(names)), names, rotation=30 if len(names) > 6 else 0, ha="right" if len(names) > 6 else "center"
        )
        grid[-1].set_xlim(-0.6, len(names) - 0.4)
        grouped = [group for group in groups if group.name]
        if grouped:
            marks = [
                Line2D([], [], marker=group.symbol[1], linestyle="", markersize=4, color=group.colour)
                for group in grouped
            ]
            canvas.legend(marks, [group.name for group in grouped], loc="outside upper left", ncols=len(grouped))
    return canvas
