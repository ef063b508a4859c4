"""The spectra of one label on their own: large enough for a paper, subjects and spread over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from stroma.reports.figure import (
    GRID,
    Figure,
    count,
    plotly_figure,
    plotly_text,
    see_through,
    static_style,
)
from stroma.reports.spectra import ClassSpectra, axis_titles, spectra_table

_WIDTH_IN, _HEIGHT_IN = 3.5, 2.6
"""One column of a journal: 89 mm."""


def label_figure(entry: ClassSpectra, colour: str, x: NDArray[np.float64], *, has_nm: bool, column: str) -> Figure:
    """Draw the spectra of one class: the mean over subjects, one standard deviation over subjects, each subject.

    Args:
        entry: The class.
        colour: Of it, `#rrggbb`.
        x: (C,) wavelengths in nm, or channel numbers.
        has_nm: Which of the two.
        column: Which spectra: `median_spectrum` or `median_normalized_spectrum`.

    Returns:
        The figure; its table has label, wavelength_nm (or channel), mean, sd, n_subjects, n_images.
    """
    x_title, y_title = axis_titles(column, has_nm=has_nm)
    counts = f"{count(len(entry.subjects), 'subject')}, {count(entry.n_images, 'image')}"
    spread = " ± 1 SD over subjects" if entry.sd is not None else ""
    return Figure(
        interactive=_interactive(entry, colour, x, x_title, y_title),
        static=_static(entry, colour, x, x_title, y_title, f"n = {counts}"),
        table=spectra_table([entry], x, "wavelength_nm" if has_nm else "channel"),
        text=f"{entry.name}: mean{spread} of {counts}",
        min_width_px=380,
    )


def _interactive(entry: ClassSpectra, colour: str, x: NDArray[np.float64], x_title: str, y_title: str) -> Any:
    figure = plotly_figure(
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}, "exponentformat": "power"},
        height=360,
        margin={"l": 75, "r": 30, "t": 20, "b": 55},
        hovermode="closest",
        showlegend=False,
    )
    if entry.sd is not None:
        figure.add_scatter(
            x=np.concatenate([x, x[::-1]]).astype(np.float32), fill="toself", hoverinfo="skip", line={"width": 0},
            y=np.concatenate([entry.mean + entry.sd, (entry.mean - entry.sd)[::-1]]).astype(np.float32),
            fillcolor=see_through(colour, 0.22),
        )  # fmt: skip
    for subject, spectrum in entry.subjects.items():
        figure.add_scatter(
            x=x.astype(np.float32), y=spectrum.astype(np.float32), mode="lines",
            line={"color": see_through(colour, 0.55), "width": 0.9},
            hovertemplate=f"subject {plotly_text(subject)}<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=x.astype(np.float32), y=entry.mean.astype(np.float32), mode="lines", line={"color": colour, "width": 2.6},
        hovertemplate=f"<b>{plotly_text(entry.name)}</b>, mean<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
    )  # fmt: skip
    return figure


def _static(
    entry: ClassSpectra, colour: str, x: NDArray[np.float64], x_title: str, y_title: str, counts: str
) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        axes = canvas.subplots()
        if entry.sd is not None:
            axes.fill_between(
                x, entry.mean - entry.sd, entry.mean + entry.sd, color=colour, alpha=0.22, linewidth=0, zorder=2
            )
        for spectrum in entry.subjects.values():
            axes.plot(x, spectrum, color=colour, linewidth=0.5, alpha=0.6, zorder=3)
        axes.plot(x, entry.mean, color=colour, linewidth=1.8, zorder=4)
        axes.set_title(entry.name, fontweight="bold", loc="left")
        axes.set_title(counts, loc="right", fontsize=7)
        axes.set_xlabel(x_title)
        axes.set_ylabel(y_title)
        axes.set_xlim(x[0], x[-1])
        axes.grid(color=GRID)
    return canvas


def table_of_labels(entries: list[ClassSpectra]) -> pl.DataFrame:
    """How many subjects and images each class has."""
    rows = [(entry.name, len(entry.subjects), entry.n_images) for entry in entries]
    return pl.DataFrame(rows, schema={"label": pl.String, "n_subjects": pl.Int64, "n_images": pl.Int64}, orient="row")
