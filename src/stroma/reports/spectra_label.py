"""The spectra of one label on their own: large enough for a paper, subjects and spread over them, groups apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from stroma.core.errors import UsageError, nearest
from stroma.reports.figure import GRID, Figure, count, plotly_figure, plotly_text, see_through, static_style
from stroma.reports.spectra import ClassSpectra, axis_titles, class_spectra, spectra_table
from stroma.spectra.medians import Spectrum
from stroma.study.labels import LabelMapping, distinct_colours

_WIDTH_IN, _HEIGHT_IN = 3.5, 2.6
"""One column of a journal: 89 mm."""

_MOST_GROUPS = 6
_LINES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."), ("longdash", (0, (8, 2))), ("solid", "-"))
"""Of groups in turn, for plotly and matplotlib: colour alone does not reach every reader."""


@dataclass(frozen=True)
class GroupSpectra:
    """The spectra of a label in one group of images.

    Attributes:
        group: Name of the group; empty where there is one.
        spectra: Mean over subjects, spread, subjects.
        colour: `#rrggbb`.
    """

    group: str
    spectra: ClassSpectra
    colour: str


def label_groups(
    rows: pl.DataFrame, labels: LabelMapping, column: Spectrum, by: str | None
) -> dict[str, list[GroupSpectra]]:
    """The spectra of each label, by the values of a column.

    Args:
        rows: Of one annotation, with the column `label`.
        labels: The classes, which give order and colours.
        column: Which spectra.
        by: Column of the groups; rows without a value are left out. None makes one group.

    Raises:
        UsageError: there is no such column, it has no value, or more than six.
    """
    if by is None:
        entries = class_spectra(rows, labels, column)
        return {entry.name: [GroupSpectra("", entry, labels.colour(entry.name))] for entry in entries}
    if by not in rows.columns:
        raise UsageError(f"the table has no column '{by}'", next_step=nearest(by, rows.columns))
    kind = rows[by].dtype
    if kind.is_nested():
        raise UsageError(f"the column '{by}' holds {kind}, where one value a row is needed")
    values = rows[by].drop_nulls().unique().sort().to_list()
    if not 1 <= len(values) <= _MOST_GROUPS:
        raise UsageError(
            f"the column '{by}' has {len(values)} values, where 1 to {_MOST_GROUPS} can be drawn apart",
            next_step="Choose a column of groups, or make a table of some images with stroma medians --where",
        )
    found: dict[str, list[GroupSpectra]] = {}
    for value, colour in zip(values, distinct_colours(len(values)), strict=True):
        for entry in class_spectra(rows.filter(pl.col(by) == value), labels, column):
            found.setdefault(entry.name, []).append(GroupSpectra(str(value), entry, colour))
    return {name: found[name] for name in labels.names if name in found}


def label_figure(groups: Sequence[GroupSpectra], x: NDArray[np.float64], *, has_nm: bool, column: str) -> Figure:
    """Draw the spectra of one class: the mean over subjects, one standard deviation over subjects, each subject.

    Args:
        groups: Of the class, at least one.
        x: (C,) wavelengths in nm, or channel numbers.
        has_nm: Which of the two.
        column: Which spectra: `median_spectrum` or `median_normalized_spectrum`.

    Returns:
        The figure; its table has label, group (where there are groups), wavelength_nm (or channel), mean, sd,
        n_subjects, n_images.
    """
    titles = axis_titles(column, has_nm=has_nm)
    name = groups[0].spectra.name
    tables = [
        spectra_table([one.spectra], x, "wavelength_nm" if has_nm else "channel").with_columns(
            pl.lit(one.group).alias("group")
        )
        for one in groups
    ]
    table = pl.concat(tables)
    columns = [column for column in table.columns if column not in ("label", "group")]
    grouped = bool(groups[0].group)
    return Figure(
        interactive=_interactive(groups, x, titles),
        static=_static(groups, x, titles),
        table=table.select("label", *(["group"] if grouped else []), *columns),
        text=f"{name}: mean ± 1 SD over subjects; {counts_text(groups)}",
        min_width_px=380,
    )


def counts_text(groups: Sequence[GroupSpectra]) -> str:
    """`perfused: 6 subjects, 12 images; ischaemic: …`."""
    return "; ".join((f"{one.group}: " if one.group else "") + _counts(one.spectra) for one in groups)


def _counts(entry: ClassSpectra) -> str:
    return f"{count(len(entry.subjects), 'subject')}, {count(entry.n_images, 'image')}"


def _interactive(groups: Sequence[GroupSpectra], x: NDArray[np.float64], titles: tuple[str, str]) -> Any:
    figure = plotly_figure(
        xaxis={"title": {"text": titles[0]}},
        yaxis={"title": {"text": titles[1]}, "exponentformat": "power"},
        height=360,
        margin={"l": 75, "r": 30, "t": 20, "b": 55},
        hovermode="closest",
        showlegend=len(groups) > 1,
    )
    shown = x.astype(np.float32)
    for place, one in enumerate(groups):
        entry, colour, dash = one.spectra, one.colour, _LINES[place % len(_LINES)][0]
        group = f", {plotly_text(one.group)}" if one.group else ""
        if entry.sd is not None:
            figure.add_scatter(
                x=np.concatenate([shown, shown[::-1]]), fill="toself", hoverinfo="skip", line={"width": 0},
                y=np.concatenate([entry.mean + entry.sd, (entry.mean - entry.sd)[::-1]]).astype(np.float32),
                fillcolor=see_through(colour, 0.18), showlegend=False, legendgroup=one.group,
            )  # fmt: skip
        for subject, spectrum in entry.subjects.items():
            figure.add_scatter(
                x=shown, y=spectrum.astype(np.float32), mode="lines", showlegend=False, legendgroup=one.group,
                line={"color": see_through(colour, 0.5), "width": 0.8},
                hovertemplate=f"subject {plotly_text(subject)}{group}<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
            )  # fmt: skip
        figure.add_scatter(
            x=shown, y=entry.mean.astype(np.float32), mode="lines",
            name=plotly_text(one.group), legendgroup=one.group, line={"color": colour, "width": 2.6, "dash": dash},
            hovertemplate=f"<b>{plotly_text(entry.name)}</b>{group}, mean<br>%{{x:.0f}}: %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    return figure


def _static(groups: Sequence[GroupSpectra], x: NDArray[np.float64], titles: tuple[str, str]) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        axes = canvas.subplots()
        for place, one in enumerate(groups):
            entry, colour, dash = one.spectra, one.colour, _LINES[place % len(_LINES)][1]
            if entry.sd is not None:
                axes.fill_between(
                    x, entry.mean - entry.sd, entry.mean + entry.sd, color=colour, alpha=0.18, linewidth=0, zorder=2
                )
            for spectrum in entry.subjects.values():
                axes.plot(x, spectrum, color=colour, linewidth=0.5, alpha=0.5, zorder=3)
            label = f"{one.group} (n = {len(entry.subjects)})"
            axes.plot(x, entry.mean, color=colour, linewidth=1.8, linestyle=dash, zorder=4, label=label)
        axes.set_title(groups[0].spectra.name, fontweight="bold", loc="left")
        if groups[0].group:
            axes.legend(loc="lower right")
        else:
            axes.set_title(f"n = {_counts(groups[0].spectra)}", loc="right", fontsize=7)
        axes.set_xlabel(titles[0])
        axes.set_ylabel(titles[1])
        axes.set_xlim(x[0], x[-1])
        axes.grid(color=GRID)
    return canvas


def table_of_labels(groups: dict[str, list[GroupSpectra]]) -> pl.DataFrame:
    """How many subjects and images each class has, in each group."""
    rows = [
        (name, one.group, len(one.spectra.subjects), one.spectra.n_images)
        for name, ones in groups.items()
        for one in ones
    ]
    schema = {"label": pl.String, "group": pl.String, "n_subjects": pl.Int64, "n_images": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
