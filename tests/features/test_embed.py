"""`stroma embed`: every tile's feature in its place, resumable, with honest provenance."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.core.errors import InvalidData, MissingFile, OutputConflict, UsageError
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, read_table
from stroma.core.verbs import VerbResult
from stroma.features import table as features_table
from stroma.features.embed import EmbedOptions, embed
from stroma.images.image import resize_area
from stroma.models.colour_texture import ColourTexture, describe
from stroma.models.encoders import load_encoder
from stroma.prepare.sources import read_sources
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from stroma.slides.pyramid import write_pyramid
from tests.features.conftest import SLIDES, TILE_PX


def run(*inputs: Path, output: Path, encoder: str = "colour-texture", **more: object) -> VerbResult:
    return embed(EmbedOptions.model_validate({"tiles": inputs, "output": output, "encoder": encoder, **more}))


def read(output: Path, image: str) -> tuple[pl.DataFrame, np.ndarray]:
    table = read_table(output / "features" / f"{id_to_name(image)}.parquet", format="features/1")
    return table, table["feature"].to_numpy()


def test_slides_are_not_taken_for_tiles(tmp_path: Path):
    white = np.full((1100, 1200, 3), 255, np.uint8)
    write_pyramid(tmp_path / "slide.tiff", lambda top, rows: white[top : top + rows], 1100, 1200)
    result = run(tmp_path, output=tmp_path / "out")
    assert result.exit_code == 1
    assert "is a slide of 1,200 × 1,100 px" in result.failed[0].message
    assert "Cut it first: stroma tile SLIDES -o tiles" in result.failed[0].message


def pixels(slides: Path, image: str) -> np.ndarray:
    return np.asarray(Pillow.open(slides / f"{image}.png"))


def test_each_tile_has_the_feature_of_its_own_pixels(slides: Path, tiles: Path, tmp_path: Path):
    result = run(tiles, output=tmp_path / "out", batch_size=5)
    assert result.done == 2 and result.exit_code == 0
    for image in SLIDES:
        table, features = read(tmp_path / "out", image)
        addresses = read_table(tiles / "tiles" / f"{id_to_name(image)}.parquet").select(*ADDRESS_SCHEMA)
        assert table.schema == features_table.features_schema(ColourTexture.dim)
        assert table.drop("feature").equals(addresses)
        whole = pixels(slides, image)
        for row, feature in zip(addresses.rows(named=True), features, strict=True):
            here = whole[row["y"] : row["y"] + TILE_PX, row["x"] : row["x"] + TILE_PX]
            np.testing.assert_array_equal(feature, describe(here))


def test_timm_features_of_tiles_are_those_of_the_encoder(slides: Path, tiles: Path, tmp_path: Path):
    result = run(tiles, output=tmp_path / "out", encoder="resnet10t", weights="random", device="cpu", batch_size=7)
    assert "say nothing about the tissue" in result.summary["weights"]
    image = "slide @2"
    table, features = read(tmp_path / "out", image)
    whole = pixels(slides, image)
    crops = [whole[r["y"] : r["y"] + r["h"], r["x"] : r["x"] + r["w"]] for r in table.rows(named=True)]
    encoder = load_encoder("resnet10t", weights="random", device="cpu")
    np.testing.assert_allclose(features, encoder(crops), atol=1e-5)
    settings = read_provenance(tmp_path / "out" / "features" / f"{id_to_name(image)}.parquet").settings
    assert settings["encoder"]["weights"] == "random" and settings["encoder"]["seed"] == 0


def test_tiles_are_read_at_their_resolution(slides: Path, tmp_path: Path):
    """16 px at 2 µm are 32 level-0 pixels of 1 µm."""
    options = TileOptions(
        inputs=(slides,), output=tmp_path / "tiles", tile_px=16, mpp=2.0, source_mpp=1.0, min_tissue=0
    )
    tile(options)
    run(tmp_path / "tiles", output=tmp_path / "out")
    table, features = read(tmp_path / "out", "slide @2")
    assert set(table["w"]) == {32} and set(table["mpp"]) == {2.0}
    whole = pixels(slides, "slide @2")
    first = describe(resize_area(whole[:32, :32], 16, 16))
    np.testing.assert_array_equal(features[0], first)


def test_bytes_do_not_depend_on_batches_and_threads(tiles: Path, tmp_path: Path):
    run(tiles, output=tmp_path / "one", batch_size=1)
    run(tiles, output=tmp_path / "two", batch_size=16, workers=2)
    for image in SLIDES:
        first, second = (tmp_path / name / "features" / f"{id_to_name(image)}.parquet" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_tables_are_written_piece_by_piece(tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tiles, output=tmp_path / "whole")
    monkeypatch.setattr(features_table, "_PIECE_BYTES", 4 * ColourTexture.dim * 7)
    run(tiles, output=tmp_path / "pieces")
    for image in SLIDES:
        assert read(tmp_path / "whole", image)[0].equals(read(tmp_path / "pieces", image)[0])


def test_what_is_complete_is_not_made_again(tiles: Path, tmp_path: Path):
    output = tmp_path / "out"
    run(tiles, output=output)
    paths = {image: output / "features" / f"{id_to_name(image)}.parquet" for image in SLIDES}
    before = {image: path.stat().st_mtime_ns for image, path in paths.items()}
    again = run(tiles, output=output, batch_size=3)
    assert (again.done, again.skipped) == (0, 2) and again.summary["tiles"] == 24 + 15
    (output / f"{id_to_name('slide @2')}.done.json").unlink()
    third = run(tiles, output=output)
    assert (third.done, third.skipped) == (1, 1)
    after = {image: path.stat().st_mtime_ns for image, path in paths.items()}
    assert after["Präparat #1, a+b"] == before["Präparat #1, a+b"] and after["slide @2"] > before["slide @2"]


def test_another_encoder_does_not_replace_features_unasked(tiles: Path, tmp_path: Path):
    run(tiles, output=tmp_path / "out")
    with pytest.raises(OutputConflict, match=r"encoder\.input_px was null, is 16"):
        run(tiles, output=tmp_path / "out", input_px=16)
    assert run(tiles, output=tmp_path / "out", input_px=16, overwrite=True).done == 2


def test_other_tiles_are_noticed(slides: Path, tiles: Path, tmp_path: Path):
    run(tiles, output=tmp_path / "out")
    tile(TileOptions(inputs=(slides,), output=tiles, tile_px=16, min_tissue=0, overwrite=True))
    with pytest.raises(OutputConflict, match="tile_px was 32, is 16"):
        run(tiles, output=tmp_path / "out")


def test_a_broken_slide_stops_no_other(slides: Path, tiles: Path, tmp_path: Path):
    broken = slides / "slide @2.png"
    broken.write_bytes(broken.read_bytes()[:300])
    result = run(tiles, output=tmp_path / "out")
    assert (result.done, len(result.failed), result.exit_code) == (1, 1, 3)
    failures = read_table(tmp_path / "out" / "failures.parquet")
    assert failures["item"].to_list() == ["slide @2"]
    assert not (tmp_path / "out" / f"{id_to_name('slide @2')}.done.json").exists()
    assert len(read(tmp_path / "out", "Präparat #1, a+b")[0]) == 24


def test_losing_a_slide_does_not_lose_its_features(slides: Path, tiles: Path, tmp_path: Path):
    run(tiles, output=tmp_path / "out")
    record = tmp_path / "out" / f"{id_to_name('slide @2')}.done.json"
    before = record.read_bytes()
    (slides / "slide @2.png").unlink()
    assert len(run(tiles, output=tmp_path / "out").failed) == 1
    assert record.read_bytes() == before


def test_a_slide_without_tiles_has_an_empty_table(tmp_path: Path):
    (tmp_path / "slides").mkdir()
    Pillow.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(tmp_path / "slides" / "white.png")
    tile(TileOptions(inputs=(tmp_path / "slides",), output=tmp_path / "tiles", tile_px=32))
    assert run(tmp_path / "tiles", output=tmp_path / "out").done == 1
    table, _ = read(tmp_path / "out", "white")
    assert len(table) == 0 and table.schema == features_table.features_schema(ColourTexture.dim)


def test_inputs_and_sources_are_recorded(slides: Path, tiles: Path, tmp_path: Path):
    run(tiles, output=tmp_path / "out")
    image = "slide @2"
    provenance = read_provenance(tmp_path / "out" / "features" / f"{id_to_name(image)}.parquet")
    assert InputRecord.of(image, slides / f"{image}.png") in provenance.inputs
    assert provenance.settings["tiles"]["tile_px"] == TILE_PX
    assert str(tmp_path) not in json.dumps(provenance.to_dict())
    sources = read_sources(tmp_path / "out")
    assert sources["image_id"].to_list() == sorted(SLIDES)
    assert [Path(path) for path in sources["path"]] == [slides / f"{name}.png" for name in sorted(SLIDES)]


def test_features_of_earlier_runs_keep_their_sources(slides: Path, tmp_path: Path):
    for name in SLIDES:
        options = {"inputs": (slides / f"{name}.png",), "tile_px": TILE_PX, "min_tissue": 0}
        tile(TileOptions.model_validate({**options, "output": tmp_path / name}))
        run(tmp_path / name, output=tmp_path / "out")
    assert read_sources(tmp_path / "out")["image_id"].to_list() == sorted(SLIDES)


def test_pictures_are_tiles_of_their_own(tmp_path: Path):
    """Of any size, grey ones among them; image ids are the paths below the folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "classes"
    pictures = {"ADI/tile ä.png": (20, 30, 3), "ADI/grey.png": (16, 16), "TUM/b#1.png": (24, 24, 3)}
    arrays = {name: rng.integers(0, 256, size, dtype=np.uint8) for name, size in pictures.items()}
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(array).save(folder / name)
    result = run(folder, output=tmp_path / "out")
    assert result.done == 2  # one table a folder
    table, features = read(tmp_path / "out", "ADI")
    assert table["image_id"].to_list() == ["ADI/grey", "ADI/tile ä"]
    assert table.select("x", "y", "w", "h").rows() == [(0, 0, 16, 16), (0, 0, 30, 20)]
    np.testing.assert_array_equal(features[1], describe(arrays["ADI/tile ä.png"]))
    np.testing.assert_array_equal(features[0], describe(np.repeat(arrays["ADI/grey.png"][..., None], 3, axis=2)))
    assert len(read_sources(tmp_path / "out")) == 3


