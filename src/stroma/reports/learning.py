"""Learning curves: each logged value over the epochs, one line a fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from stroma.reports.figure import GRID, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style

_COLUMNS = 2
_FOLD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f")
"""Okabe and Ito (2008), which colour-blind readers can tell apart; folds are no classes and share no colour rule."""
_MOST_MARKED = 40
"""Lines of more epochs have no mark at each."""
_DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"))


def learning_figure(metrics: pl.DataFrame) -> Figure | None:
    """Draw learning curves.

    Args:
        metrics: Columns fold, epoch (from 0), name, value; `name` is for example `train_loss` or `validation_dice`.

    Returns:
        The figure, one panel a name, or None without any value. Its table is `metrics`, sorted. Figure and table
        count epochs from 1, as people and `log.txt` do.
    """
    drawn = metrics.filter(pl.col("value").is_not_null() & pl.col("value").is_finite())
    if drawn.is_empty():
        return None
    drawn = drawn.sort("name", "fold", "epoch").with_columns(pl.col("epoch") + 1)
    names = _order(drawn["name"].unique().sort().to_list())
    folds = drawn["fold"].unique().sort().to_list()
    epochs = drawn["epoch"].n_unique()
    return Figure(
        interactive=_interactive(drawn, names, folds),
        static=_static(drawn, names, folds),
        table=drawn,
        text=f"Learning curves of {count(len(folds), 'fold')} over {count(epochs, 'epoch')}: "
        + ", ".join(_title(name) for name in names),
        min_width_px=520,
    )


def _order(names: Sequence[str]) -> list[str]:
    """Losses first, then what is measured in validation, then the rest."""
    return sorted(names, key=lambda name: ("loss" not in name, "validation" not in name, name))


def _title(name: str) -> str:
    words = name.replace("/", " ").replace("_", " ")
    return words[:1].upper() + words[1:].replace("dice", "Dice")


def best_epochs(metrics: pl.DataFrame, name: str) -> pl.DataFrame:
    """The first epoch with the highest value of `name` in each fold (columns fold, epoch, value)."""
    rows = metrics.filter((pl.col("name") == name) & pl.col("value").is_finite())
    ranked = rows.sort(["fold", "value", "epoch"], descending=[False, True, False])
    return ranked.group_by("fold", maintain_order=True).first().select("fold", "epoch", "value")


def _is_score(name: str) -> bool:
    return "validation" in name and "loss" not in name


def _style(position: int) -> tuple[str, tuple[str, str]]:
    return _FOLD_COLOURS[position % len(_FOLD_COLOURS)], _DASHES[position // len(_FOLD_COLOURS) % len(_DASHES)]


def _interactive(metrics: pl.DataFrame, names: Sequence[str], folds: Sequence[str]) -> Any:
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    mode = "lines+markers" if metrics["epoch"].n_unique() <= _MOST_MARKED else "lines"
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=[plotly_text(_title(name)) for name in names],
        horizontal_spacing=0.1, vertical_spacing=min(0.3, 80 / (70 + 290 * rows)), figure=plotly_figure(),
    )  # fmt: skip
    for panel, name in enumerate(names):
        place = {"row": panel // columns + 1, "col": panel % columns + 1}
        for position, fold in enumerate(folds):
            colour, (dash, _) = _style(position)
            line = metrics.filter((pl.col("name") == name) & (pl.col("fold") == fold))
            figure.add_scatter(
                x=line["epoch"].to_list(), y=line["value"].to_list(), mode=mode,
                line={"color": colour, "dash": dash, "width": 1.8}, marker={"size": 4}, name=plotly_text(fold),
                legendgroup=str(position), showlegend=panel == 0,
                hovertemplate=f"{plotly_text(fold)}, epoch %{{x}}: %{{y:.4g}}<extra></extra>", **place,
            )  # fmt: skip
        if _is_score(name):
            best = best_epochs(metrics, name)
            figure.add_scatter(
                x=best["epoch"].to_list(), y=best["value"].to_list(), mode="markers", showlegend=False,
                marker={"symbol": "circle-open", "size": 12, "color": "black", "line": {"width": 1.5}},
                text=[plotly_text(fold) for fold in best["fold"]],
                hovertemplate="highest of %{text}: %{y:.4f}, epoch %{x}<extra></extra>", **place,
            )  # fmt: skip
    figure.update_xaxes(title_text="Epoch", tickformat="d", automargin=True)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        height=90 + 290 * rows, margin={"t": 60, "l": 60}, legend={"title": {"text": "Fold"}}, hovermode="closest"
    )
    return figure


def _static(metrics: pl.DataFrame, names: Sequence[str], folds: Sequence[str]) -> Canvas:
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with static_style():
        marker = "." if metrics["epoch"].n_unique() <= _MOST_MARKED else ""
        canvas = Canvas(figsize=(WIDTH_IN, 0.4 + 2.2 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False)
        for panel, axes in enumerate(grid.flat):
            if panel >= len(names):
                axes.remove()
                continue
            name = names[panel]
            for position, fold in enumerate(folds):
                colour, (_, dash) = _style(position)
                line = metrics.filter((pl.col("name") == name) & (pl.col("fold") == fold))
                axes.plot(
                    line["epoch"].to_list(), line["value"].to_list(), color=colour, linestyle=dash, linewidth=1.1,
                    marker=marker, markersize=3, label=fold if panel == 0 else None,
                )  # fmt: skip
            if _is_score(name):
                best = best_epochs(metrics, name)
                axes.plot(
                    best["epoch"].to_list(), best["value"].to_list(), "o", markerfacecolor="none",
                    markeredgecolor="black", markersize=6, markeredgewidth=0.9,
                )  # fmt: skip
            axes.set_title(_title(name))
            axes.set_xlabel("Epoch")
            axes.grid(color=GRID)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.legend(loc="outside right center", title="Fold")
    return canvas
