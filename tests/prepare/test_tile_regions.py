"""`stroma tile --regions` and `--tma`: tiles in annotations, masks and cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shapely
import tifffile
from PIL import Image as Picture

from stroma.cli.main import run
from stroma.core.config import dump_yaml
from stroma.core.errors import OutputConflict, UsageError
from stroma.features.tiles import find_tiles
from stroma.images.image import Box
from stroma.images.slide import SlideImage
from stroma.prepare import histoprep
from stroma.prepare.region_files import FileRegions
from stroma.prepare.slide_regions import region_columns
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from stroma.regions.annotation import Annotation
from stroma.regions.geojson import write_geojson
from stroma.slides.cores import find_cores
from stroma.study.study import open_study
from tests.prepare.test_tiles import HISTOPREP, failures, needs_data, slide, tiles_of


def outlines(path: Path) -> Path:
    """A tumour in columns 20 to 29, stroma in 40 to 59 with a part of it ignored, a point."""
    tumour = Annotation(shapely.box(20, 0, 30, 60), label="Tumour")
    stroma = Annotation(shapely.box(40, 0, 60, 60), label="stroma: loose")
    ignored = Annotation(shapely.box(40, 20, 60, 30), label="Ignore*")
    write_geojson(path, [tumour, stroma, ignored, Annotation(shapely.Point(1, 1), label="Point")])
    return path


def index_mask() -> np.ndarray:
    """The same at half the size: 1 tumour, 2 stroma."""
    mask = np.zeros((30, 50), dtype=np.uint8)
    mask[:, 10:15] = 1
    mask[:, 20:30] = 2
    mask[10:15, 20:30] = 0
    return mask


def tiled(folder: Path, regions: Path, **more: Any) -> pl.DataFrame:
    slide(folder / "s.png")
    out = folder / "out"
    options = {"tile_px": 20, "sigma": 0, "min_tissue": 0, **more}
    result = tile(TileOptions(inputs=(folder / "s.png",), output=out, regions=regions, overwrite=True, **options))
    assert result.exit_code == 0, result.failed
    return tiles_of(out, "s")


EXPECTED = [
    (x, y, tumour, stroma)
    for y in (0, 20, 40)
    for x, tumour, stroma in ((20, 0.5, 0.0), (40, 0.0, 0.5 if y == 20 else 1.0))
]


def test_tiles_lie_in_outlines_and_say_how_much_of_each_class_they_hold(tmp_path: Path) -> None:
    table = tiled(tmp_path, outlines(tmp_path / "r.geojson"))
    assert table.columns[-4:] == ["annotated", "class", "fraction_Tumour", "fraction_stroma: loose"]
    rows = table.select("x", "y", "fraction_Tumour", "fraction_stroma: loose").rows()
    assert rows == [pytest.approx(row) for row in EXPECTED]
    assert (table["annotated"] == table["fraction_Tumour"] + table["fraction_stroma: loose"]).all()


def test_a_smaller_or_greater_part_can_be_asked_for(tmp_path: Path) -> None:
    regions = outlines(tmp_path / "r.geojson")
    assert len(tiled(tmp_path, regions, min_annotated=0.6)) == 2
    assert len(tiled(tmp_path, regions, min_annotated=0)) == 15
    assert len(tiled(tmp_path, regions, min_tissue=0.6)) == 2  # both conditions hold


@pytest.mark.parametrize("kind", ["png", "palette.png", "tiff", "tiled.tif", "npy"])
def test_a_mask_at_a_lower_resolution_gives_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"r.{kind}"
    if kind == "npy":
        np.save(path, index_mask())
    elif kind.startswith("ti"):
        tile_shape = {"tile": (16, 16)} if kind.startswith("tiled") else {}
        tifffile.imwrite(path, index_mask(), **tile_shape)
    else:
        picture = Picture.fromarray(index_mask())
        if kind.startswith("palette"):
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(path)
    table = tiled(tmp_path, path)
    assert table.columns[-4:] == ["annotated", "class", "fraction_1", "fraction_2"]
    assert table.select("x", "y", "fraction_1", "fraction_2").rows() == [pytest.approx(row) for row in EXPECTED]


def test_regions_of_a_cohort_lie_in_a_folder_under_the_image_ids(tmp_path: Path) -> None:
    for name in ("patient 1/a", "b", "c#ü"):
        slide(tmp_path / "in" / f"{name}.png")
    outlines(tmp_path / "regions" / "patient 1" / "a.geojson")
    Picture.fromarray(index_mask()).save(tmp_path / "regions" / "b.png")
    options = {"inputs": (tmp_path / "in",), "output": tmp_path / "out", "regions": tmp_path / "regions"}
    result = tile(TileOptions(**options, tile_px=20))
    assert result.exit_code == 3
    assert list(failures(tmp_path / "out")) == ["c#ü"]
    assert "has no regions" in failures(tmp_path / "out")["c#ü"]
    assert len(tiles_of(tmp_path / "out", "patient 1/a")) == len(tiles_of(tmp_path / "out", "b")) == 6
    outlines(tmp_path / "regions" / "c%23%C3%BC.geojson")
    assert tile(TileOptions(**options, tile_px=20)).skipped == 2


def test_outlines_win_over_a_mask_and_two_of_a_kind_are_an_error(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    outlines(tmp_path / "r" / "s.geojson")
    Picture.fromarray(index_mask()).save(tmp_path / "r" / "s.png")
    options = {"inputs": (tmp_path / "s.png",), "tile_px": 20, "regions": tmp_path / "r"}
    tile(TileOptions(**options, output=tmp_path / "one"))
    assert "fraction_Tumour" in tiles_of(tmp_path / "one", "s").columns
    outlines(tmp_path / "r" / "s.json")
    assert tile(TileOptions(**options, output=tmp_path / "two")).exit_code == 1
    assert "s.geojson and in s.json" in failures(tmp_path / "two")["s"]


def test_changed_regions_are_noticed(tmp_path: Path) -> None:
    tiled(tmp_path, outlines(tmp_path / "r.geojson"))
    write_geojson(tmp_path / "r.geojson", [Annotation(shapely.box(0, 0, 60, 60))])
    options = TileOptions(
        inputs=(tmp_path / "s.png",), output=tmp_path / "out", tile_px=20, sigma=0, min_tissue=0,
        regions=tmp_path / "r.geojson",
    )  # fmt: skip
    with pytest.raises(OutputConflict, match="'regions' has changed"):
        tile(options)


def test_outlines_of_qupath_begin_at_the_scanned_area(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((64, 64, 3), np.uint8), tile=(16, 16), photometric="rgb")
    write_geojson(tmp_path / "r.geojson", [Annotation(shapely.box(0, 0, 8, 16), label="A")])
    boxes = np.array([[16, 16, 16, 16]])
    with SlideImage(tmp_path / "s.tif") as image:
        image.scan_bounds = Box(16, 16, 32, 32)
        for origin, fraction in (("slide", 0.0), ("scan", 0.5)):
            options = TileOptions(inputs=(tmp_path,), output=tmp_path, regions_origin=origin)
            columns = region_columns(FileRegions(tmp_path / "r.geojson"), image, boxes, options)
            assert columns["fraction_A"].to_list() == [pytest.approx(fraction)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.geojson", "no polygon"),
        ("wide.png", "no reduced size"),
        ("colour.png", "colour image"),
        ("regions.txt", "neither GeoJSON nor a mask"),
        ("absent.geojson", "no such regions"),
        ("cut.geojson", "not valid JSON"),
    ],
)
def test_regions_that_cannot_be_used_are_named(tmp_path: Path, name: str, message: str) -> None:
    slide(tmp_path / "s.png")
    path = tmp_path / name
    if name == "none.geojson":
        write_geojson(path, [Annotation(shapely.Point(1, 1))])
    elif name == "wide.png":
        Picture.fromarray(np.ones((30, 30), np.uint8)).save(path)
    elif name == "colour.png":
        Picture.fromarray(np.arange(30 * 50 * 3, dtype=np.uint8).reshape(30, 50, 3)).save(path)
    elif name != "absent.geojson":
        path.write_text('{"type": "FeatureCollection", "features": [')
    result = tile(TileOptions(inputs=(tmp_path / "s.png",), output=tmp_path / "out", tile_px=20, regions=path))
    assert result.exit_code == 1
    assert message in result.failed[0].message
    assert not list((tmp_path / "out").glob("*.done.json"))


def test_the_class_of_a_tile_is_the_one_that_covers_most(tmp_path: Path) -> None:
    table = tiled(tmp_path, outlines(tmp_path / "r.geojson"), tile_px=30, min_annotated=0)
    # columns 0-29 hold the tumour of 20-29, 30-59 the stroma of 40-59, and beyond 60 lies nothing
    assert dict(table.select("x", "class").rows()) == {0: "Tumour", 30: "stroma: loose", 60: None, 90: None}


@pytest.mark.parametrize("kind", ["geojson", "png"])
def test_only_some_classes_can_count(tmp_path: Path, kind: str) -> None:
    regions = outlines(tmp_path / "r.geojson") if kind == "geojson" else tmp_path / "r.png"
    Picture.fromarray(index_mask()).save(tmp_path / "r.png")
    name = "Tumour" if kind == "geojson" else "1"
    table = tiled(tmp_path, regions, region_classes=(name, "never drawn"))
    assert set(table["x"]) == {20}
    assert (table["annotated"] == table[f"fraction_{name}"]).all() and set(table["class"]) == {name}
    assert set(table["fraction_never drawn"]) == {0.0}


def study(folder: Path, **more: Any) -> Path:
    """Two slides with index masks: background, tumour, stroma."""
    for name in ("P1/a", "P2/b"):
        slide(folder / "data" / "images" / f"{name}.png")
        mask = index_mask().repeat(2, axis=0).repeat(2, axis=1)
        (folder / "data" / "masks" / name).parent.mkdir(parents=True)
        Picture.fromarray(mask).save(folder / "data" / "masks" / f"{name}.png")
    content = {
        "name": "s", "root": "data", "layout": {"name": "masks"}, "outside": "background",
        "subjects": {"rule": "path-level", "level": 2}, "labels": {"names": ["background", "tumour", "stroma"]},
    }  # fmt: skip
    (folder / "study.yaml").write_text(dump_yaml({**content, **more}), encoding="utf-8")
    return folder / "study.yaml"


def test_annotations_of_a_study_are_regions(tmp_path: Path) -> None:
    path = study(tmp_path)
    options = {"tile_px": 20, "sigma": 0, "min_tissue": 0, "regions": path}
    result = tile(TileOptions(inputs=(path,), output=tmp_path / "out", **options))
    assert result.exit_code == 0, result.failed
    (first, second) = (tiles_of(tmp_path / "out", name) for name in open_study(path))
    assert first.columns[-4:] == ["annotated", "class", "fraction_stroma", "fraction_tumour"]
    assert first.select("x", "y", "fraction_tumour", "fraction_stroma").rows() == [
        pytest.approx(row) for row in EXPECTED
    ]
    assert first.drop("image_id").equals(second.drop("image_id"))
    only = {**options, "region_classes": ("tumour",), "regions": tmp_path}  # the folder stands for its study.yaml
    image = tmp_path / "data" / "images" / "P1" / "a.png"  # found by its path, not by its id
    tile(TileOptions(inputs=(image,), output=tmp_path / "tumour", **only))
    assert set(tiles_of(tmp_path / "tumour", "a")["x"]) == {20}
    assert (
        run(["tile", str(path), "-o", str(tmp_path / "x"), "--regions", str(path), "--region-classes", "tumor"]) == 1
    )
    assert "Did you mean 'tumour'" in next(iter(failures(tmp_path / "x").values()))


def test_changed_annotations_or_labels_of_a_study_are_noticed(tmp_path: Path) -> None:
    path = study(tmp_path)
    options = TileOptions(inputs=(path,), output=tmp_path / "out", tile_px=20, min_tissue=0, regions=path)
    tile(options)
    assert tile(options).skipped == 2
    study(tmp_path / "other", labels={"names": ["background", "tumor", "stroma"]})
    path.write_bytes((tmp_path / "other" / "study.yaml").read_bytes())
    with pytest.raises(OutputConflict, match="labels"):
        tile(options)


def test_outlines_of_a_study_are_drawn_tile_by_tile(tmp_path: Path) -> None:
    slide(tmp_path / "data" / "s.png")
    outlines(tmp_path / "data" / "s.geojson")
    content = {
        "name": "s", "root": "data", "layout": {"name": "slides", "pictures": True, "annotations": True},
        "labels": {"names": ["Tumour", "stroma: loose"], "ignore": ["Ignore*", "Point"]},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(dump_yaml(content), encoding="utf-8")
    path = tmp_path / "study.yaml"
    options = {"tile_px": 20, "sigma": 0, "min_tissue": 0, "regions": path}
    result = tile(TileOptions(inputs=(path,), output=tmp_path / "out", **options))
    assert result.exit_code == 0, result.failed
    table = tiles_of(tmp_path / "out", "s")
    rows = table.select("x", "y", "fraction_Tumour", "fraction_stroma: loose").rows()
    assert rows == [pytest.approx(row) for row in EXPECTED]
    nobody = {**options, "regions_where": "annotator = 'nobody'"}
    with pytest.raises(UsageError, match="no image fulfils"):
        tile(TileOptions(inputs=(path,), output=tmp_path / "nobody", **nobody))


def test_a_label_of_the_whole_image_holds_in_all_its_tiles(tmp_path: Path) -> None:
    for name in ("benign/a", "malignant/b"):
        slide(tmp_path / "data" / f"{name}.png")
    content = {
        "name": "s", "root": "data", "layout": {"name": "classes"}, "labels": {"names": ["benign", "malignant"]},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(dump_yaml(content), encoding="utf-8")
    path = tmp_path / "study.yaml"
    options = {"tile_px": 20, "min_tissue": 0, "regions": path}
    result = tile(TileOptions(inputs=(path,), output=tmp_path / "out", **options))
    assert result.exit_code == 0, result.failed
    assert set(tiles_of(tmp_path / "out", "benign/a")["class"]) == {"benign"}
    tile(TileOptions(inputs=(path,), output=tmp_path / "m", region_classes=("malignant",), **options))
    assert len(tiles_of(tmp_path / "m", "benign/a")) == 0
    assert len(tiles_of(tmp_path / "m", "malignant/b")) == 15


def test_histoprep_folders_can_be_restricted_too(tmp_path: Path) -> None:
    slide(tmp_path / "s.png")
    regions = outlines(tmp_path / "r.geojson")
    options = {"inputs": (tmp_path / "s.png",), "output": tmp_path / "out", "tile_px": 20, "min_tissue": 0}
    tile(TileOptions(**options, preset="histoprep", regions=regions))
    table = pl.read_parquet(tmp_path / "out" / "s" / "metadata.parquet")
    assert table.columns[4:] == ["path", "annotated", "class", "fraction_Tumour", "fraction_stroma: loose"]
    assert len(table) == 6


# --- tissue microarrays --------------------------------------------------------------------------------------


def array(missing: tuple[tuple[int, int], ...] = (), degrees: float = 0.0) -> np.ndarray:
    """Three rows of four discs, 8 pixels in radius, 40 apart."""
    mask = np.zeros((200, 240), dtype=bool)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    turn = np.radians(degrees)
    for row in range(3):
        for column in range(4):
            if (row, column) not in missing:
                right, down = 40 * column, 40 * row
                cx = 50 + right * np.cos(turn) - down * np.sin(turn)
                cy = 50 + right * np.sin(turn) + down * np.cos(turn)
                mask |= (x - cx) ** 2 + (y - cy) ** 2 <= 64
    return mask


@pytest.mark.parametrize("degrees", [0.0, 6.0, -9.0])
def test_cores_are_numbered_row_by_row_counting_empty_places(degrees: float) -> None:
    cores = find_cores(array(missing=((1, 2),), degrees=degrees))
    assert [core.name for core in cores] == [f"spot_{n}" for n in range(1, 13) if n != 7]
    assert [(core.row, core.column) for core in cores] == [divmod(n - 1, 4) for n in range(1, 13) if n != 7]


def test_the_box_of_a_core_is_that_of_its_tissue_and_dirt_is_left_out() -> None:
    mask = array()
    mask[5:8, 5:8] = True  # 9 pixels of dirt
    mask[46:54, 46:54] = False  # a hole
    first = find_cores(mask)[0]
    assert (first.x, first.y, first.w, first.h) == (42, 42, 17, 17)
    assert len(find_cores(mask)) == 12


def test_pieces_in_one_place_share_its_number() -> None:
    mask = array()
    mask[42:59, 48:51] = False  # the first core falls apart
    names = [core.name for core in find_cores(mask)]
    assert names[:3] == ["spot_1-1", "spot_1-2", "spot_2"]
    assert find_cores(np.zeros((5, 5), dtype=bool)) == []


@needs_data
@pytest.mark.parametrize("preset", [None, "histoprep"])
def test_the_cores_of_the_shared_array_are_those_of_histoprep(tmp_path: Path, preset: str | None) -> None:
    """94 spots; without tissue are the places 18, 37, 46, 55, 64, 70, 73, 78-82, 91, 100."""
    options = {"output": tmp_path, "tma": True, "sigma": 2, "multiplier": 1.0, "save_images": True}
    result = tile(TileOptions(inputs=(HISTOPREP / "tma_spots.jpeg",), preset=preset, **options))
    assert result.summary["tiles"] == 94
    if preset is None:
        table = tiles_of(tmp_path, "tma_spots")
        names = table["core"].to_list()
        files = list((tmp_path / "images" / "tma_spots").iterdir())
    else:
        folder = tmp_path / "tma_spots"
        names = [
            Path(p).stem.rpartition("_x")[0] for p in histoprep.read_metadata(folder / "metadata.parquet")["path"]
        ]
        files = list((folder / "spots").iterdir())
        assert not (folder / "properties.json").exists()
        assert (folder / "thumbnail_spots.jpeg").exists()
        assert len(find_tiles([tmp_path])[0].addresses()) == 94
    assert len(files) == 94
    empty = {18, 37, 46, 55, 64, 70, 73, *range(78, 83), 91, 100}
    assert names == [f"spot_{n}" for n in range(1, 109) if n not in empty]
