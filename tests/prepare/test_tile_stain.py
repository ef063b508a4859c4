"""`stroma stain`: stains of slides, restained tiles, resume and failures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.core.errors import InvalidData, MissingFile, OutputConflict
from stroma.core.tables import read_table
from stroma.prepare.stain_file import read_stains, stains_path
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tile_stain import StainOptions, stain
from stroma.prepare.tiles import tile
from stroma.slides.stain import REFERENCE_STAINS

STAINS = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)
OTHER = np.array([[0.48, 0.76, 0.44], [0.25, 0.75, 0.61]])
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)
SECOND = "Fall #1, ä+b@2"


def picture(stains: NDArray[np.float64], strength: float = 1.0) -> NDArray[np.uint8]:
    """Tissue of 160 × 240 px whose amounts are the same for all stains, pixels of a single stain among them."""
    amounts = np.random.default_rng(0).gamma(2.0, 0.4, (160, 240, 2)) * strength + 0.15
    amounts[:40, :, 1] = 0.05
    amounts[120:, :, 0] = 0.05
    return np.clip(np.rint(255 * np.exp(-amounts @ stains)), 0, 255).astype(np.uint8)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two slides with the same tissue in two stainings, cut into tiles of 40 px."""
    (tmp_path / "in").mkdir()
    for name, stains, strength in (("first", STAINS, 1.0), (SECOND, OTHER, 0.8)):
        Picture.fromarray(picture(stains, strength)).save(tmp_path / "in" / f"{name}.png")
    tile(TileOptions(inputs=(tmp_path / "in",), output=tmp_path / "tiles", tile_px=40, min_tissue=0))
    return tmp_path / "tiles"


def options(tiles: Path, output: Path, **more: Any) -> StainOptions:
    return StainOptions(tiles=(tiles,), output=output, **more)


def images(output: Path) -> dict[str, NDArray[np.int64]]:
    return {
        path.relative_to(output / "images").as_posix(): np.asarray(Picture.open(path)).astype(np.int64)
        for path in sorted((output / "images").rglob("*.png"))
    }


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file but the log."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "log"
    }


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_the_stains_of_each_slide_are_found(tiles: Path, tmp_path: Path, method: str) -> None:
    result = stain(options(tiles, tmp_path / "out", method=method))
    assert (result.done, result.exit_code) == (2, 0)
    for image_id, truth in (("first", STAINS), (SECOND, OTHER)):
        found = read_stains(tmp_path / "out", image_id)
        np.testing.assert_allclose(found.source.matrix, truth, atol=0.05)
        np.testing.assert_array_equal(found.target.matrix, REFERENCE_STAINS.matrix)
    shown = np.asarray(Picture.open(next((tmp_path / "out" / "pictures").glob("first.png"))))
    assert shown.ndim == 3 and shown.shape[0] > 400


def test_tiles_of_two_stainings_come_to_look_alike(tiles: Path, tmp_path: Path) -> None:
    stain(options(tiles, tmp_path / "out", save_images=True, image_format="png"))
    restained = images(tmp_path / "out")
    first = [pixels for name, pixels in restained.items() if name.startswith("first/")]
    second = [pixels for name, pixels in restained.items() if not name.startswith("first/")]
    assert len(first) == len(second) == 24
    before = np.abs(picture(STAINS).astype(int) - picture(OTHER, 0.8)).mean()
    after = np.mean([np.abs(one - other).mean() for one, other in zip(first, second, strict=True)])
    assert after < before / 4


def test_the_slide_that_is_the_reference_stays_as_it_is(tiles: Path, tmp_path: Path) -> None:
    stain(options(tiles, tmp_path / "out", save_images=True, image_format="png", reference="first"))
    found = images(tmp_path / "out")
    whole = picture(STAINS).astype(int)
    difference = np.abs(found["first/x40_y80_w40_h40.png"] - whole[80:120, 40:80])
    assert difference.max() <= 12 and difference.mean() < 1.5


def test_the_reference_may_be_a_picture(tiles: Path, tmp_path: Path) -> None:
    Picture.fromarray(picture(OTHER)).save(tmp_path / "reference.png")
    stain(options(tiles, tmp_path / "out", reference=str(tmp_path / "reference.png")))
    np.testing.assert_allclose(read_stains(tmp_path / "out", "first").target.matrix, OTHER, atol=0.05)


def test_a_device_restains_as_numpy_does(tiles: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for device in ("numpy", "cpu"):
        stain(options(tiles, tmp_path / device, save_images=True, image_format="png", device=device))
    one, other = images(tmp_path / "numpy"), images(tmp_path / "cpu")
    assert one.keys() == other.keys()
    assert max(np.abs(one[name] - other[name]).max() for name in one) <= 1


def test_run_again_nothing_is_done_and_other_settings_are_a_conflict(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stain(options(tiles, out, save_images=True))
    before = contents(out)
    result = stain(options(tiles, out, save_images=True))
    assert (result.done, result.skipped, contents(out)) == (0, 2, before)
    with pytest.raises(OutputConflict, match="method"):
        stain(options(tiles, out, save_images=True, method="vahadane"))
    Picture.fromarray(picture(OTHER)).save(tmp_path / "in" / "first.png")
    with pytest.raises(OutputConflict):
        stain(options(tiles, out, save_images=True))


def test_images_of_earlier_tiles_and_stains_do_not_stay(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stain(options(tiles, out, save_images=True, image_format="png"))
    assert len(images(out)) == 48
    tile(TileOptions(inputs=(tmp_path / "in",), output=tiles, tile_px=80, min_tissue=0, overwrite=True))
    stain(options(tiles, out, save_images=True, image_format="png", overwrite=True))
    assert len(images(out)) == 12
    stain(options(tiles, out, overwrite=True))
    assert images(out) == {}


def test_a_slide_of_one_colour_fails_alone(tiles: Path, tmp_path: Path) -> None:
    Picture.fromarray(np.full((160, 240, 3), 128, np.uint8)).save(tmp_path / "in" / "first.png")
    result = stain(options(tiles, tmp_path / "out"))
    assert (result.done, result.exit_code) == (1, 3)
    failures = read_table(tmp_path / "out" / "failures.parquet")
    assert failures["item"].to_list() == ["first"] and "one colour" in failures["message"][0]
    assert not stains_path(tmp_path / "out", "first").exists()


def test_a_reference_that_is_not_there_or_shows_no_tissue_is_named(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nor the id of one of the slides"):
        stain(options(tiles, tmp_path / "out", reference="nobody"))
    Picture.fromarray(np.full((30, 30, 3), 255, np.uint8)).save(tmp_path / "white.png")
    with pytest.raises(InvalidData, match="white.png"):
        stain(options(tiles, tmp_path / "out", reference=str(tmp_path / "white.png")))


def test_damaged_stains_are_refused(tiles: Path, tmp_path: Path) -> None:
    stain(options(tiles, tmp_path / "out"))
    path = stains_path(tmp_path / "out", "first")
    content = json.loads(path.read_text())
    content["source"]["matrix"] = [[0, 0, 0], [0, 0, 0]]
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidData, match="first.json"):
        read_stains(tmp_path / "out", "first")
    with pytest.raises(MissingFile, match="no stains of the slide"):
        read_stains(tmp_path / "out", "else")
