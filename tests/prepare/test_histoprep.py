"""`stroma tile --preset histoprep`: HistoPrep's files, names, numbers, and none of its faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image as Picture
from pydantic import ValidationError

from stroma.cli.main import run
from stroma.core.errors import OutputConflict
from stroma.features.tiles import find_tiles
from stroma.prepare import histoprep
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from tests.harness.kill import kill_and_resume
from tests.prepare.test_tiles import HISTOENCODER, HISTOPREP, contents, needs_data, slide


def tiled(*inputs: Path, output: Path, **more: Any) -> Path:
    result = tile(TileOptions(inputs=inputs, output=output, preset="histoprep", **more))
    assert result.exit_code == 0
    return output


def test_exactly_the_files_of_histoprep_are_written_for_a_slide(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    out = tiled(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, sigma=0, min_tissue=1, save_masks=True)
    tiles = ["x20_y20_w20_h20", "x40_y20_w20_h20"]
    assert sorted(contents(out)) == sorted(
        ["s.done.json", "sources.parquet"]
        + [f"s/{name}.jpeg" for name in ("thumbnail", "thumbnail_tiles", "thumbnail_tissue")]
        + ["s/properties.json", "s/metadata.parquet"]
        + [f"s/tiles/{name}.jpeg" for name in tiles]
        + [f"s/masks/{name}.png" for name in tiles]
    )
    table = pl.read_parquet(out / "s" / "metadata.parquet")
    assert table.columns == ["x", "y", "w", "h", "path", "mask_path"]
    assert table.row(0) == (20, 20, 20, 20, "tiles/x20_y20_w20_h20.jpeg", "masks/x20_y20_w20_h20.png")
    mask = np.asarray(Picture.open(out / "s" / "masks" / "x20_y20_w20_h20.png"))
    assert mask.shape == (20, 20)
    assert set(np.unique(mask)) <= {0, 1}
    assert (out / "s" / "properties.json").read_text() == (
        '{"num_tiles": 2, "level": 0, "level_downsample": [1.0, 1.0], "width": 20, "height": 20, "overlap": 0.0, '
        '"max_background": 0.0}'
    )


def test_the_defaults_are_those_of_histoprep_and_what_is_given_wins() -> None:
    made = TileOptions(inputs=(Path("s.svs"),), output=Path("out"), preset="histoprep")
    assert (made.tile_px, made.min_tissue, made.tissue_max_dimension) == (640, 0.25, 8192)
    assert (made.overlap, made.out_of_bounds, made.multiplier, made.sigma) == (0.0, "keep", 1.05, 1.0)
    assert (made.save_images, made.image_format, made.quality, made.level) == (True, "jpeg", 80, 0)
    assert TileOptions(inputs=(Path("s"),), output=Path("o"), preset="histoprep", tile_px=224).tile_px == 224


def test_tiles_are_numbered_in_raster_order_and_outlined_in_red(tmp_path: Path) -> None:
    slide(tmp_path / "s.png", 60, 100)
    out = tiled(tmp_path / "s.png", output=tmp_path / "out", tile_px=20, min_tissue=0)
    table = pl.read_parquet(out / "s" / "metadata.parquet")
    assert list(table.select("y", "x").iter_rows()) == [(y, x) for y in (0, 20, 40) for x in (0, 20, 40, 60, 80)]
    outlined = np.asarray(Picture.open(out / "s" / "thumbnail_tiles.jpeg")).astype(int)
    assert outlined.shape == (60, 100, 3)
    assert outlined[59, 80:, 0].mean() > outlined[59, 80:, 2].mean() + 50  # red
    assert outlined[0, 2:18, 2].mean() > outlined[0, 2:18, 0].mean() + 50  # the first is blue
    tissue = np.asarray(Picture.open(out / "s" / "thumbnail_tissue.jpeg"))
    assert tissue[30, 40] < 50  # tissue is black
    assert tissue[3, 3] > 200


def test_thumbnail_and_tissue_have_one_size(tmp_path: Path) -> None:
    """HistoPrep writes them at 4,096 and 8,192 px; a slide of 5,600 px got 2,800 and 5,600."""
    slide(tmp_path / "s.png", 100, 5600)
    out = tiled(tmp_path / "s.png", output=tmp_path / "out")
    sizes = {Picture.open(path).size for path in (out / "s").glob("thumbnail*.jpeg")}
    assert sizes == {(2800, 50)}


def test_a_slide_without_tiles_has_a_table_that_can_be_read(tmp_path: Path) -> None:
    Picture.new("RGB", (64, 64), "white").save(tmp_path / "blank.png")
    for metadata in ("parquet", "csv"):
        out = tiled(tmp_path / "blank.png", output=tmp_path / metadata, tile_px=32, metadata=metadata)
        table = histoprep.read_metadata(out / "blank" / f"metadata.{metadata}")
        assert table.schema == {"x": pl.Int64, "y": pl.Int64, "w": pl.Int64, "h": pl.Int64, "path": pl.String}
        assert len(table) == 0
        assert (out / "blank" / "tiles").is_dir()


def test_a_level_makes_smaller_pictures_of_the_same_boxes(tmp_path: Path) -> None:
    """HistoPrep's `-l 1 -w 640` saves 320 px under names with 640."""
    import tifffile

    pixels = np.random.default_rng(0).integers(60, 140, (256, 512, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "s.tiff") as writer:
        writer.write(pixels, tile=(64, 64), photometric="rgb", subifds=0, metadata=None)
        writer.write(pixels[::2, ::2].copy(), tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None)
    out = tiled(tmp_path / "s.tiff", output=tmp_path / "out", tile_px=128, level=1, threshold=250)
    files = sorted((out / "s" / "tiles").iterdir())
    assert len(files) == 8
    assert files[0].name == "x0_y0_w128_h128.jpeg"
    assert Picture.open(files[0]).size == (64, 64)
    properties = json.loads((out / "s" / "properties.json").read_text())
    assert (properties["level"], properties["level_downsample"], properties["width"]) == (1, [2.0, 2.0], 128)


def test_two_slides_of_one_name_get_two_folders(tmp_path: Path) -> None:
    """In HistoPrep the second deletes the first."""
    for number, folder in enumerate(("a", "b")):
        slide(tmp_path / "in" / folder / "s.png", seed=number)
    out = tiled(tmp_path / "in", output=tmp_path / "out", tile_px=20)
    assert sorted(entry.name for entry in out.iterdir() if entry.is_dir()) == ["a%2Fs", "b%2Fs"]


def test_each_slide_gets_its_own_tissue_level(tmp_path: Path) -> None:
    """HistoPrep's command line takes the level of the first slide for all that follow in one process."""
    slide(tmp_path / "in" / "large.png", 100, 9000)
    slide(tmp_path / "in" / "small.png")
    both = tiled(tmp_path / "in", output=tmp_path / "both", tile_px=20)
    alone = tiled(tmp_path / "in" / "small.png", output=tmp_path / "alone", tile_px=20)
    names = ("metadata.parquet", "thumbnail_tissue.jpeg")
    for name in names:
        assert pl.read_parquet(both / "small" / names[0]).equals(pl.read_parquet(alone / "small" / names[0]))
        assert (both / "small" / names[1]).read_bytes() == (alone / "small" / names[1]).read_bytes(), name


def test_a_table_of_histoprep_itself_is_not_overwritten(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    foreign = tmp_path / "out" / "s" / "metadata.parquet"
    foreign.parent.mkdir(parents=True)
    pl.DataFrame({"x": [1]}).write_parquet(foreign)
    result = tile(TileOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", preset="histoprep"))
    assert result.exit_code == 1
    assert result.failed[0].error == OutputConflict.__name__
    assert pl.read_parquet(foreign)["x"].to_list() == [1]
    tiled(tmp_path / "s.png", output=tmp_path / "out", overwrite=True)


def test_options_that_only_the_preset_has_are_refused_without_it() -> None:
    for more in (
        {"save_masks": True},
        {"save_metrics": True},
        {"metadata": "csv"},
        {"preset": "histoprep", "save_images": False},
    ):
        with pytest.raises(ValidationError, match="preset"):
            TileOptions(inputs=(Path("s"),), output=Path("o"), **more)


def test_complete_slides_are_skipped_and_other_settings_are_refused(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    more = {"inputs": (tmp_path / "s.png",), "output": tmp_path / "out", "preset": "histoprep"}
    tile(TileOptions(**more, tile_px=20))
    before = contents(tmp_path / "out")
    assert tile(TileOptions(**more, tile_px=20)).skipped == 1
    with pytest.raises(OutputConflict, match="tile_px was 20, is 30"):
        tile(TileOptions(**more, tile_px=30))
    tile(TileOptions(**more, tile_px=30, overwrite=True))
    tile(TileOptions(**more, tile_px=20, overwrite=True))
    assert contents(tmp_path / "out") == before


def test_switching_the_preset_leaves_no_table_of_the_other_kind(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    more = {"inputs": (tmp_path / "s.png",), "output": tmp_path / "out", "overwrite": True}
    tile(TileOptions(**more, tile_px=20))
    assert tile(TileOptions(**more, tile_px=30, preset="histoprep")).summary["tiles"] == 2
    assert len(find_tiles([tmp_path / "out"])[0].addresses()) == 2
    assert tile(TileOptions(**more, tile_px=20)).summary["tiles"] == 6
    assert len(find_tiles([tmp_path / "out"])[0].addresses()) == 6


@pytest.mark.proof
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(6):
        slide(tmp_path / "in" / f"{seed}.png", 300, 400, seed)
    arguments = ["tile", str(tmp_path / "in"), "--preset", "histoprep", "--tile-px", "16", "--min-tissue", "0"]
    comparison = kill_and_resume(arguments, tmp_path / "kills", kills=8)
    assert comparison.kills > 0
    assert comparison.differences == []


def test_tiles_are_embedded_as_tiles_of_their_slide(tmp_path: Path) -> None:
    slide(tmp_path / "in" / "s.png")
    (tmp_path / "in" / "patient 1").mkdir()
    slide(tmp_path / "in" / "patient 1" / "t.png", seed=1)
    out = tiled(tmp_path / "in", output=tmp_path / "out", tile_px=20, save_masks=True)
    found = find_tiles([out])
    assert [tiles.item for tiles in found] == ["patient 1/t", "s"]
    assert found[1].sources == (("s", "s", tmp_path / "in" / "s.png"),)
    addresses = found[1].addresses()
    table = pl.read_parquet(out / "s" / "metadata.parquet")
    assert addresses.select("x", "y", "w", "h").equals(table.select("x", "y", "w", "h"))
    reader = found[1].reader()
    read = reader.read([(0, addresses.row(0, named=True))])[0]
    saved = np.asarray(Picture.open(out / "s" / table["path"][0]))
    np.testing.assert_array_equal(read, saved)


# --- HistoPrep's own numbers (facts of its version 2.0.5) ------------------------------------------------------


@needs_data
def test_the_command_with_its_defaults_gives_histopreps_tiles(tmp_path: Path) -> None:
    assert run(["tile", str(HISTOPREP), "-o", str(tmp_path / "out"), "--preset", "histoprep"]) == 0
    counts = {
        name: json.loads((tmp_path / "out" / name / "properties.json").read_text())["num_tiles"]
        for name in ("slide", "slide_with_ink", "tma_spots")
    }
    assert counts == {"slide": 15, "slide_with_ink": 11, "tma_spots": 0}
    table = pl.read_parquet(tmp_path / "out" / "slide" / "metadata.parquet")
    assert (1920, 1920) not in list(table.select("x", "y").iter_rows())


@needs_data
def test_the_folder_of_histoencoder_is_reproduced(tmp_path: Path) -> None:
    """90 tiles of 224 px, at most half background, the tissue at level 0 without blur."""
    out = tiled(HISTOPREP / "slide.jpeg", output=tmp_path, tile_px=224, min_tissue=0.5, sigma=0)
    made = out / "slide"
    assert (made / "properties.json").read_bytes() == (HISTOENCODER / "properties.json").read_bytes()
    ours, theirs = (pl.read_parquet(folder / "metadata.parquet") for folder in (made, HISTOENCODER))
    assert ours.columns == theirs.columns
    assert ours.drop("path").equals(theirs.drop("path"))
    assert [Path(path).name for path in ours["path"]] == [Path(path).name for path in theirs["path"]]
    names = sorted(path.name for path in (made / "tiles").iterdir())
    assert names == sorted(path.name for path in (HISTOENCODER / "tiles").iterdir())
    for name in names[::10]:
        one, other = (np.asarray(Picture.open(folder / "tiles" / name)) for folder in (made, HISTOENCODER))
        assert np.abs(one.astype(int) - other).mean() < 1.0


@needs_data
def test_metrics_are_those_of_histoprep(tmp_path: Path) -> None:
    """256 px, threshold 200: 100 tiles; the first and the number of those that are mostly background."""
    out = tiled(
        HISTOPREP / "slide.jpeg", output=tmp_path, tile_px=256, threshold=200, min_tissue=0, save_metrics=True
    )
    table = pl.read_parquet(out / "slide" / "metadata.parquet")
    assert table.columns[:6] == ["x", "y", "w", "h", "path", "background"]
    assert len(table.columns) == 5 + 67
    first = table.row(0, named=True)
    assert (first["background"], first["red_mean"], first["gray_q50"]) == (0.188, 199.818, 159)
    assert first["laplacian_std"] == pytest.approx(23.4477, abs=1e-4)
    assert len(table) == 100
    assert (table["background"] > 0.5).sum() == 27


@needs_data
def test_moved_tables_of_histoprep_find_their_tiles() -> None:
    """Its paths are absolute, here those of the author's machine."""
    table = histoprep.read_metadata(HISTOENCODER / "metadata.parquet")
    assert all(Path(path).is_file() for path in table["path"])
