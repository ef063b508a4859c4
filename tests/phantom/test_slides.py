import tracemalloc

import numpy as np
import openslide
import PIL.Image
import polars as pl
import pytest
import shapely
import tifffile

from stroma.core.errors import OutputConflict
from stroma.core.tables import read_table
from stroma.phantom.slides import TISSUE_DOWNSAMPLE, PhantomSlidesOptions, phantom_slides
from stroma.phantom.slides_anatomy import bodies_near
from stroma.phantom.slides_files import write_slide
from stroma.phantom.slides_nuclei import TYPES, nuclei_near
from stroma.phantom.slides_paint import Painter
from stroma.phantom.slides_plan import plan_slide
from stroma.regions.geojson import read_geojson
from stroma.regions.polygons import mask_from_polygons
from stroma.regions.rle import decode_runs
from stroma.regions.rle_csv import read_rle_csv

WIDTH, HEIGHT = 1400, 1100
SMALL = {"width": 560, "height": 512, "slides": 1}


def options(output, **more) -> PhantomSlidesOptions:
    return PhantomSlidesOptions(
        **{"output": output, "width": WIDTH, "height": HEIGHT, "slides": 2, "seed": 22} | more
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Phantom ä #1")
    result = phantom_slides(options(folder, nuclei_outlines=True))
    assert not result.failed
    return folder


@pytest.fixture(scope="module")
def slide(study) -> np.ndarray:
    with openslide.OpenSlide(study / "slides" / "slide-002.tiff") as opened:
        return np.asarray(opened.read_region((0, 0), 0, opened.dimensions))[..., :3]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def painter(width=4096, height=3072, mpp=0.5, inflamed=True) -> Painter:
    return Painter(plan_slide("s", "p", 1, width, height, mpp, inflamed=inflamed))


def test_openslide_finds_the_pyramid_and_the_size_of_a_pixel(study):
    with openslide.OpenSlide(study / "slides" / "slide-001.tiff") as opened:
        assert opened.properties["openslide.vendor"] == "generic-tiff"
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert opened.level_dimensions == ((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))
        halves = np.asarray(opened.read_region((0, 0), 1, opened.level_dimensions[1]))[..., :3]
        full = np.asarray(opened.read_region((0, 0), 0, opened.dimensions))[..., :3].astype(float)
    mean = full.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(mean - halves).mean() < 4  # JPEG twice


def test_the_pixels_do_not_depend_on_how_the_slide_is_cut_into_blocks():
    whole, nuclei = painter().block(900, 700, 600, 500)
    part, some = painter().block(1030, 811, 300, 211)
    assert np.array_equal(whole[111 : 111 + 211, 130 : 130 + 300], part)
    inside = (nuclei.x / 0.5 >= 1030) & (nuclei.x / 0.5 < 1330) & (nuclei.y / 0.5 >= 811) & (nuclei.y / 0.5 < 1022)
    found, expected = (set(zip(n.x, n.y, n.type, strict=True)) for n in (some, nuclei[inside]))
    assert found == expected
    assert len(found) > 20


def test_the_same_seed_gives_the_same_files_at_any_number_of_workers(study, tmp_path):
    phantom_slides(options(tmp_path / "again", nuclei_outlines=True, workers=2))
    assert contents(tmp_path / "again") == contents(study)


def test_another_seed_gives_other_slides(tmp_path):
    phantom_slides(options(tmp_path / "a", **SMALL))
    phantom_slides(options(tmp_path / "b", **SMALL, seed=4))
    name = "slides/slide-001.tiff"
    assert contents(tmp_path / "a")[name] != contents(tmp_path / "b")[name]


def test_glomeruli_are_the_same_in_all_their_files(study):
    encodings = read_rle_csv(study / "train.csv")
    counts = dict(pl.read_csv(study / "slides.csv").select("image_id", "glomeruli").iter_rows())
    assert sum(counts.values()) >= 2
    for image_id, text in encodings.select("image_id", "encoding").iter_rows():
        runs = decode_runs(text, HEIGHT, WIDTH).window(0, 0, WIDTH, HEIGHT)
        drawn = read_geojson(study / "truth" / "glomeruli" / f"{image_id}.geojson")
        assert len(drawn) == counts[image_id]
        assert {a.label for a in drawn} <= {"glomerulus"}
        mask = tifffile.imread(study / "truth" / "glomeruli" / f"{image_id}.tiff") > 0
        polygons = mask_from_polygons([a.geometry for a in drawn], 0, 0, WIDTH, HEIGHT) > 0
        assert np.array_equal(runs, mask)
        assert np.array_equal(runs, polygons)
        for a in drawn:
            assert 120 < 2 * np.sqrt(a.geometry.area / np.pi) * 0.5 < 260  # diameter in µm, Bowman's space included


def test_nuclei_lie_in_the_tissue_and_their_table_agrees_with_their_outlines(study):
    table = read_table(study / "truth" / "nuclei" / "slide-002.parquet", format="phantom-nuclei/1")
    assert set(table["type"].unique()) == set(TYPES)
    assert table["object"].to_list() == list(range(len(table)))
    tissue = np.asarray(PIL.Image.open(study / "truth" / "tissue" / "slide-002.png"))
    assert set(np.unique(tissue)) == {0, 255}
    rows, columns = (table["y"].to_numpy() // TISSUE_DOWNSAMPLE, table["x"].to_numpy() // TISSUE_DOWNSAMPLE)
    inside = tissue[
        np.minimum(rows, tissue.shape[0] - 1).astype(int), np.minimum(columns, tissue.shape[1] - 1).astype(int)
    ]
    assert (inside > 0).mean() > 0.99
    outlines = read_geojson(study / "truth" / "nuclei" / "slide-002.geojson")
    assert len(outlines) == len(table)
    drawn = np.sort([a.geometry.area * 0.5**2 for a in outlines])
    assert np.allclose(drawn, np.sort(table["area_um2"].to_numpy()), rtol=0.03)  # 24 corners cut a little off


def test_nuclei_are_blue_and_dark_where_the_table_says(study, slide):
    table = read_table(study / "truth" / "nuclei" / "slide-002.parquet")
    density = -np.log((slide.astype(float) + 1) / 256)
    red = density[..., 0]  # eosin hardly absorbs red light, haematoxylin does
    medians = {}
    for kind, rows in table.group_by("type"):
        at = red[rows["y"].to_numpy().astype(int), rows["x"].to_numpy().astype(int)]
        medians[kind[0]] = np.median(at)
    background = np.median(red[slide.mean(axis=2) < 215])
    assert all(value > background + 0.15 for value in medians.values())
    assert medians["lymphocyte"] > medians["epithelial"] + 0.3


def test_nuclei_do_not_lie_on_each_other():
    plan = painter().plan
    bodies = bodies_near(plan, 300, 300, 700, 700)
    nuclei = nuclei_near(plan, bodies, 500, 500, 300, 300)
    shapes = shapely.polygons(nuclei.outlines_um())
    i, j = shapely.STRtree(shapes).query(shapes)
    common = shapely.area(shapely.intersection(shapes[i[i < j]], shapes[j[i < j]])).sum()
    assert common < 0.02 * shapely.area(shapes).sum()
    assert np.allclose(shapely.area(shapes), nuclei.area_um2, rtol=0.03)


def test_an_inflamed_kidney_has_more_lymphocytes():
    counts = []
    for inflamed in (False, True):
        plan = painter(inflamed=inflamed).plan
        nuclei = nuclei_near(plan, bodies_near(plan, 200, 200, 1100, 1000), 400, 400, 700, 600)
        counts.append((nuclei.type == TYPES.index("lymphocyte")).sum())
    assert counts[1] > 2 * counts[0]


def test_glass_is_nearly_white_and_stains_differ_between_patients(study):
    corners, means = [], []
    for name in ("slide-001", "slide-002"):
        image = tifffile.imread(study / "slides" / f"{name}.tiff").astype(float)
        corners.append(image[:40, :40].mean())
        means.append(image[image.mean(axis=2) < 210].mean(axis=0))
    assert all(corner > 230 for corner in corners)
    assert np.abs(means[0] - means[1]).max() > 4


def test_a_second_run_skips_what_is_complete_and_repairs_what_is_not(tmp_path):
    small = SMALL | {"slides": 2}
    first = phantom_slides(options(tmp_path, **small))
    assert (first.done, first.skipped) == (2, 0)
    before = contents(tmp_path)
    (tmp_path / "truth" / "nuclei" / "slide-001.parquet").unlink()
    second = phantom_slides(options(tmp_path, **small))
    assert (second.done, second.skipped) == (1, 1)
    assert contents(tmp_path) == before
    assert phantom_slides(options(tmp_path, **SMALL)).skipped == 1


def test_other_settings_in_the_same_folder_are_an_error_unless_overwritten(tmp_path):
    phantom_slides(options(tmp_path, **SMALL))
    with pytest.raises(OutputConflict, match="seed was 22, is 5"):
        phantom_slides(options(tmp_path, **SMALL, seed=5))
    assert phantom_slides(options(tmp_path, **SMALL, seed=5, overwrite=True)).done == 1


def test_a_dry_run_writes_nothing(tmp_path):
    result = phantom_slides(options(tmp_path / "out", dry_run=True))
    assert list(result.lines) == ["to do: slide-001", "to do: slide-002"]
    assert not (tmp_path / "out").exists()


def test_slides_are_shared_among_patients(tmp_path):
    phantom_slides(options(tmp_path, width=520, height=512, slides=3, subjects=2))
    table = pl.read_csv(tmp_path / "slides.csv")
    assert table["subject_id"].to_list() == ["patient-001", "patient-002", "patient-001"]
    assert table["diagnosis"].to_list() == ["normal", "interstitial nephritis", "normal"]
    assert all((tmp_path / path).is_file() for path in table["path"])


def test_memory_does_not_grow_with_the_height_of_a_slide(tmp_path, monkeypatch):
    no_nuclei = painter().block(0, 0, 16, 16)[1]

    def plain(self, x, y, w, h):
        return np.full((h, w, 3), 200, dtype=np.uint8), no_nuclei

    monkeypatch.setattr(Painter, "block", plain)
    peaks = []
    for height in (2048, 12_288):
        tracemalloc.start()
        write_slide(tmp_path / f"{height}.tiff", painter(1024, height), quality=80)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
    assert tifffile.imread(tmp_path / "12288.tiff").shape == (12_288, 1024, 3)
