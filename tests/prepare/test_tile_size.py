"""`stroma tile`: tiles in pixels or µm, at an mpp or a downsample, square or not, at the edge of the slide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from pydantic import ValidationError

from stroma.cli.main import run
from stroma.core.tables import read_table
from stroma.features.tiles import find_tiles
from stroma.images.open import open_image
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from tests.prepare.test_tiles import failures, options, slide, tiles_of


def tiled(folder: Path, **more: Any) -> Any:
    """Tiles of a slide of 60 rows and 100 columns."""
    slide(folder / "s.png")
    result = tile(options(folder / "s.png", output=folder / "out", min_tissue=0, **more))
    assert result.exit_code == 0, result.failed
    return tiles_of(folder / "out", "s")


def test_a_slide_without_mpp_is_tiled_by_downsample(tmp_path: Path) -> None:
    table = tiled(tmp_path, tile_px=10, downsample=2, save_images=True, image_format="png")
    assert (table["w"] == 20).all() and (table["h"] == 20).all() and len(table) == 15
    assert table["mpp"].is_null().all()  # no physical scale is made up
    with open_image(tmp_path / "s.png") as image:
        expected = image.read(20, 20, 20, 20).astype(float).reshape(10, 2, 10, 2, 3).mean(axis=(1, 3))
    saved = np.asarray(Picture.open(tmp_path / "out" / "images" / "s" / "x20_y20_w20_h20.png"))
    np.testing.assert_allclose(saved, expected, atol=0.51)
    (tiles,) = find_tiles([tmp_path / "out"])
    reader = tiles.reader()
    ((first,),) = [reader.read([(0, row)]) for row in tiles.addresses()[6:7].iter_rows(named=True)]
    np.testing.assert_array_equal(first, saved)  # stroma embed reads the same pixels
    reader.close()


def test_tiles_of_an_uneven_downsample_have_the_pixels_asked_for(tmp_path: Path) -> None:
    table = tiled(tmp_path, tile_px=8, tile_height_px=16, downsample=1.3, save_images=True)
    assert set(table.select("w", "h").rows()) == {(10, 20)}
    sizes = {Picture.open(path).size for path in (tmp_path / "out" / "images" / "s").iterdir()}
    assert sizes == {(8, 16)}


def test_a_downsample_on_a_slide_with_mpp_keeps_its_scale(tmp_path: Path) -> None:
    table = tiled(tmp_path, tile_px=10, downsample=2, source_mpp=0.5)
    assert (table["mpp"] == 1.0).all()


def test_tiles_in_um_need_no_target_resolution(tmp_path: Path) -> None:
    table = tiled(tmp_path, tile_um=10, tile_height_um=5, source_mpp=0.5)
    assert set(table.select("w", "h", "mpp").rows()) == {(20, 10, 0.5)}
    table = tiled(tmp_path / "b", tile_um=10, mpp=1.0, source_mpp=0.5)
    assert set(table.select("w", "h", "mpp").rows()) == {(20, 20, 1.0)}


def test_shifted_tiles_cover_the_slide_and_lie_inside(tmp_path: Path) -> None:
    table = tiled(tmp_path, tile_px=40, out_of_bounds="shift")
    assert table.select("x", "y").rows() == [(x, y) for y in (0, 20) for x in (0, 40, 60)]


@pytest.mark.parametrize(
    ("flag", "value", "advice"),
    [
        ("--mpp", "1", "--downsample"),
        ("--tile-um", "100", "--tile-px"),
        ("--min-area-um2", "5", "--min-area-px"),
        ("--tissue-mpp", "8", "--tissue-downsample"),
    ],
)
def test_without_mpp_the_flags_to_pass_are_named(tmp_path: Path, flag: str, value: str, advice: str) -> None:
    slide(tmp_path / "s.png")
    assert run(["tile", str(tmp_path / "s.png"), "-o", str(tmp_path / "out"), flag, value]) == 1
    message = failures(tmp_path / "out")["s"]
    assert flag in message and "--source-mpp" in message and advice in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"mpp": 1, "downsample": 2},
        {"level": 1, "downsample": 2},
        {"downsample": 0.5},
        {"tile_um": 10, "tile_px": 20},
        {"tile_um": 10, "tile_height_px": 20},
        {"tile_height_um": 10},
    ],
)
def test_contradictions_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TileOptions(inputs=(tmp_path,), output=tmp_path / "out", **wrong)


def test_the_preset_takes_tiles_in_um(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    result = tile(options(tmp_path / "s.png", output=tmp_path / "o", preset="histoprep", tile_um=10, source_mpp=0.5))
    assert result.exit_code == 0
    table = read_table(tmp_path / "o" / "s" / "metadata.parquet")
    assert set(table.select("w", "h").rows()) == {(20, 20)}
