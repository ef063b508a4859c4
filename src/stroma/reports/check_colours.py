"""The colours of all images as dots: brightness against tint, those that stand apart ringed."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from stroma.reports.figure import INK, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style

BRIGHTNESS, TINT = "brightness (mean of red, green, blue)", "tint (red − blue)"
_MOST = 5_000
_ASPECT = 2.0


def colours_figure(images: pl.DataFrame, marked: set[str]) -> Figure | None:
    """Draw one dot an image, in its own mean colour.

    Args:
        images: `image_id`, `subject_id`, `mean_red`, `mean_green`, `mean_blue` (0-1 or null).
        marked: Ids of the images to put a ring around.

    Returns:
        The figure, or None for fewer than two images with colours. Above 5,000 images the others are thinned evenly.
    """
    known = images.filter(pl.col("mean_red").is_not_null()).sort("image_id")
    if len(known) < 2:
        return None
    ringed = pl.col("image_id").is_in(sorted(marked))
    others = known.filter(~ringed).gather_every(max(1, -(-len(known) // _MOST)))
    table = pl.concat([others, known.filter(ringed)]).select(
        "image_id",
        "subject_id",
        brightness=pl.mean_horizontal("mean_red", "mean_green", "mean_blue"),
        tint=pl.col("mean_red") - pl.col("mean_blue"),
        ringed=ringed,
        colour=pl.concat_list("mean_red", "mean_green", "mean_blue"),
    )
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in ((round(255 * v) for v in row) for row in table["colour"])]
    table = table.with_columns(pl.Series("colour", colours))
    return Figure(
        interactive=_interactive(table),
        static=_static(table),
        table=table,
        text=f"Brightness and tint of {count(len(table), 'image')}, {table['ringed'].sum()} of them ringed",
        aspect=_ASPECT,
        min_width_px=480,
    )


def _interactive(table: pl.DataFrame) -> Any:
    figure = plotly_figure(showlegend=False, hovermode="closest")
    rows = table.select("image_id", "subject_id").iter_rows()
    figure.add_scatter(
        x=table["brightness"].to_list(), y=table["tint"].to_list(), mode="markers",
        text=[f"<b>{plotly_text(image)}</b><br>subject {plotly_text(subject)}" for image, subject in rows],
        marker={
            "color": table["colour"].to_list(), "size": 11,
            "line": {"color": INK, "width": [2.5 if ringed else 0.3 for ringed in table["ringed"]]},
        },
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=BRIGHTNESS)
    figure.update_yaxes(title={"text": TINT, "standoff": 12}, automargin=True)
    return figure


def _static(table: pl.DataFrame) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, WIDTH_IN / _ASPECT), layout="constrained")
        axes = canvas.subplots()
        widths = [1.4 if ringed else 0.2 for ringed in table["ringed"]]
        x, y = (_numbers(table, name) for name in ("brightness", "tint"))
        axes.scatter(x, y, c=table["colour"].to_list(), s=28, edgecolors=INK, linewidths=widths)
        axes.set_xlabel(BRIGHTNESS)
        axes.set_ylabel(TINT)
    return canvas


def _numbers(table: pl.DataFrame, name: str) -> NDArray[Any]:
    return table[name].to_numpy()
