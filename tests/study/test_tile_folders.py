from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.prepare.index import InitOptions, init
from stroma.study.layouts.recognise import recognise
from stroma.study.layouts.tiles import TilePlace, place_of
from stroma.study.study import Study, open_study

from .conftest import SHARED, write_png


def picture(path: Path) -> None:
    write_png(path, np.full((8, 8, 3), 120, np.uint8))


def study_of(root: Path, tmp_path: Path) -> Study:
    init(InitOptions(folder=root, output=tmp_path / "study.yaml"))
    return open_study(tmp_path)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x0_y224_w512_h256", TilePlace("", 0, 224, 512, 256)),
        ("Fall 1_x-16_y224", TilePlace("Fall 1", -16, 224)),
        ("Fall 1 [x=0,y=224,w=512,h=256]", TilePlace("Fall 1", 0, 224, 512, 256)),
        ("Fall 1 [d=2.5,x=8,y=224,w=512,h=256]", TilePlace("Fall 1", 8, 224, 512, 256)),
        ("tile_x_3_y_4", TilePlace("", 3, 4)),
        ("spot_3_x1_y2_w3_h4", TilePlace("spot_3", 1, 2, 3, 4)),
        ("max1_y2", None),
        ("12_34", None),
        ("case 7", None),
    ],
)
def test_names_with_coordinates(name: str, place: TilePlace | None) -> None:
    assert place_of(name) == place


@pytest.fixture
def histoprep(tmp_path: Path) -> Path:
    """Folders of HistoPrep of two slides with two tiles each, moved from another machine."""
    root = tmp_path / "tiles of HistoPrep"
    for slide in ("Fall ü #1", "b"):
        for x in (0, 16):
            picture(root / slide / "tiles" / f"x{x}_y8_w16_h16.jpeg")
            write_png(root / slide / "masks" / f"x{x}_y8_w16_h16.png", np.full((8, 8), x > 0, np.uint8))
        paths = [f"/data/old place/{slide}/tiles/x{x}_y8_w16_h16.jpeg" for x in (0, 16)]
        table = pl.DataFrame({"x": [0, 16], "y": [8, 8], "w": [16, 16], "h": [16, 16], "path": paths})
        table.write_parquet(root / slide / "metadata.parquet")
        (root / slide / "properties.json").write_text('{"num_tiles": 2, "level": 1}')
        picture(root / slide / "thumbnail.jpeg")
    return root


def test_a_tile_of_histoprep_is_an_image_with_its_slide_and_place(histoprep: Path, tmp_path: Path) -> None:
    study = study_of(histoprep, tmp_path)
    assert list(study) == [
        "Fall ü #1/x0_y8_w16_h16", "Fall ü #1/x16_y8_w16_h16", "b/x0_y8_w16_h16", "b/x16_y8_w16_h16",
    ]  # fmt: skip
    row = study.row("b/x16_y8_w16_h16")
    assert (row["slide"], row["subject_id"], row["x"], row["y"], row["w"], row["h"]) == ("b", "b", 16, 8, 16, 16)
    assert (row["height"], row["width"], row["path"]) == (8, 8, "b/tiles/x16_y8_w16_h16.jpeg")
    with study.open("b/x16_y8_w16_h16") as image:
        assert image.shape == (8, 8, 3)


def test_tissue_masks_of_histoprep_are_annotations(histoprep: Path, tmp_path: Path) -> None:
    study = study_of(histoprep, tmp_path)
    assert study.labels.names == ("background", "tissue")
    assert study.mask("b/x16_y8_w16_h16").all() and not study.mask("b/x0_y8_w16_h16").any()


def test_tiles_that_table_and_folder_do_not_share_are_named(histoprep: Path, tmp_path: Path) -> None:
    (histoprep / "b/tiles/x0_y8_w16_h16.jpeg").unlink()
    picture(histoprep / "b/tiles/x99_y8_w16_h16.jpeg")
    lines = init(InitOptions(folder=histoprep, output=tmp_path / "study.yaml")).lines
    assert any("b/metadata.parquet lists 'x0_y8_w16_h16.jpeg', which is not there" in line for line in lines)
    assert any("b/tiles/x99_y8_w16_h16.jpeg is not in b/metadata.parquet" in line for line in lines)


def test_a_slide_without_tiles_and_a_broken_table_stop_nothing(histoprep: Path, tmp_path: Path) -> None:
    (histoprep / "empty/tiles").mkdir(parents=True)
    (histoprep / "empty/metadata.csv").write_text("x,y,w,h,path\n")
    (histoprep / "b/metadata.parquet").write_bytes(b"broken")
    result = init(InitOptions(folder=histoprep, output=tmp_path / "study.yaml"))
    assert result.summary["images"] == 2
    assert any("b/metadata.parquet" in line and "left out" in line for line in result.lines)


def test_pictures_named_by_their_coordinates_belong_to_the_slide_of_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for slide in ("S1", "S2"):
        for x in (0, 8):
            picture(root / slide / "tiles" / f"x{x}_y0.png")
    assert recognise(root).reason == "4 tiles of 2 slides, named by their coordinates"
    study = study_of(root, tmp_path)
    assert study.catalog["subject_id"].to_list() == ["S1", "S1", "S2", "S2"]


def test_tiles_in_folders_of_other_names_may_be_classes(tmp_path: Path) -> None:
    for label in ("tumour", "stroma"):
        for x in (0, 8):
            picture(tmp_path / label / f"S1_x{x}_y0.png")
    assert recognise(tmp_path).name == "classes"


def test_tiles_with_masks_are_images_with_masks(tmp_path: Path) -> None:
    for x in (0, 8):
        picture(tmp_path / "images" / f"S1_x{x}_y0.png")
        write_png(tmp_path / "masks" / f"S1_x{x}_y0.png", np.zeros((8, 8), np.uint8))
    assert recognise(tmp_path).name == "masks"


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_the_tiles_of_histoencoder(tmp_path: Path) -> None:
    root = tmp_path / "slide"
    shutil.copytree(SHARED / "data" / "histoencoder_tiles", root)
    study = study_of(root, tmp_path)
    assert len(study) == 90
    row = study.row("x1120_y448_w224_h224")
    assert (row["slide"], row["x"], row["y"], row["height"]) == ("slide", 1120, 448, 224)
    assert study.subject_known and study.catalog["subject_id"].n_unique() == 1
