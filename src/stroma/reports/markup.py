"""From the blocks of a report to HTML: everything is escaped here and links are percent-encoded here."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from PIL import Image as Picture
from plotly.offline import get_plotlyjs

from stroma.core.files import canonical_json, href, id_to_name
from stroma.reports.figure import PNG_DPI, WIDTH_IN, Figure, encode

if TYPE_CHECKING:
    from stroma.reports.page import Report, ReportSection

_LONG = 60  # characters from which a text is broken into lines
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a browser lets the page load: nothing from anywhere, so it works offline and sends nothing."""
GENERATOR = '<meta name="generator" content="stroma '
"""How the head of a page tells that Stroma made it; the version follows."""


@dataclass(frozen=True)
class Card:
    """A figure that the reader sees first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class TextBlock:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class HeadingBlock:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class FigureBlock:
    """A figure with its caption; `stem` names its files, of which there is a PDF if `pdf`."""

    figure: Figure
    stem: str
    caption: str
    reading: str
    pdf: bool = False


@dataclass(frozen=True)
class TableBlock:
    """A table of which `rows` rows and the columns of `headers` are shown."""

    table: pl.DataFrame
    stem: str
    caption: str
    headers: Mapping[str, str]
    rows: int


@dataclass(frozen=True)
class NothingBlock:
    """Says why a figure or table is missing."""

    text: str


@dataclass(frozen=True)
class ListingBlock:
    """The text of a file, folded up."""

    title: str
    text: str


@dataclass(frozen=True)
class LinksBlock:
    """Links to files."""

    title: str
    targets: tuple[tuple[str, Path], ...]


@dataclass(frozen=True)
class LimitsBlock:
    """What the results do not show."""

    sentences: tuple[str, ...]


Block = TextBlock | HeadingBlock | FigureBlock | TableBlock | NothingBlock | ListingBlock | LinksBlock | LimitsBlock


@dataclass(frozen=True)
class PageFiles:
    """Where the files beside a page lie.

    Those of `report.html` carry their plain names, those of another page begin with its name, so that several
    pages can share a folder.
    """

    page: Path

    @property
    def folder(self) -> Path:
        """The folder of the page; links are relative to it."""
        return self.page.parent

    def svg(self, stem: str) -> Path:
        """The SVG of a figure."""
        return self.folder / "figures" / f"{self._prefix}{stem}.svg"

    def pdf(self, stem: str) -> Path:
        """The PDF of a figure that has one."""
        return self.folder / "figures" / f"{self._prefix}{stem}.pdf"

    def png(self, stem: str) -> Path:
        """The PNG of a figure."""
        return self.folder / "figures" / f"{self._prefix}{stem}.png"

    def csv(self, stem: str) -> Path:
        """The CSV of a table, or of the numbers in a figure."""
        return self.folder / "tables" / f"{self._prefix}{stem}.csv"

    @property
    def _prefix(self) -> str:
        return "" if self.page.stem == "report" else f"{id_to_name(self.page.stem)}-"


def page_html(report: Report, pictures: Mapping[str, bytes], files: PageFiles) -> str:
    """The whole page.

    Args:
        report: What it shows.
        pictures: Stem of each figure → its static form as PNG.
        files: Where the files beside the page lie.
    """
    anchors = _anchors(report.sections)
    numbers = _Numbers()
    sections = "\n".join(
        _section(section, anchor, pictures, files, numbers)
        for section, anchor in zip(report.sections, anchors, strict=True)
    )
    script = f"<script>{get_plotlyjs()}</script>" if pictures else ""
    provenance = _json_text(canonical_json(report.provenance.to_dict()))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{GENERATOR}{_escape(report.provenance.stroma)}">
<title>{_escape(report.title)}</title>
<style>{_asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<h1>{_escape(report.title)}</h1>
{f'<p class="subtitle">{_escape(report.subtitle)}</p>' if report.subtitle else ""}
</header>
{_navigation(report.sections, anchors)}
<main id="main">
{_cards(report.cards)}
{sections}
</main>
<footer><p>Made by Stroma {_escape(report.provenance.stroma)}. The page holds all it needs and loads nothing;
figures for print and the numbers behind them lie beside it in <code>figures</code> and <code>tables</code>.</p>
</footer>
<script type="application/json" id="provenance">{provenance}</script>
{script}
<script>{_asset("page.js")}</script>
</body>
</html>
"""


class _Numbers:
    """Counts figures and tables through the page."""

    def __init__(self) -> None:
        self.figure = 0
        self.table = 0

    def next_figure(self) -> int:
        self.figure += 1
        return self.figure

    def next_table(self) -> int:
        self.table += 1
        return self.table


def _escape(text: str) -> str:
    return html.escape(str(text), quote=True)


