"""Images beside their reference and prediction, in the colours of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.regions.outlines import polygons_from_mask
from stroma.reports.figure import (
    ABSENT,
    WIDTH_IN,
    Figure,
    count,
    data_uri,
    plotly_figure,
    plotly_text,
    shrink,
    static_style,
)
from stroma.study.labels import IGNORE, LabelMapping

SHOWN_PX = 400
"""Longer side of a shown image; larger ones are shrunk."""
_OPACITY = 0.5
_SMALLEST_PX = 16
"""Area below which a region is filled but gets no outline."""
_GAP = 0.012
_BAND = 0.034
"""Space between panels, and height of a row's title, in units of the figure's width."""
_BARS = 0.07
"""Height that the toolbar and the legend of the interactive form take, in units of its width."""
_HEADINGS = 0.02
"""Height of the line of headings, in the same units."""


@dataclass(frozen=True)
class OverlayItem:
    """One image of the figure; what is None is left out.

    Attributes:
        title: Written above it.
        rgb: (H, W, 3) uint8.
        reference: (H, W) class indices, `IGNORE` where not annotated.
        predicted: (H, W) class indices, `IGNORE` where not predicted.
    """

    title: str
    rgb: NDArray[np.uint8] | None
    reference: NDArray[np.uint8] | None
    predicted: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Panel:
    """One picture and its outlines in its place: left, bottom, width and height as fractions of the figure."""

    picture: NDArray[np.uint8]
    lines: Mapping[int, Sequence[NDArray[np.float64]]]
    heading: str
    place: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Row:
    title: str
    panels: tuple[_Panel, ...]


def overlay_figure(items: Sequence[OverlayItem], labels: LabelMapping) -> Figure | None:
    """Draw each item as a row: the image, the reference on it, the prediction on it.

    Args:
        items: At most four or five fit a printed page.
        labels: The classes, which give the colours.

    Returns:
        The figure, or None without items. Its table has image, layer, label and fraction (0-1) of the image's
        pixels, `not annotated` or `not predicted` among the labels.

    Raises:
        InvalidData: the sizes of an item's image and masks differ, or it has none of them.
    """
    if not items:
        return None
    for item in items:
        _check(item)
    rows, height = _layout(items, labels)
    masks = [mask for item in items for mask in (item.reference, item.predicted) if mask is not None]
    present = sorted({int(index) for mask in masks for index in np.unique(mask)} - {IGNORE})
    blank = _blank_name(items)
    return Figure(
        interactive=_interactive(rows, labels, present, blank),
        static=_static(rows, labels, present, blank, height),
        table=_table(items, labels),
        text=f"{count(len(items), 'image')} with overlays: " + "; ".join(item.title for item in items),
        aspect=1 / (height + _BARS),
        min_width_px=640,
    )


def _blank_name(items: Sequence[OverlayItem]) -> str:
    """What pixels without a class are called in the legend; empty where there are none."""
    reference = any(i.reference is not None and (i.reference == IGNORE).any() for i in items)
    predicted = any(i.predicted is not None and (i.predicted == IGNORE).any() for i in items)
    if reference and predicted:
        return "not annotated, not predicted"
    return "not annotated" if reference else "not predicted" if predicted else ""


def _check(item: OverlayItem) -> None:
    sizes = {array.shape[:2] for array in (item.rgb, item.reference, item.predicted) if array is not None}
    if len(sizes) != 1:
        shown = ", ".join(f"{h} × {w}" for h, w in sorted(sizes)) or "nothing"
        raise InvalidData(f"image and masks to be drawn have different sizes ({shown})", where=item.title)


def compose(
    rgb: NDArray[np.uint8] | None, mask: NDArray[np.uint8], labels: LabelMapping, opacity: float = _OPACITY
) -> NDArray[np.uint8]:
    """Lay class colours over an image; pixels without a class become grey with diagonal stripes.

    Args:
        rgb: (H, W, 3), or None for plain colours.
        mask: (H, W) class indices.
        labels: Gives the colours.
        opacity: Of the colours over the image, 0-1.

    Returns:
        (H, W, 3) uint8.
    """
    colours = labels.palette[mask].astype(np.float32)
    if rgb is None:
        mixed = colours
        plain = np.full_like(colours, 225)
    else:
        mixed = opacity * colours + (1 - opacity) * rgb
        plain = np.repeat(0.45 * rgb.mean(axis=2, keepdims=True, dtype=np.float32) + 118, 3, axis=2)
    stripes = np.indices(mask.shape).sum(axis=0) % 9 < 2
    striped = np.where(stripes[..., None], plain - 55, plain)
    result = np.where((mask == IGNORE)[..., None], striped, mixed)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def outlines(mask: NDArray[np.uint8], smallest_px: float = _SMALLEST_PX) -> dict[int, list[NDArray[np.float64]]]:
    """Outlines of the regions of all classes, holes included.

    Args:
        mask: (H, W) class indices; `IGNORE` gets no outline.
        smallest_px: Area in pixels below which a region gets none either.

    Returns:
        Class → closed lines (n, 2) of x, y in pixels of `mask`, pixel centres at +0.5.
    """
    values, polygons = polygons_from_mask(np.where(mask == IGNORE, 0, mask.astype(np.int64) + 1), simplify_px=0.5)
    lines: dict[int, list[NDArray[np.float64]]] = {}
    for value, polygon in zip(values.tolist(), polygons, strict=True):
        if polygon.area >= smallest_px:
            rings = [polygon.exterior, *polygon.interiors]
            lines.setdefault(value - 1, []).extend(np.asarray(ring.coords, np.float64) for ring in rings)
    return lines


def _layout(items: Sequence[OverlayItem], labels: LabelMapping) -> tuple[list[_Row], float]:
    """All panels in their places, and the figure's height in units of its width."""
    headings = [
        heading
        for heading, there in (
            ("Image", any(item.rgb is not None for item in items)),
            ("Reference", any(item.reference is not None for item in items)),
            ("Prediction", any(item.predicted is not None for item in items)),
        )
        if there
    ]
    columns = max(2, len(headings))
    width = (1 - _GAP * (columns - 1)) / columns
    shapes = [next(a.shape for a in (i.rgb, i.reference, i.predicted) if a is not None) for i in items]
    heights = [min(width * 1.4, width * shape[0] / shape[1]) for shape in shapes]
    total = sum(heights) + len(items) * _BAND + _HEADINGS
    rows, top = [], total - _HEADINGS
    for item, row_height in zip(items, heights, strict=True):
        panels = []
        for column, heading in enumerate(headings):
            picture, lines = _panel(item, heading, labels)
            if picture is not None:
                left = column * (width + _GAP)
                bottom = (top - _BAND - row_height) / total
                panels.append(_Panel(picture, lines, heading, (left, bottom, width, row_height / total)))
        rows.append(_Row(item.title, tuple(panels)))
        top -= _BAND + row_height
    return rows, total