def test_tile_images_belong_to_the_slide_they_were_cut_from(tmp_path: Path):
    """A slide folder as HistoPrep writes it: thumbnails and masks beside the tiles are no tiles."""
    slide = tmp_path / "slide 7"
    names = {"tiles/x0_y16_w8_h8.png": 1, "tiles/x32_y0_w8_h8.png": 2, "tiles/x8_y0_w8_h8.png": 3}
    for name, value in {**names, "masks/x0_y16_w8_h8.png": 0, "thumbnail.png": 9, "thumbnail_tiles.png": 9}.items():
        (slide / name).parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.full((8, 8, 3), 50 * value % 256, np.uint8)).save(slide / name)
    for inputs in (slide, slide / "tiles", tmp_path):
        output = tmp_path / f"out {inputs.name}"
        run(inputs, output=output)
        table, features = read(output, "slide 7")
        assert table["image_id"].unique().to_list() == ["slide 7"]
        assert table.select("region", "x", "y").rows() == [(0, 8, 0), (1, 32, 0), (2, 0, 16)]  # raster order
        np.testing.assert_array_equal(features[0], describe(np.full((8, 8, 3), 150, np.uint8)))


def test_a_changed_picture_is_noticed(tmp_path: Path):
    (tmp_path / "tiles").mkdir()
    for name, value in (("a", 10), ("b", 20)):
        Pillow.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / "tiles" / f"{name}.png")
    run(tmp_path / "tiles", output=tmp_path / "out")
    Pillow.fromarray(np.full((8, 8, 3), 30, np.uint8)).save(tmp_path / "tiles" / "b.png")
    with pytest.raises(OutputConflict, match="other input files"):
        run(tmp_path / "tiles", output=tmp_path / "out")


def test_sixteen_bit_pictures_are_refused(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    Pillow.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep" / "a.png")
    result = run(tmp_path / "deep", output=tmp_path / "out")
    assert "1 channels of uint16, encoders take RGB of 8 bit" in result.failed[0].message
    assert result.exit_code == 1


def test_unusable_inputs(tiles: Path, tmp_path: Path):
    with pytest.raises(MissingFile, match="no such file"):
        run(tmp_path / "nowhere", output=tmp_path / "out")
    with pytest.raises(InvalidData, match="two inputs have the id"):
        run(tiles, tiles, output=tmp_path / "out")
    (tiles / "sources.parquet").unlink()
    with pytest.raises(MissingFile, match="stroma tile did not end"):
        run(tiles, output=tmp_path / "out")
    with pytest.raises(UsageError, match="Did you mean 'colour-texture'"):
        run(tmp_path, output=tmp_path / "out", encoder="colour-textur")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(tiles: Path, tmp_path: Path):
    result = run(tiles, output=tmp_path / "out", dry_run=True)
    assert result.lines == ["would embed Präparat #1, a+b: 24 tiles", "would embed slide @2: 15 tiles"]
    assert not (tmp_path / "out").exists()
