"""The page of `stroma check`: everything that was found, pictures of the images, nothing of a slide's label."""

import re

import numpy as np
import PIL.Image
import polars as pl
import pytest
import tifffile

from stroma.cli.main import run
from stroma.reports.check_colours import colours_figure
from stroma.reports.thumbnails import Thumbnail, thumbnails_figure
from tests.tiny import cube_study, picture_study


def test_the_page_names_and_shows_what_was_found(tmp_path):
    study = picture_study(tmp_path)
    broken = tmp_path / "data" / "images" / "Süß #1" / "im@0, a+b.png"
    broken.write_bytes(broken.read_bytes()[:300])
    out = tmp_path / "Prüfung #1, a+b"
    assert run(["check", str(study), "-o", str(out)]) == 3
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Süß #1/im@0, a+b" in page
    assert "the file cannot be read" in page
    assert (
        len(re.findall(r"data:image(?:/|\\u002f)jpeg", page)) == 7
    )  # one picture each of the images that could be read
    assert "default-src 'none'" in page
    assert (out / "tables" / "errors.csv").is_file()
    before = (out / "report.html").read_bytes()
    assert run(["check", str(study), "-o", str(out), "--overwrite"]) == 3
    assert (out / "report.html").read_bytes() == before


def test_cubes_without_pictures_of_the_camera_are_shown_by_their_wavelengths(tmp_path):
    out = tmp_path / "out"
    run(["check", str(cube_study(tmp_path)), "-o", str(out)])
    assert len(list((out / "thumbnails").glob("*.jpg"))) == 4
    assert pl.read_parquet(out / "images.parquet")["mean_red"].null_count() == 0


def test_pictures_of_a_slides_label_are_never_shown(tmp_path):
    """A slide whose second page is a bright green label: no thumbnail has a green pixel."""
    rng = np.random.default_rng(0)
    tissue = np.full((600, 800, 3), 240, np.uint8)
    tissue[100:400, 100:500] = rng.integers([150, 60, 120], [200, 100, 180], (300, 400, 3))
    label = np.full((200, 200, 3), (0, 255, 0), np.uint8)
    (tmp_path / "slides").mkdir()
    options = {"photometric": "rgb", "tile": (256, 256), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "slides" / "a.svs") as writer:
        writer.write(tissue, description="Aperio Image Library v1\n800x600 |AppMag = 20|MPP = 0.5", **options)
        writer.write(label, description="Aperio\nlabel 200x200", photometric="rgb", metadata=None)
    assert run(["init", str(tmp_path / "slides"), "-o", str(tmp_path / "study.yaml")]) == 0
    out = tmp_path / "out"
    assert run(["check", str(tmp_path / "study.yaml"), "-o", str(out)]) == 0
    (thumbnail,) = (out / "thumbnails").glob("*.jpg")
    with PIL.Image.open(thumbnail) as picture:
        shown = np.asarray(picture, dtype=int)
    assert (shown[..., 1] <= np.maximum(shown[..., 0], shown[..., 2]) + 30).all()
    row = pl.read_parquet(out / "images.parquet").row(0, named=True)
    assert row["mpp"] == pytest.approx(0.5)
    assert row["tissue"] == pytest.approx(300 * 400 / (600 * 800), abs=0.03)
    assert row["mean_green"] == pytest.approx(80 / 255, abs=0.02)  # of tissue, not of glass


def test_figures_without_images_are_none():
    assert thumbnails_figure([]) is None
    assert colours_figure(pl.DataFrame(schema={"image_id": pl.String, "mean_red": pl.Float64}), set()) is None


def test_markup_in_names_of_images_stays_text():
    picture = np.zeros((4, 6, 3), np.uint8)
    figure = thumbnails_figure([Thumbnail(picture, "<b>&x</b>", "a <script>", "#c62828")] * 9)
    assert "<script>" not in figure.json()
    assert figure.table.height == 9
    assert figure.png().startswith(b"\x89PNG")
