"""`stroma embed --stain`: tiles are encoded as `stroma stain --save-images` writes them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.core.errors import OutputConflict, UsageError
from stroma.features.embed import EmbedOptions, embed
from stroma.models.colour_texture import describe
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tile_stain import StainOptions, stain
from stroma.prepare.tiles import tile


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A slide of two stains, its tiles, and its stains found in two ways."""
    amounts = np.random.default_rng(0).gamma(2.0, 0.4, (120, 160, 2)) + 0.15
    matrix = np.array([[0.60, 0.72, 0.35], [0.25, 0.75, 0.61]])
    (tmp_path / "in").mkdir()
    pixels = np.clip(np.rint(255 * np.exp(-amounts @ matrix)), 0, 255).astype(np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "in" / "slide.png")
    tile(TileOptions(inputs=(tmp_path / "in",), output=tmp_path / "tiles", tile_px=40, min_tissue=0))
    for method in ("macenko", "vahadane"):
        more = {"method": method, "save_images": True, "image_format": "png"}
        stain(StainOptions.model_validate({"tiles": (tmp_path / "tiles",), "output": tmp_path / method, **more}))
    return tmp_path


def options(made: Path, stains: str, tiles: str = "tiles") -> EmbedOptions:
    return EmbedOptions(
        tiles=(made / tiles,), output=made / "features", encoder="colour-texture", stain=made / stains
    )


def test_features_are_those_of_the_restained_tiles(made: Path) -> None:
    assert embed(options(made, "macenko")).done == 1
    table = pl.read_parquet(made / "features" / "features" / "slide.parquet")
    for row in table.rows(named=True):
        path = made / "macenko" / "images" / "slide" / f"x{row['x']}_y{row['y']}_w40_h40.png"
        np.testing.assert_array_equal(row["feature"], describe(np.asarray(Pillow.open(path))))


def test_other_stains_do_not_replace_features_unasked(made: Path) -> None:
    embed(options(made, "macenko"))
    assert embed(options(made, "macenko")).skipped == 1
    with pytest.raises(OutputConflict, match="stains"):
        embed(options(made, "vahadane"))


def test_a_slide_without_stains_is_named(made: Path) -> None:
    result = embed(options(made, "in"))
    assert result.exit_code == 1
    assert "no stains of the slide 'slide'" in result.failed[0].message


def test_pictures_have_no_stains(made: Path) -> None:
    with pytest.raises(UsageError, match="not of pictures"):
        embed(options(made, "macenko", tiles="in"))
