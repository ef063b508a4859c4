"""Median spectra per class: the mean over subjects, its spread, and every subject's own line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from stroma.core.errors import InvalidData
from stroma.reports.figure import (
    GRID,
    WIDTH_IN,
    Figure,
    count,
    plotly_figure,
    plotly_text,
    see_through,
    static_style,
)
from stroma.spectra.medians import Spectrum, mean_over_subjects
from stroma.study.labels import LabelMapping

_COLUMNS = 4
_OTHERS = "#d3d9df"
_TITLES = {
    "median_spectrum": "Reflectance",
    "median_normalized_spectrum": "Reflectance, L1-normalised",
}


@dataclass(frozen=True)
class ClassSpectra:
    """The spectra of one class: (channels,) mean and standard deviation over subjects, and each subject's own."""

    name: str
    mean: NDArray[np.float64]
    sd: NDArray[np.float64] | None
    subjects: Mapping[str, NDArray[np.float64]]
    n_images: int


def class_spectra(medians: pl.DataFrame, labels: LabelMapping, column: Spectrum) -> list[ClassSpectra]:
    """The classes that have spectra, in the order of `labels`."""
    means = {row["label"]: row for row in mean_over_subjects(medians, column).rows(named=True)}
    found = []
    for name in labels.names:
        if name not in means:
            continue
        row = means[name]
        lines: dict[str, list[Any]] = {}
        mine = medians.filter(pl.col("label") == name).sort("subject_id", "image_id")
        for subject, spectrum in mine.select("subject_id", column).iter_rows():
            lines.setdefault(subject, []).append(spectrum)
        found.append(
            ClassSpectra(
                name=name,
                mean=np.asarray(row["mean"], np.float64),
                sd=None if row["std"] is None else np.asarray(row["std"], np.float64),
                subjects={s: np.mean(np.asarray(spectra, np.float64), axis=0) for s, spectra in lines.items()},
                n_images=row["n_images"],
            )
        )
    return found


def spectra_figure(
    medians: pl.DataFrame,
    labels: LabelMapping,
    wavelengths_nm: Sequence[float] | None = None,
    column: Spectrum = "median_normalized_spectrum",
) -> Figure | None:
    """Draw the spectra of each class in a panel of its own, all on the same axes.

    Args:
        medians: Rows of `spectra.medians.median_rows` by one annotator.
        labels: The classes, which give order and colours.
        wavelengths_nm: Of the channels, in nm; without it the axis counts channels.
        column: Which spectra.

    Returns:
        The figure, or None without any spectrum. Its table has label, wavelength_nm (or channel), mean, sd,
        n_subjects, n_images.

    Raises:
        InvalidData: the rows are by several annotators, who are never merged, or the wavelengths do not fit.
    """
    if medians["annotator"].n_unique() > 1:
        raise InvalidData(
            "holds spectra by several annotators", where="medians", next_step="Draw one annotator at a time"
        )
    classes = class_spectra(medians, labels, column)
    if not classes:
        return None
    channels = len(classes[0].mean)
    if wavelengths_nm is not None and len(wavelengths_nm) != channels:
        raise InvalidData(
            f"holds spectra of {channels} channels for {len(wavelengths_nm)} wavelengths", where="medians"
        )
    x = np.asarray(wavelengths_nm if wavelengths_nm is not None else np.arange(channels), np.float64)
    x_title, y_title = axis_titles(column, has_nm=wavelengths_nm is not None)
    return Figure(
        interactive=_interactive(classes, labels, x, x_title, y_title),
        static=_static(classes, labels, x, x_title, y_title),
        table=spectra_table(classes, x, "wavelength_nm" if wavelengths_nm is not None else "channel"),
        text=f"Median spectra ({y_title}) of {count(len(classes), 'class', 'classes')}: "
        + "; ".join(f"{entry.name}, {_counts(entry)}" for entry in classes),
        min_width_px=700,
    )


def axis_titles(column: str, *, has_nm: bool) -> tuple[str, str]:
    """Titles of the axes of spectra in a column, by wavelength or by channel."""
    return "Wavelength (nm)" if has_nm else "Channel", _TITLES.get(column, column.replace("_", " "))


def _counts(entry: ClassSpectra) -> str:
    return f"{count(len(entry.subjects), 'subject')}, {count(entry.n_images, 'image')}"


def spectra_table(classes: Sequence[ClassSpectra], x: NDArray[np.float64], x_name: str) -> pl.DataFrame:
    """The lines of classes as rows: label, `x_name`, mean, sd, n_subjects, n_images."""
    tables = [
        pl.DataFrame(
            {
                "label": [entry.name] * len(x),
                x_name: x,
                "mean": entry.mean,
                "sd": pl.Series(entry.sd if entry.sd is not None else [None] * len(x), dtype=pl.Float64),
                "n_subjects": [len(entry.subjects)] * len(x),
                "n_images": [entry.n_images] * len(x),
            }
        )
        for entry in classes
    ]
    return pl.concat(tables)