def _panel(
    item: OverlayItem, heading: str, labels: LabelMapping
) -> tuple[NDArray[np.uint8] | None, Mapping[int, Sequence[NDArray[np.float64]]]]:
    rgb = None if item.rgb is None else shrink(item.rgb, SHOWN_PX)
    if heading == "Image":
        return rgb, {}
    mask = item.reference if heading == "Reference" else item.predicted
    if mask is None:
        return None, {}
    small = shrink(mask, SHOWN_PX, smooth=False)
    return compose(rgb, small, labels), outlines(small)


def _table(items: Sequence[OverlayItem], labels: LabelMapping) -> pl.DataFrame:
    rows = []
    for item in items:
        for layer, mask, blank in (
            ("reference", item.reference, "not annotated"),
            ("prediction", item.predicted, "not predicted"),
        ):
            if mask is not None:
                pixels = np.bincount(mask.ravel(), minlength=256) / mask.size
                named = [*((name, pixels[i]) for i, name in enumerate(labels.names)), (blank, pixels[IGNORE])]
                rows += [(item.title, layer, name, float(part)) for name, part in named if part > 0]
    schema = {"image": pl.String, "layer": pl.String, "label": pl.String, "fraction": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _columns(rows: Sequence[_Row]) -> dict[str, tuple[float, float]]:
    """Left edge and width of each column by its heading."""
    return {panel.heading: (panel.place[0], panel.place[2]) for row in rows for panel in row.panels}


def _shorten(title: str, longest: int = 96) -> str:
    return title if len(title) <= longest else f"{title[: longest - 51]}…{title[-50:]}"


def _interactive(rows: Sequence[_Row], labels: LabelMapping, present: Sequence[int], blank: str) -> Any:
    width_px = sum(46 + 7 * len(name) for name in [*(labels.names[i] for i in present), blank])
    legend_lines = -(-width_px // 1000)
    figure = plotly_figure(
        margin={"l": 0, "r": 0, "t": 34, "b": 16 + 20 * legend_lines},
        legend={
            "orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "itemsizing": "constant"
        },
        hovermode="closest",
    )  # fmt: skip
    named: set[int] = set()
    number = 0
    for row in rows:
        first_of_row = number + 1
        for panel in row.panels:
            number += 1
            _add_panel(figure, panel, number, first_of_row, labels, present, named)
        _, bottom, _, height = row.panels[0].place
        figure.add_annotation(
            x=0, y=bottom + height, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=2,
            text=plotly_text(_shorten(row.title)), showarrow=False, font={"size": 12},
        )  # fmt: skip
    if blank:
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=blank, hoverinfo="skip",
            marker={"symbol": "square", "size": 11, "color": ABSENT},
        )  # fmt: skip
    for heading, (left, width) in _columns(rows).items():
        figure.add_annotation(
            x=left + width / 2, y=1, xref="paper", yref="paper", xanchor="center", yanchor="top",
            text=f"<b>{heading}</b>", showarrow=False, font={"size": 13},
        )  # fmt: skip
    return figure


def _add_panel(
    figure: Any, panel: _Panel, number: int, first: int, labels: LabelMapping, present: Sequence[int], named: set[int]
) -> None:
    height, width = panel.picture.shape[:2]
    left, bottom, w, h = panel.place
    suffix = "" if number == 1 else str(number)
    hidden = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": False, "zeroline": False}
    linked = {} if number == first else {"matches": f"x{'' if first == 1 else first}"}
    linked_y = {} if number == first else {"matches": f"y{'' if first == 1 else first}"}
    figure.update_layout(
        {
            f"xaxis{suffix}": {
                "domain": [left, min(1.0, left + w)], "range": [0, width], "anchor": f"y{suffix}", **linked, **hidden,
            },
            f"yaxis{suffix}": {
                "domain": [max(0.0, bottom), bottom + h], "range": [height, 0], "anchor": f"x{suffix}",
                "scaleanchor": f"x{suffix}", "constrain": "domain", **linked_y, **hidden,
            },
        }
    )  # fmt: skip
    figure.add_layout_image(
        source=data_uri(panel.picture), xref=f"x{suffix}", yref=f"y{suffix}", x=0, y=0, sizex=width, sizey=height,
        sizing="stretch", layer="below",
    )  # fmt: skip
    place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
    figure.add_scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip", **place)
    for index in present if panel.heading != "Image" else ():
        lines = panel.lines.get(index, ())
        if not lines and index in named:
            continue
        joined = np.concatenate(
            [np.vstack([line, [[np.nan, np.nan]]]) for line in lines] or [np.full((1, 2), np.nan)]
        )
        name = labels.names[index]
        figure.add_scatter(
            x=joined[:, 0].astype(np.float32), y=joined[:, 1].astype(np.float32), mode="lines", fill="toself",
            fillcolor="rgba(0,0,0,0)", hoveron="fills", hoverinfo="text", name=plotly_text(name),
            text=f"{panel.heading.lower()}: {plotly_text(name)}", legendgroup=str(index),
            showlegend=index not in named, line={"color": labels.colour(name), "width": 1.6}, **place,
        )  # fmt: skip
        named.add(index)


def _static(rows: Sequence[_Row], labels: LabelMapping, present: Sequence[int], blank: str, height: float) -> Canvas:
    legend_rows = -(-(len(present) + bool(blank)) // 5)
    legend_in = 0.1 + 0.17 * legend_rows
    picture_in = WIDTH_IN * height
    total_in = picture_in + legend_in
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN, total_in))
        for row in rows:
            for panel in row.panels:
                left, bottom, w, h = panel.place
                place = (left, (legend_in + bottom * picture_in) / total_in, w, h * picture_in / total_in)
                _draw_panel(canvas, panel, place, labels)
            _, bottom, _, h = row.panels[0].place
            top_in = legend_in + (bottom + h) * picture_in
            canvas.text(0, (top_in + 0.03) / total_in, _shorten(row.title), fontsize=6.5, va="bottom")
        for heading, (left, w) in _columns(rows).items():
            canvas.text(left + w / 2, 1 - 0.04 / total_in, heading, fontweight="bold", ha="center", va="top")
        handles = [Patch(facecolor=labels.colour(labels.names[i]), label=labels.names[i]) for i in present]
        if blank:
            handles.append(Patch(facecolor="#dcdcdc", edgecolor="#8c8c8c", hatch="//////", linewidth=0, label=blank))
        if handles:
            canvas.legend(
                handles=handles, loc="lower center", ncols=5, borderaxespad=0.1, handlelength=1.2, columnspacing=1.2
            )
    return canvas


def _draw_panel(
    canvas: Canvas, panel: _Panel, place: tuple[float, float, float, float], labels: LabelMapping
) -> None:
    height, width = panel.picture.shape[:2]
    axes = canvas.add_axes(place)
    axes.imshow(panel.picture, extent=(0, width, height, 0), interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    for index, lines in sorted(panel.lines.items()):
        axes.add_collection(LineCollection(lines, colors="white", linewidths=1.3, alpha=0.7))
        axes.add_collection(LineCollection(lines, colors=labels.colour(labels.names[index]), linewidths=0.8))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
