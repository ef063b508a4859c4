"""`stroma quality`: measured tiles, outliers, resume and failures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.cli.main import run
from stroma.core.errors import InvalidData, MissingFile, OutputConflict
from stroma.core.tables import read_table
from stroma.prepare import tile_outliers
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tile_quality import QUALITY_SCHEMA, QualityOptions, quality, quality_path
from stroma.prepare.tiles import tile
from stroma.slides.quality import METRIC_COLUMNS, tile_metrics
from tests.harness.kill import kill_and_resume

SLIDES = Path(__file__).parents[2].parent / "shared" / "data" / "slides_jpeg_histoprep"
needs_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="the HistoPrep slides are not beside the checkout")
ODD = "Fall #1, ä+b@2"


def pixels(seed: int = 0) -> NDArray[np.uint8]:
    """A slide of 200 × 300 px: pink texture, white margins of 40 px, blue ink on 40 × 40 px at (120, 80)."""
    picture = np.full((200, 300, 3), 245, dtype=np.uint8)
    texture = np.random.default_rng(seed).integers(-25, 25, (120, 220, 1))
    picture[40:160, 40:260] = np.clip(np.array([205, 130, 180]) + texture, 0, 255)
    picture[80:120, 120:160] = (20, 60, 150)
    return picture


def tiled(folder: Path, *names: str, **more: Any) -> Path:
    """Slides of these names, cut into tiles of 40 px."""
    (folder / "in").mkdir(parents=True)
    for seed, name in enumerate(names or ("slide",)):
        Picture.fromarray(pixels(seed)).save(folder / "in" / f"{name}.png")
    options: dict[str, Any] = {"tile_px": 40, "threshold": 225, "sigma": 0, **more}
    tile(TileOptions(inputs=(folder / "in",), output=folder / "tiles", **options))
    return folder / "tiles"


def options(*tiles: Path, output: Path, **more: Any) -> QualityOptions:
    return QualityOptions(tiles=tiles, output=output, **{"clusters": 3, **more})


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file but the log."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "log"
    }


def test_a_quality_table_holds_the_metrics_of_its_tiles(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path, ODD), tmp_path / "out put"
    result = quality(options(tiles, output=out))
    table = read_table(quality_path(out, ODD), format="quality/1")
    assert dict(table.schema) == QUALITY_SCHEMA
    addresses = pl.read_parquet(tiles / "tiles" / quality_path(out, ODD).name)
    assert table.select("image_id", "region", "x", "y", "w", "h").equals(
        addresses.select("image_id", "region", "x", "y", "w", "h")
    )
    for row in table.sample(4, seed=0).rows(named=True):
        expected = tile_metrics(pixels()[row["y"] : row["y"] + 40, row["x"] : row["x"] + 40], 225)
        assert {name: row[name] for name in METRIC_COLUMNS} == expected
    assert result.summary["tiles"] == len(table) == 18
    assert (result.done, result.skipped, result.exit_code) == (1, 0, 0)


def test_ink_is_found_where_it_is(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path), tmp_path / "out"
    quality(options(tiles, output=out))
    table = read_table(quality_path(out, "slide"))
    ink = {(x, y): value for x, y, value in table.select("x", "y", "ink").iter_rows()}
    assert ink[120, 80] > 0.9
    assert max(value for place, value in ink.items() if place != (120, 80)) < 0.3  # it grows over its rim


def test_the_tile_with_ink_is_the_oddest_and_has_its_own_group(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path, "a", "b"), tmp_path / "out"
    result = quality(options(tiles, output=out))
    for name in ("a", "b"):
        table = read_table(out / "outliers" / f"{name}.parquet", format="outliers/1")
        assert dict(table.schema) == tile_outliers.OUTLIERS_SCHEMA
        oddest = table.sort("outlier_score", descending=True).row(0, named=True)
        assert (oddest["x"], oddest["y"], oddest["outlier_cluster"]) == (120, 80, 0)
        assert table.filter(pl.col("outlier_cluster") == 0).height == 1
        assert table["outlier_score"].is_between(0, 1).all()
    assert result.summary["tiles_per_cluster"][0] == 2
    shown = np.asarray(Picture.open(out / "outliers" / "cluster_0.png"))
    assert shown.shape == (104, 804, 3)
    assert (shown[50, 50] == [20, 60, 150]).all()
    assert (shown[50, 150] == [20, 60, 150]).all()
    assert (shown[50, 250] == 255).all()
    assert sorted(path.name for path in (out / "outliers").glob("*.png")) == [
        "cluster_0.png",
        "cluster_1.png",
        "cluster_2.png",
        "highest_scores.png",
    ]


def test_a_second_run_makes_nothing_and_a_lost_file_is_made_again(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path, "a", "b"), tmp_path / "out"
    quality(options(tiles, output=out))
    before = contents(out)
    again = quality(options(tiles, output=out))
    assert (again.done, again.skipped) == (0, 2)
    assert contents(out) == before
    quality_path(out, "b").unlink()
    (out / "outliers" / "cluster_1.png").unlink()
    assert quality(options(tiles, output=out, workers=2)).done == 1
    assert contents(out) == before


def test_slides_of_a_later_run_join_the_cohort(tmp_path: Path) -> None:
    first, second, out = tiled(tmp_path / "1", "a"), tiled(tmp_path / "2", "b"), tmp_path / "out"
    quality(options(first, output=out))
    quality(options(second, output=out))
    quality(options(first, second, output=tmp_path / "both"))
    assert contents(out) == contents(tmp_path / "both")


def test_other_groups_are_refused_or_replace_the_old_ones_without_measuring_again(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path), tmp_path / "out"
    quality(options(tiles, output=out))
    with pytest.raises(OutputConflict, match="clusters was 3, is 2"):
        quality(options(tiles, output=out, clusters=2))
    result = quality(options(tiles, output=out, clusters=2, overwrite=True))
    assert (result.done, result.skipped) == (0, 1)
    assert not (out / "outliers" / "cluster_2.png").exists()


def test_other_tiles_in_the_same_output_are_refused(tmp_path: Path) -> None:
    tiles, other, out = tiled(tmp_path / "1"), tiled(tmp_path / "2", tile_px=50), tmp_path / "out"
    quality(options(tiles, output=out))
    with pytest.raises(OutputConflict, match=r"tiles\.tile_px was 40, is 50"):
        quality(options(other, output=out))


def test_fewer_different_tiles_than_groups_make_fewer_groups(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Picture.fromarray(np.full((40, 80, 3), 100, dtype=np.uint8)).save(tmp_path / "in" / "flat.png")
    tile(TileOptions(inputs=(tmp_path / "in",), output=tmp_path / "tiles", tile_px=40, threshold=200))
    result = quality(options(tmp_path / "tiles", output=tmp_path / "out", clusters=8))
    assert result.summary["tiles_per_cluster"] == [2]


def test_a_slide_without_tiles_has_empty_tables(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path, threshold=0), tmp_path / "out"
    result = quality(options(tiles, output=out))
    assert result.summary["tiles"] == 0
    assert dict(read_table(quality_path(out, "slide")).schema) == QUALITY_SCHEMA
    assert dict(read_table(out / "outliers" / "slide.parquet").schema) == tile_outliers.OUTLIERS_SCHEMA


def test_a_damaged_slide_stops_no_other_and_is_listed(tmp_path: Path) -> None:
    tiles, out = tiled(tmp_path, "a", "b"), tmp_path / "out"
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    assert run(["quality", str(tiles), "-o", str(out)]) == 3
    assert pl.read_parquet(out / "failures.parquet")["item"].to_list() == ["a"]
    assert sorted(path.name for path in (out / "outliers").glob("*.parquet")) == ["b.parquet"]
    Picture.fromarray(pixels(0)).save(tmp_path / "in" / "a.png")
    assert run(["quality", str(tiles), "-o", str(out)]) == 0
    assert not (out / "failures.parquet").exists()
    assert sorted(path.name for path in (out / "outliers").glob("*.parquet")) == ["a.parquet", "b.parquet"]


def test_what_is_no_output_of_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"no output of stroma tile.* Make one first: stroma tile SLIDES -o tiles"):
        quality(options(tmp_path, output=tmp_path / "out"))
    first, second = tiled(tmp_path / "1"), tiled(tmp_path / "2")
    with pytest.raises(InvalidData, match="two slides have the id 'slide'"):
        quality(options(first, second, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    tiles = tiled(tmp_path)
    result = quality(options(tiles, output=tmp_path / "out", dry_run=True))
    assert result.lines == ["to do: slide"]
    assert not (tmp_path / "out").exists()


@needs_slides
def test_the_oddest_tiles_of_histoprep_s_slide_with_ink_are_those_with_ink(tmp_path: Path) -> None:
    slide = SLIDES / "slide_with_ink.jpeg"
    tile(TileOptions(inputs=(slide,), output=tmp_path / "tiles", tile_px=256))
    quality(options(tmp_path / "tiles", output=tmp_path / "out", clusters=6))
    scores = read_table(tmp_path / "out" / "outliers" / "slide_with_ink.parquet")
    ink = read_table(quality_path(tmp_path / "out", "slide_with_ink"))["ink"]
    assert scores.filter(scores["outlier_cluster"] == 0).height < 6
    assert min(ink.filter(scores["outlier_cluster"] == 0)) > 0.1
    assert max(ink.filter(scores["outlier_cluster"] != 0)) < 0.05


def test_killed_at_any_moment_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    tiles = tiled(tmp_path / "data", "a", "b")
    outcome = kill_and_resume(["quality", str(tiles), "--clusters", "3"], tmp_path, kills=1, seed=1)
    assert outcome.differences == []
