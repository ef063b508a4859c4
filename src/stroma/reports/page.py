"""`Report`: a page of text, figures, tables and limits, written as one offline HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from stroma.core.clock import stage
from stroma.core.files import id_to_name, write_bytes, write_text
from stroma.core.provenance import Provenance
from stroma.reports.figure import Figure
from stroma.reports.markup import (
    Block,
    Card,
    FigureBlock,
    HeadingBlock,
    LimitsBlock,
    LinksBlock,
    ListingBlock,
    NothingBlock,
    PageFiles,
    TableBlock,
    TextBlock,
    page_html,
)

REPORT_FORMAT = "report/1"


class _Names:
    """The file stems that a page has given out."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def claim(self, name: str) -> str:
        """A file stem for `name` that no other block of the page has."""
        stem, number = id_to_name(name), 1
        while (candidate := stem if number == 1 else f"{stem}-{number}").lower() in self._given:
            number += 1
        self._given.add(candidate.lower())
        return candidate


@dataclass
class ReportSection:
    """One section of a report; blocks appear in the order in which they are added.

    Attributes:
        title: Its heading.
        group: What it is about where a page is about several things (the name of a run); may be empty.
    """

    title: str
    group: str = ""
    blocks: list[Block] = field(default_factory=list)
    _names: _Names = field(default_factory=_Names)

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs of plain text."""
        self.blocks.extend(TextBlock(paragraph) for paragraph in paragraphs if paragraph)

    def heading(self, text: str) -> None:
        """Add a heading inside the section."""
        self.blocks.append(HeadingBlock(text))

    def figure(
        self,
        figure: Figure | None,
        name: str,
        *,
        caption: str,
        reading: str = "",
        otherwise: str = "",
        pdf: bool = False,
    ) -> None:
        """Add a figure.

        Args:
            figure: The figure, or None where there is nothing to draw.
            name: Stem of its files; one that the page has already gets a number.
            caption: What it shows, with the numbers of subjects and images.
            reading: How to read it: marks, colours, bands.
            otherwise: What the page says in place of a figure that is None.
            pdf: Write it as PDF too, for a paper.
        """
        if figure is None:
            self.blocks.append(NothingBlock(otherwise or f"Nothing to show: {caption}"))
        else:
            self.blocks.append(FigureBlock(figure, self._names.claim(name), caption, reading, pdf))

    def table(
        self,
        table: pl.DataFrame,
        name: str,
        *,
        caption: str,
        headers: Mapping[str, str] | None = None,
        rows: int = 40,
        otherwise: str = "",
    ) -> None:
        """Add a table; the page shows its first rows, its CSV file all of them, unrounded.

        Args:
            table: Columns of plain values (no lists).
            name: Stem of its CSV file.
            caption: What it holds.
            headers: Column → heading; only these columns are shown, in this order (default: all).
            rows: How many rows the page shows.
            otherwise: What the page says in place of a table without rows.
        """
        if table.is_empty():
            self.blocks.append(NothingBlock(otherwise or f"Nothing to show: {caption}"))
        else:
            shown = dict(headers) if headers else {column: column for column in table.columns}
            self.blocks.append(TableBlock(table, self._names.claim(name), caption, shown, rows))

    def listing(self, title: str, text: str) -> None:
        """Add a file's text (a configuration) that is folded up until it is asked for."""
        self.blocks.append(ListingBlock(title, text))

    def links(self, title: str, targets: Sequence[tuple[str, Path]]) -> None:
        """Add links to files, given as (label, path); the page links them relative to itself."""
        if targets:
            self.blocks.append(LinksBlock(title, tuple(targets)))

    def limits(self, sentences: Sequence[str]) -> None:
        """Add what the results do not show."""
        if sentences:
            self.blocks.append(LimitsBlock(tuple(sentences)))


class Report:
    """A report under construction.

    Args:
        title: Heading and window title.
        subtitle: One sentence under it.
        provenance: What it was made from; stands in the page.
    """

    def __init__(self, title: str, *, subtitle: str = "", provenance: Provenance | None = None) -> None:
        self.title = title
        self.subtitle = subtitle
        self.provenance = provenance or Provenance(REPORT_FORMAT)
        self.cards: list[Card] = []
        self.sections: list[ReportSection] = []
        self._names = _Names()

    def card(self, label: str, value: str, note: str = "") -> None:
        """Add a summary card: a figure that the reader sees first."""
        self.cards.append(Card(label, value, note))

    def section(self, title: str, *, group: str = "") -> ReportSection:
        """Add a section and return it to be filled."""
        section = ReportSection(title, group, _names=self._names)
        self.sections.append(section)
        return section

    def write(self, path: Path) -> list[Path]:
        """Write the page and, beside it, `tables/*.csv`, `figures/*.svg` and `figures/*.png`.

        The page needs none of these files: it holds its figures, its style and plotly.js. Files of a page that
        is not called `report.html` begin with its name, so that several pages can share a folder.

        Args:
            path: The page, for example `report.html`.

        Returns:
            All files written, the page last. The same report gives the same bytes.
        """
        path = Path(path)
        files = PageFiles(path)
        written: list[Path] = []
        pictures: dict[str, bytes] = {}
        for block in [block for section in self.sections for block in section.blocks]:
            if isinstance(block, FigureBlock):
                with stage("transform"):
                    svg, pictures[block.stem] = block.figure.svg(), block.figure.png()
                with stage("write"):
                    written.append(write_bytes(files.svg(block.stem), svg))
                    written.append(write_bytes(files.png(block.stem), pictures[block.stem]))
                    written.append(write_csv(block.figure.table, files.csv(block.stem)))
                    if block.pdf:
                        written.append(write_bytes(files.pdf(block.stem), block.figure.pdf()))
            elif isinstance(block, TableBlock):
                with stage("write"):
                    written.append(write_csv(block.table, files.csv(block.stem)))
        with stage("write"):
            write_text(path, page_html(self, pictures, files))
        return [*written, path]


def write_csv(table: pl.DataFrame, path: Path) -> Path:
    """Write a table as CSV: UTF-8, commas, a header line, numbers unrounded, nothing for null."""
    return write_text(path, table.write_csv())
