import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shapely
from skimage.measure import regionprops

from stroma.core.errors import InvalidData
from stroma.regions.annotation import Annotation
from stroma.regions.masks import read_mask
from stroma.regions.objects import OBJECTS_SCHEMA, objects_from_annotations, objects_from_mask, summarise_objects
from stroma.regions.outlines import polygons_from_mask

STARDIST = Path(__file__).parents[3] / "shared" / "data" / "nuclei_stardist_2d" / "mask2d.tif"
IDS = {"image_id": "slide-1", "subject_id": "p1"}


def test_a_drawn_circle():
    circle = shapely.Point(50, 40).buffer(20, quad_segs=200)
    (row,) = objects_from_annotations(
        [Annotation(circle, label="cell", measurements={"confidence": 0.75})], **IDS, size=(100, 200), mpp=0.5
    ).iter_rows(named=True)
    assert (row["x"], row["y"], row["w"], row["h"]) == (30, 20, 40, 40)
    assert (row["centroid_x"], row["centroid_y"]) == pytest.approx((50, 40))
    assert row["area_um2"] == pytest.approx(math.pi * 10**2, rel=1e-4)
    assert row["diameter_um"] == pytest.approx(20, rel=1e-4)
    assert row["circularity"] == pytest.approx(1, abs=1e-4)
    assert (row["label"], row["confidence"], row["on_border"]) == ("cell", 0.75, False)


def test_squares_points_and_what_the_border_cuts():
    many = [Annotation(shapely.box(0, 5, 10, 15)), Annotation(shapely.Point(3.5, 4.5), name="p")]
    table = objects_from_annotations(many, **IDS, size=(20, 20), mpp=None)
    assert dict(table.schema) == OBJECTS_SCHEMA
    assert table["circularity"].to_list() == [pytest.approx(math.pi / 4), None]
    assert table["area_px"].to_list() == [100, 0]
    assert table["area_um2"].to_list() == [None, None]
    assert table["on_border"].to_list() == [True, False]
    assert table["label"].to_list() == [None, "p"]
    assert len(objects_from_annotations([], **IDS, size=(20, 20), mpp=1.0)) == 0


def test_an_instance_mask_at_a_downsample():
    rows, columns = np.mgrid[:200, :200]
    mask = np.where((rows - 100) ** 2 + (columns - 60) ** 2 < 40**2, 7, 0)
    mask[:10, :10] = 9
    probability = np.where(mask == 7, 0.5, 1.0)
    table = objects_from_mask(mask, **IDS, mpp=0.25, downsample=4, label="a", probability=probability)
    disc, corner = table.iter_rows(named=True)
    assert (disc["region"], corner["region"]) == (7, 9)
    assert (disc["centroid_x"], disc["centroid_y"]) == pytest.approx((60.5 * 4, 100.5 * 4))
    assert disc["diameter_um"] == pytest.approx(2 * 40, rel=0.01)  # 1 µm per pixel of the mask
    assert disc["circularity"] == pytest.approx(1, abs=0.02)
    assert (disc["on_border"], corner["on_border"]) == (False, True)
    assert (disc["confidence"], corner["confidence"]) == (0.5, 1.0)
    assert corner["area_um2"] == 100
    with pytest.raises(InvalidData, match="probabilities"):
        objects_from_mask(mask, **IDS, mpp=1.0, probability=probability[1:])
    assert len(objects_from_mask(np.zeros((5, 5), int), **IDS, mpp=1.0)) == 0


def test_densities_count_images_and_subjects_without_objects():
    def row(image, label, area, border=False):
        values = {"image_id": image, "subject_id": "?", "label": label, "area_um2": area, "on_border": border}
        return {name: values.get(name) for name in OBJECTS_SCHEMA}

    objects = pl.DataFrame([row("a", "x", 1e5), row("a", "x", 3e5, True), row("b", "y", 2e5)], schema=OBJECTS_SCHEMA)
    images = pl.DataFrame(
        {"image_id": ["a", "b", "c", "d"], "subject_id": ["s", "s", "t", "u"], "tissue_mm2": [2.0, 2.0, 1.0, 0.0]}
    )
    per_image = {(r["image_id"], r["label"]): r for r in summarise_objects(objects, images).iter_rows(named=True)}
    assert len(per_image) == 8
    assert per_image["a", "x"] == {
        "image_id": "a", "label": "x", "count": 2, "on_border": 1, "density_per_mm2": 1.0,
        "area_share": pytest.approx(0.2), "mean_area_um2": 2e5,
    }  # fmt: skip
    assert (per_image["c", "x"]["count"], per_image["c", "x"]["density_per_mm2"]) == (0, 0.0)
    assert per_image["d", "x"]["density_per_mm2"] is None
    per_subject = summarise_objects(objects, images, by="subject_id")
    pooled = per_subject.row(by_predicate=(pl.col("subject_id") == "s") & (pl.col("label") == "x"), named=True)
    assert (pooled["count"], pooled["density_per_mm2"], pooled["area_share"]) == (2, 0.5, pytest.approx(0.1))
    with pytest.raises(InvalidData, match="'b', which is not listed"):
        summarise_objects(objects, images.filter(pl.col("image_id") != "b"))


@pytest.mark.skipif(not STARDIST.is_file(), reason="the shared data is not beside the checkout")
def test_a_real_instance_mask_has_its_65_nuclei():
    table = objects_from_mask(read_mask(STARDIST), **IDS, mpp=None)
    assert len(table) == 65
    assert table["circularity"].median() > 0.85


@pytest.mark.skipif(not STARDIST.is_file(), reason="the shared data is not beside the checkout")
@pytest.mark.parametrize("downsample", [1.0, 2.5])
def test_real_nuclei_measure_the_same_as_by_scikit_image(downsample):
    """Outlines of a mask against `skimage.measure.regionprops` on the mask itself, the stairs of pixels left out."""
    mask = read_mask(STARDIST)
    _, shapes = polygons_from_mask(mask, downsample=downsample)
    size = tuple(round(length * downsample) for length in mask.shape)
    table = objects_from_annotations([Annotation(shape) for shape in shapes], **IDS, size=size, mpp=0.25)
    found = {name: table[name].to_numpy() for name in table.columns}
    regions = regionprops(mask)
    assert len(regions) == len(table) == 65
    side_um = 0.25 * downsample
    expected = {
        "centroid_x": [(region.centroid[1] + 0.5) * downsample for region in regions],
        "centroid_y": [(region.centroid[0] + 0.5) * downsample for region in regions],
        "area_um2": [region.area * side_um**2 for region in regions],
        "diameter_um": [region.equivalent_diameter_area * side_um for region in regions],
        "circularity": [min(1, 4 * np.pi * region.area / region.perimeter_crofton**2) for region in regions],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)
    touching = [0 in region.bbox or bool(set(region.bbox[2:]) & {256}) for region in regions]
    assert table["on_border"].to_list() == touching


def test_a_drawn_rectangle_has_its_own_perimeter():
    """Four upright and level edges are a drawing, not the stairs of pixels."""
    (row,) = objects_from_annotations(
        [Annotation(shapely.box(3, 4, 13, 24))], **IDS, size=(90, 90), mpp=1.0
    ).iter_rows(named=True)
    assert row["circularity"] == pytest.approx(4 * math.pi * 200 / 60**2)