def _interactive(
    classes: Sequence[ClassSpectra], labels: LabelMapping, x: NDArray[np.float64], x_title: str, y_title: str
) -> Any:
    rows = math.ceil(len(classes) / _COLUMNS)
    columns = min(_COLUMNS, len(classes))
    titles = [
        f"<b>{plotly_text(entry.name)}</b><br><span style='font-size:11px'>{_counts(entry)}</span>"
        for entry in classes
    ]
    figure = make_subplots(
        rows=rows, cols=columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=titles,
        horizontal_spacing=0.025, vertical_spacing=min(0.3, 52 / (40 + 190 * rows)),
        figure=plotly_figure(),
    )  # fmt: skip
    for position, entry in enumerate(classes):
        place = {"row": position // _COLUMNS + 1, "col": position % _COLUMNS + 1}
        colour = labels.colour(entry.name)
        others = [np.append(other.mean, np.nan) for other in classes if other is not entry]
        figure.add_scatter(
            x=_compact(np.tile(np.append(x, np.nan), len(others))), y=_compact(np.concatenate([*others, []])),
            mode="lines", line={"color": _OTHERS, "width": 1}, hoverinfo="skip", showlegend=False, **place,
        )  # fmt: skip
        if entry.sd is not None:
            figure.add_scatter(
                x=_compact(np.concatenate([x, x[::-1]])), fill="toself",
                y=_compact(np.concatenate([entry.mean + entry.sd, (entry.mean - entry.sd)[::-1]])),
                fillcolor=see_through(colour, 0.22), line={"width": 0}, hoverinfo="skip", showlegend=False, **place,
            )  # fmt: skip
            for subject, spectrum in entry.subjects.items():
                figure.add_scatter(
                    x=_compact(x), y=_compact(spectrum), mode="lines",
                    line={"color": see_through(colour, 0.55), "width": 0.8},
                    hovertemplate=f"subject {plotly_text(subject)}<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
                    showlegend=False, **place,
                )  # fmt: skip
        figure.add_scatter(
            x=_compact(x), y=_compact(entry.mean), mode="lines", line={"color": colour, "width": 2.4},
            hovertemplate=f"<b>{plotly_text(entry.name)}</b>, mean<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
            showlegend=False, **place,
        )  # fmt: skip
    figure.update_layout(height=135 + 190 * rows, margin={"l": 90, "r": 25, "t": 75, "b": 60}, hovermode="closest")
    figure.update_annotations(font={"size": 12})
    figure.update_yaxes(nticks=5, exponentformat="power")
    figure.update_xaxes(nticks=4)
    figure.add_annotation(
        text=x_title, x=0.5, y=0, xref="paper", yref="paper", yshift=-50, showarrow=False, yanchor="bottom"
    )
    figure.add_annotation(
        text=y_title, x=0, y=0.5, xref="paper", yref="paper", xshift=-80, showarrow=False, textangle=-90
    )
    _show_lowest_ticks(figure, len(classes), columns)
    return figure


def _compact(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Four bytes a value, and not its digits, in the page; NaN makes a gap."""
    return np.asarray(values, np.float32)


def _show_lowest_ticks(figure: Any, panels: int, columns: int) -> None:
    """Tick labels under the lowest panel of each column, also where the last row is not full."""
    for position in range(max(0, panels - columns), panels):
        figure.update_xaxes(showticklabels=True, row=position // columns + 1, col=position % columns + 1)


def _static(
    classes: Sequence[ClassSpectra], labels: LabelMapping, x: NDArray[np.float64], x_title: str, y_title: str
) -> Canvas:
    rows = math.ceil(len(classes) / _COLUMNS)
    columns = min(_COLUMNS, len(classes))
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, 0.5 + 1.45 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for position, axes in enumerate(grid.flat):
            if position >= len(classes):
                axes.remove()
                continue
            entry = classes[position]
            colour = labels.colour(entry.name)
            for other in classes:
                if other is not entry:
                    axes.plot(x, other.mean, color=_OTHERS, linewidth=0.6, zorder=1)
            if entry.sd is not None:
                axes.fill_between(
                    x, entry.mean - entry.sd, entry.mean + entry.sd, color=colour, alpha=0.22, linewidth=0, zorder=2
                )
                for spectrum in entry.subjects.values():
                    axes.plot(x, spectrum, color=colour, linewidth=0.4, alpha=0.6, zorder=3)
            axes.plot(x, entry.mean, color=colour, linewidth=1.5, zorder=4)
            axes.set_title(entry.name, fontweight="bold", pad=12)
            axes.annotate(
                _counts(entry), (0.5, 1), (0, 2), xycoords="axes fraction", textcoords="offset points",
                ha="center", va="bottom", fontsize=6,
            )  # fmt: skip
            axes.grid(color=GRID)
            axes.locator_params(nbins=5)
            axes.tick_params(labelbottom=position >= len(classes) - columns)
        canvas.supxlabel(x_title, fontsize=8)
        canvas.supylabel(y_title, fontsize=8)
    return canvas