def _json_text(text: str) -> str:
    """JSON that is safe inside a `<script>` element."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return package_files("stroma.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _anchors(sections: Sequence[ReportSection]) -> list[str]:
    """One address a section: its title in plain letters, with a number in front that makes it unique."""
    plain = [re.sub(r"[^a-z0-9]+", "-", f"{s.group} {s.title}".lower()).strip("-") for s in sections]
    return [f"s{number}-{text}".rstrip("-") for number, text in enumerate(plain, 1)]


def _navigation(sections: Sequence[ReportSection], anchors: Sequence[str]) -> str:
    if not sections:
        return ""
    parts, group = [], ""
    for section, anchor in zip(sections, anchors, strict=True):
        if section.group != group:
            group = section.group
            parts.append(f'<li class="group">{_escape(group)}</li>')
        parts.append(f'<li><a href="#{anchor}">{_escape(section.title)}</a></li>')
    return f'<nav aria-label="Sections"><ul>{"".join(parts)}</ul></nav>'


def _cards(cards: Sequence[Card]) -> str:
    if not cards:
        return ""
    items = "".join(
        f'<li><span class="label">{_escape(card.label)}</span><span class="value">{_escape(card.value)}</span>'
        f'<span class="note">{_escape(card.note)}</span></li>'
        for card in cards
    )
    return f'<ul class="cards" aria-label="Summary">{items}</ul>'


def _section(
    section: ReportSection, anchor: str, pictures: Mapping[str, bytes], files: PageFiles, numbers: _Numbers
) -> str:
    group = f'<p class="group">{_escape(section.group)}</p>' if section.group else ""
    blocks = "\n".join(_block(block, pictures, files, numbers) for block in section.blocks)
    return (
        f'<section aria-labelledby="{anchor}">{group}<h2 id="{anchor}">{_escape(section.title)}</h2>\n'
        f"{blocks}\n</section>"
    )


def _block(block: Block, pictures: Mapping[str, bytes], files: PageFiles, numbers: _Numbers) -> str:
    match block:
        case TextBlock(text):
            return f"<p>{_escape(text)}</p>"
        case HeadingBlock(text):
            return f"<h3>{_escape(text)}</h3>"
        case NothingBlock(text):
            return f'<p class="nothing">{_escape(text)}</p>'
        case FigureBlock():
            return _figure(block, pictures[block.stem], files, numbers.next_figure())
        case TableBlock():
            return _table(block, files, numbers.next_table())
        case ListingBlock(title, text):
            return f"<details><summary>{_escape(title)}</summary><pre>{_escape(text)}</pre></details>"
        case LinksBlock(title, targets):
            items = "".join(f"<li>{_link(path, label, files)}</li>" for label, path in targets)
            return f'<p>{_escape(title)}</p><ul class="links">{items}</ul>'
        case LimitsBlock(sentences):
            return f'<ul class="limits">{"".join(f"<li>{_escape(s)}</li>" for s in sentences)}</ul>'


def _link(path: Path, label: str, files: PageFiles) -> str:
    return f'<a href="{_escape(href(path, files.folder))}">{_escape(label)}</a>'


def _figure(block: FigureBlock, png: bytes, files: PageFiles, number: int) -> str:
    figure, identifier = block.figure, f"figure-{number}"
    width, height, uri = _printed(png)
    share = min(1.0, width / (PNG_DPI * WIDTH_IN))
    shape = f"aspect-ratio:{figure.aspect:.4f};" if figure.aspect else ""
    pdf = f"{_link(files.pdf(block.stem), 'PDF', files)} " if block.pdf else ""
    reading = f"<p><b>How to read this.</b> {_escape(block.reading)}</p>" if block.reading else ""
    return f"""<figure id="{identifier}">
<div class="scroll" tabindex="0" role="img" aria-label="{_escape(figure.text)}">
<div class="live" id="{identifier}-plot" style="{shape}min-width:{figure.min_width_px}px" hidden></div>
<img class="static" src="{uri}" width="{width}" height="{height}" style="width:{share:.1%}"
alt="{_escape(figure.text)}">
</div>
<figcaption><p><b>Figure {number}.</b> {_escape(block.caption)}</p>{reading}
<p class="files">{pdf}{_link(files.svg(block.stem), "SVG", files)} {_link(files.png(block.stem), "PNG", files)}
{_link(files.csv(block.stem), "numbers (CSV)", files)}</p></figcaption>
<script type="application/json" data-plot="{identifier}-plot">{figure.json()}</script>
</figure>"""


def _printed(png: bytes) -> tuple[int, int, str]:
    """Width, height and `data:` address of a static figure, as WebP: a quarter of the PNG's size."""
    picture = Picture.open(io.BytesIO(png)).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=88, method=4)
    return picture.width, picture.height, encode(buffer.getvalue(), "image/webp")


def _table(block: TableBlock, files: PageFiles, number: int) -> str:
    shown = block.table.select(list(block.headers)).head(block.rows)
    kinds = [_kind(column) for column in shown]
    head = "".join(
        f'<th scope="col"{kind}>{_escape(title)}</th>'
        for kind, title in zip(kinds, block.headers.values(), strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(v)}</td>" for kind, v in zip(kinds, row, strict=True)) + "</tr>"
        for row in shown.rows()
    )
    hidden = block.table.height - shown.height
    more = f" The page shows {shown.height:,} of {block.table.height:,} rows." if hidden else ""
    return f"""<figure class="table" id="table-{number}">
<figcaption><p><b>Table {number}.</b> {_escape(block.caption)}{more}</p></figcaption>
<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p class="files">{_link(files.csv(block.stem), "all columns and rows (CSV)", files)}</p>
</figure>"""


def _kind(column: pl.Series) -> str:
    """Numbers stand to the right; sentences and paths are broken, so that nothing hides beyond the edge."""
    if column.dtype.is_numeric():
        return ' class="number"'
    is_long = column.dtype == pl.String and (column.str.len_chars().max() or 0) > _LONG  # type: ignore[operator]
    return ' class="long"' if is_long else ""


def _cell(value: Any) -> str:
    if value is None or value != value:
        return '<span class="none">–</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return _escape(value)
