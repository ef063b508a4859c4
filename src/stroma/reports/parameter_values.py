"""Tissue parameters per label: the mean over subjects, its spread, and each subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from stroma.reports.figure import GRID, INK, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style
from stroma.spectra.medians import values_over_subjects
from stroma.study.labels import LabelMapping
from stroma.study.median_rows import PARAMETER_COLUMNS

_JITTER = 0.16


def present_parameters(rows: pl.DataFrame) -> dict[str, str]:
    """Parameter → its column of medians, for those that have a value in the table."""
    return {
        name: f"median_{column}"
        for name, column in PARAMETER_COLUMNS.items()
        if f"median_{column}" in rows.columns and rows[f"median_{column}"].null_count() < len(rows)
    }


def parameter_table(rows: pl.DataFrame, labels: LabelMapping) -> pl.DataFrame:
    """Label × parameter as text: mean ± standard deviation over subjects, and how many.

    Args:
        rows: Of one annotator, with the column `label`.
        labels: The classes, which give the order.
    """
    parameters = present_parameters(rows)
    values = values_over_subjects(rows, list(parameters.values()))
    names = {column: name for name, column in parameters.items()}
    shown = [
        None if mean is None else f"{mean:.3f}" + ("" if std is None else f" ± {std:.3f}")
        for mean, std in values.select("mean", "std").iter_rows()
    ]
    wide = values.with_columns(pl.col("column").replace(names), pl.Series("shown", shown, pl.String)).pivot(
        "column", index="label", values="shown", maintain_order=True
    )
    counts = values.group_by("label", maintain_order=True).agg(pl.col("n_subjects").max())
    present = pl.DataFrame({"label": [name for name in labels.names if name in set(rows["label"])]})
    counted = present.join(counts, on="label", maintain_order="left")
    return counted.join(wide, on="label", how="left", maintain_order="left")


def parameter_figure(rows: pl.DataFrame, labels: LabelMapping) -> Figure | None:
    """Draw a panel a parameter: dots are subjects, the bar is their mean, the whisker one standard deviation.

    Args:
        rows: Of one annotator, with the column `label`.
        labels: The classes, which give order and colours.

    Returns:
        The figure, or None where no parameter has a value.
    """
    parameters = present_parameters(rows)
    if not parameters:
        return None
    names = [name for name in labels.names if name in set(rows["label"])]
    values = values_over_subjects(rows, list(parameters.values()))
    subjects = (
        rows.group_by("label", "subject_id")
        .agg(pl.col(column).cast(pl.Float64).mean() for column in parameters.values())
        .sort("label", "subject_id")
    )
    return Figure(
        interactive=_interactive(parameters, names, labels, values, subjects),
        static=_static(parameters, names, labels, values, subjects),
        table=values.with_columns(pl.col("column").str.strip_prefix("median_")).rename({"column": "parameter"}),
        text=f"{', '.join(parameters)} of {count(len(names), 'label')}, one dot a subject",
        min_width_px=640,
    )


def _places(count_: int) -> NDArray[np.float64]:
    """Places beside the middle, always the same."""
    return np.asarray(_JITTER * (2 * ((np.arange(count_) * 0.618034) % 1) - 1), np.float64)


def _numbers(table: pl.DataFrame, name: str, column: str) -> NDArray[np.float64]:
    return table.filter(pl.col("label") == name)[column].drop_nulls().drop_nans().to_numpy()


def _summary(values: pl.DataFrame, name: str, column: str) -> tuple[float, float] | None:
    row = values.filter((pl.col("label") == name) & (pl.col("column") == column))
    return None if row.is_empty() else (float(row["mean"][0]), float(row["std"][0] or 0.0))


def _interactive(
    parameters: dict[str, str],
    names: Sequence[str],
    labels: LabelMapping,
    values: pl.DataFrame,
    subjects: pl.DataFrame,
) -> Any:
    figure = make_subplots(
        rows=len(parameters), cols=1, shared_xaxes=True, vertical_spacing=0.04, figure=plotly_figure(),
    )  # fmt: skip
    for row, (parameter, column) in enumerate(parameters.items(), start=1):
        for place, name in enumerate(names):
            mine = subjects.filter((pl.col("label") == name) & pl.col(column).is_finite())
            figure.add_scatter(
                x=place + _places(mine.height), y=mine[column].to_numpy(), mode="markers", showlegend=False,
                marker={"color": labels.colour(name), "size": 7, "opacity": 0.75},
                text=[plotly_text(subject) for subject in mine["subject_id"]],
                hovertemplate=f"<b>{plotly_text(name)}</b>, {parameter} %{{y:.3f}}<br>"
                "subject %{text}<extra></extra>",
                row=row, col=1,
            )  # fmt: skip
            summary = _summary(values, name, column)
            if summary is not None:
                figure.add_scatter(
                    x=[place], y=[summary[0]], error_y={"array": [summary[1]], "color": INK, "thickness": 1.2},
                    mode="markers", marker={"symbol": "line-ew-open", "size": 26, "color": INK, "line": {"width": 2}},
                    showlegend=False, hoverinfo="skip", row=row, col=1,
                )  # fmt: skip
        figure.update_yaxes(title={"text": parameter}, row=row, col=1)
    figure.update_xaxes(
        tickmode="array", tickvals=list(range(len(names))), ticktext=[plotly_text(name) for name in names],
        range=[-0.6, len(names) - 0.4],
    )  # fmt: skip
    figure.update_layout(height=80 + 190 * len(parameters), margin={"l": 75, "r": 20, "t": 20, "b": 60})
    return figure


def _static(
    parameters: dict[str, str],
    names: Sequence[str],
    labels: LabelMapping,
    values: pl.DataFrame,
    subjects: pl.DataFrame,
) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, 0.5 + 1.35 * len(parameters)), layout="constrained")
        grid = canvas.subplots(len(parameters), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (parameter, column) in zip(grid, parameters.items(), strict=True):
            for place, name in enumerate(names):
                dots = _numbers(subjects, name, column)
                axes.scatter(
                    place + _places(len(dots)),
                    dots,
                    s=12,
                    color=labels.colour(name),
                    alpha=0.75,
                    linewidths=0,
                    zorder=3,
                )
                summary = _summary(values, name, column)
                if summary is not None:
                    axes.errorbar(place, summary[0], summary[1], color=INK, elinewidth=0.9, capsize=0, zorder=4)
                    axes.hlines(summary[0], place - 0.24, place + 0.24, color=INK, linewidth=1.4, zorder=4)
            axes.set_ylabel(parameter)
            axes.grid(axis="y", color=GRID)
        grid[-1].set_xticks(
            range(len(names)), names, rotation=30 if len(names) > 6 else 0, ha="right" if len(names) > 6 else "center"
        )
        grid[-1].set_xlim(-0.6, len(names) - 0.4)
    return canvas
