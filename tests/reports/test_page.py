"""The page: offline, escaped, linked, and the same bytes every time."""

import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.reports.learning import learning_figure
from stroma.reports.page import Report
from tests.reports.conftest import curves

NASTY = 'Süß <script>alert("1")</script> & $x$ #2'


class Tags(HTMLParser):
    """All tags of a page with their attributes; the text outside scripts and styles."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.tags if attrs.get(attribute)]


def small_report(title: str = NASTY) -> Report:
    report = Report(title, subtitle=f"{title}, too")
    report.card("Dice & more", "0.9", NASTY)
    section = report.section(f"Learning {title}")
    section.text(f"About {NASTY}")
    section.figure(learning_figure(curves(NASTY)), f"curves {NASTY}", caption=NASTY, reading=NASTY)
    table = pl.DataFrame({"name": [NASTY, 'a,"b"\n', None], "value": [0.1 + 0.2, None, float("inf")], "n": [1, 2, 3]})
    section.table(table, "table", caption=NASTY)
    section.limits([NASTY])
    return report


@pytest.fixture
def page(tmp_path):
    return small_report().write(tmp_path / "report.html")[-1]


def test_a_page_loads_nothing(page):
    tags = Tags(page)
    assert not [tag for tag, _ in tags.tags if tag in ("link", "iframe", "object", "embed", "base", "audio", "video")]
    for value in tags.values("src"):
        assert value.startswith("data:image/")
    for value in tags.values("href"):
        assert not re.match(r"[a-z]+:|//", value), value
    styles = re.findall(r"<style>(.*?)</style>", page.read_text(encoding="utf-8"), re.S)
    assert not re.search(r"@import|url\(", "".join(styles))


def test_the_browser_is_told_to_load_nothing(page):
    policy = next(a["content"] for _, a in Tags(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_in_the_page_once_and_only_where_it_is_needed(page, tmp_path):
    mark = "* plotly.js v"
    assert page.read_text(encoding="utf-8").count(mark) == 1
    empty = Report("Nothing").write(tmp_path / "empty.html")[-1]
    assert mark not in empty.read_text(encoding="utf-8")


def test_text_is_escaped_wherever_it_stands(page):
    content = page.read_text(encoding="utf-8")
    assert '<script>alert("1")' not in content
    assert Tags(page).text.count(NASTY) >= 8


def test_data_of_a_figure_cannot_end_its_script(page):
    data = re.search(r'data-plot="[^"]*">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert data is not None
    assert "<" not in data[1]
    assert "alert" in data[1]


def test_links_are_percent_encoded_and_lead_to_files(tmp_path):
    folder = tmp_path / "Süß #1, 100%"
    report = small_report()
    target = tmp_path / "run ü" / "a#b?c%41.json"
    target.parent.mkdir()
    target.write_text("{}")
    report.section("Files").links("Files:", [("card", target)])
    page = report.write(folder / "page #2.html")[-1]
    links = [value for value in Tags(page).values("href") if not value.startswith("#")]
    assert len(links) == 5
    for link in links:
        assert re.fullmatch(r"[A-Za-z0-9_.~/%-]+", link)
        assert (folder / unquote(link)).is_file()


def test_navigation_leads_to_every_section_once(tmp_path):
    report = Report("Twice")
    for title in ("Scores", "Scores", "Ergebnisse für Süße", "#?"):
        report.section(title).text("text")
    tags = Tags(report.write(tmp_path / "report.html")[-1])
    targets = [value[1:] for value in tags.values("href") if value.startswith("#s")]
    assert len(set(targets)) == 4
    assert [value for value in tags.values("id") if value in targets] == targets


def test_figures_are_valid_svg_and_png(page):
    svg, png = next(page.parent.glob("figures/*.svg")), next(page.parent.glob("figures/*.png"))
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    with Pillow.open(png) as picture:
        picture.load()
        assert picture.width == 1420  # 7.1 inches at 200 dots per inch


def test_csv_equals_the_table(page):
    rows = pl.read_csv(page.parent / "tables" / "table.csv")
    assert rows["name"].to_list() == [NASTY, 'a,"b"\n', None]
    assert rows["value"].to_list() == [0.1 + 0.2, None, float("inf")]
    figure = pl.read_csv(next(page.parent.glob("tables/curves*.csv")))
    assert figure.equals(curves(NASTY).sort("name", "fold", "epoch").with_columns(pl.col("epoch") + 1))


def test_the_same_report_gives_the_same_bytes(tmp_path):
    first, second = (small_report().write(tmp_path / name / "report.html") for name in "ab")
    assert [path.relative_to(tmp_path / "a") for path in first] == [
        path.relative_to(tmp_path / "b") for path in second
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_pages_that_share_a_folder_do_not_share_files(tmp_path):
    one = small_report().write(tmp_path / "report.html")
    other = small_report().write(tmp_path / "other.html")
    assert not set(one) & set(other)


def test_equal_names_in_a_page_get_numbers_also_where_case_is_not_kept(tmp_path):
    report = Report("Names")
    for name in ("Scores", "scores", "scores"):
        report.section(name).table(pl.DataFrame({"a": [1]}), name, caption=name)
    written = report.write(tmp_path / "report.html")
    assert [path.name for path in written[:-1]] == ["Scores.csv", "scores-2.csv", "scores-3.csv"]


def test_what_is_missing_is_said(tmp_path):
    report = Report("Empty")
    section = report.section("Nothing")
    section.figure(None, "figure", caption="Scores.", otherwise="There were no images.")
    section.table(pl.DataFrame(schema={"a": pl.Int64}), "table", caption="Counts of images.")
    section.limits([])
    written = report.write(tmp_path / "report.html")
    assert len(written) == 1
    text = Tags(written[0]).text
    assert "There were no images." in text
    assert "Nothing to show: Counts of images." in text


def test_sentences_in_tables_are_broken_into_lines_and_words_are_not(tmp_path):
    table = pl.DataFrame({"image": ["a", None], "message": ["is too long " * 9, ""], "n": [1, 2]})
    report = Report("t")
    report.section("s").table(table, "t", caption="c", headers={name: name for name in table.columns})
    text = report.write(tmp_path / "t.html")[-1].read_text(encoding="utf-8")
    assert re.findall(r"<th [^>]*>", text) == [
        '<th scope="col">', '<th scope="col" class="long">', '<th scope="col" class="number">',
    ]  # fmt: skip


def test_a_long_table_is_cut_in_the_page_and_whole_in_its_file(tmp_path):
    report = Report("Long")
    report.section("Long").table(pl.DataFrame({"a": range(1000)}), "long", caption="Numbers.", rows=10)
    *_, csv, page = report.write(tmp_path / "report.html")
    assert "shows 10 of 1,000 rows" in Tags(page).text
    assert len(pl.read_csv(csv)) == 1000


def test_the_static_form_stands_in_the_page_for_print_and_without_scripts(page):
    image = next(attrs for tag, attrs in Tags(page).tags if tag == "img")
    content = page.read_text(encoding="utf-8")
    assert image["src"].startswith("data:image/webp;base64,")
    assert image["alt"]
    assert re.search(r"@media print \{.*\.live:not\(\[hidden\]\) \+ \.static \{ display: block", content, re.S)
    assert Pillow.open(io.BytesIO(_decode(image["src"]))).width == int(image["width"])


def _decode(uri: str) -> bytes:
    import base64

    return base64.b64decode(uri.partition(",")[2])
