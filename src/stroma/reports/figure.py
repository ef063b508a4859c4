"""`Figure`: one picture twice, interactive for the screen (plotly) and static for paper (matplotlib)."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import plotly.io.json as plotly_json
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from PIL import Image as Picture

WIDTH_IN = 7.1
"""Width of a static figure in inches: the text width of a printed page (180 mm)."""
PNG_DPI = 200
INK = "#1f2933"
QUIET = "#616e7c"
GRID = "#e1e6eb"
ABSENT = "#bebebe"
"""Grey of everything that has no class: the colour `LabelMapping.palette` gives to `IGNORE`."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_STATIC_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look alike on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.grid": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 100,
    "svg.hashsalt": "stroma",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType: journals ask for it
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a `$` in an id is a character
}

_TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "hoverlabel": {"font": {"family": FONT, "size": 13}, "align": "left"},
        "legend": {"itemsizing": "constant"},
        "xaxis": {"gridcolor": GRID, "linecolor": QUIET, "ticks": "outside", "tickcolor": QUIET, "zeroline": False},
        "yaxis": {"gridcolor": GRID, "linecolor": QUIET, "ticks": "outside", "tickcolor": QUIET, "zeroline": False},
    }
)


@dataclass(frozen=True)
class Figure:
    """One figure in both forms, and the numbers in it.

    Attributes:
        interactive: For the page.
        static: For paper: what `figures/*.svg` and `*.png` and the printed page show.
        table: What is drawn, one row a mark; written as CSV.
        text: What a reader who cannot see it has to know, in one sentence.
        aspect: Width over height, where the interactive form has to keep it; else its layout's height counts.
        min_width_px: Below this width the page scrolls the figure sideways instead of squeezing it.
    """

    interactive: Any
    static: Canvas
    table: pl.DataFrame
    text: str
    aspect: float | None = None
    min_width_px: int = 0

    def json(self) -> str:
        """Data and layout of the interactive form as JSON that is safe inside a `<script>` element."""
        text: str = plotly_json.to_json_plotly(self.interactive, engine="json")
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

    def svg(self) -> bytes:
        """The static form as SVG with text as outlines."""
        return self._render("svg", metadata={"Date": None, "Creator": None})

    def png(self) -> bytes:
        """The static form as PNG of `PNG_DPI`."""
        return self._render("png", metadata={"Software": None}, dpi=PNG_DPI)

    def pdf(self) -> bytes:
        """The static form as PDF, its text as text in embedded fonts; the same figure gives the same bytes."""
        return self._render("pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})

    def _render(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with static_style():
            self.static.savefig(buffer, format=kind, facecolor="white", **options)
            self.static.set_layout_engine("none")  # the places are found once, so SVG and PNG agree
        return buffer.getvalue()


@contextmanager
def static_style() -> Iterator[None]:
    """The style of all static figures; draw and save inside it."""
    with mpl.rc_context(_STATIC_STYLE):
        yield


def plotly_figure(**layout: Any) -> Any:
    """An empty interactive figure in our style."""
    return go.Figure(layout={"template": _TEMPLATE, **layout})


def plotly_text(text: str) -> str:
    """Text for plotly, which reads tags and entities in labels, hover texts and legends."""
    return html.escape(str(text), quote=False)


def see_through(colour: str, opacity: float) -> str:
    """`#rrggbb` as `rgba(…)` of the given opacity (0-1)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def data_uri(picture: NDArray[np.uint8], *, kind: str = "jpeg", quality: int = 82) -> str:
    """A picture as a `data:` address, so that a page needs no other file.

    Args:
        picture: (H, W, 3) RGB or (H, W, 4) RGBA.
        kind: `jpeg`, `webp` or `png`.
        quality: 0-100, of `jpeg` and `webp`.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {"optimize": True} if kind == "png" else {"quality": quality}
    Picture.fromarray(np.ascontiguousarray(picture)).save(buffer, format=kind.upper(), **options)
    return encode(buffer.getvalue(), f"image/{kind}")


def encode(content: bytes, media_type: str) -> str:
    """Bytes as a `data:` address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def shrink(picture: NDArray[Any], longest_px: int, *, smooth: bool = True) -> NDArray[Any]:
    """Make a picture small enough: area average for pictures, nearest pixel for class indices.

    Args:
        picture: (H, W) or (H, W, C), uint8.
        longest_px: Length of the longer side afterwards; smaller pictures stay as they are.
        smooth: False for class indices.
    """
    height, width = picture.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = Picture.Resampling.BOX if smooth else Picture.Resampling.NEAREST
    return np.asarray(Picture.fromarray(picture).resize(size, method))


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 subject`, `1,204 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
