import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely

from stroma.core.errors import InvalidData, MissingFile
from stroma.regions.coordinates import (
    read_contour_table,
    read_coordinates_csv,
    read_polygon_list,
)
from stroma.regions.masks import read_mask
from stroma.regions.polygons import mask_from_polygons

HISTOMICSTK = Path(__file__).parents[3] / "shared" / "data" / "annotations_histomicstk"


def test_an_outline_survives_exactly(tmp_path):
    polygon = shapely.Polygon([(1.1, 2.2), (30.123456789, 4), (5, 60.5)])
    path = tmp_path / "2021_04_15#polygon#annotator1#liver#coordinates.csv"
    path.write_text("0.6,1.7\n29.623456789,3.5\n4.5,60.0\n")
    assert shapely.equals_exact(read_coordinates_csv(path), polygon, 1e-12)


def test_convention_indices_of_pixels_are_moved_by_half_a_pixel(tmp_path):
    (tmp_path / "a.csv").write_text("0,0\n4,0\n4,4\n0,4\n")
    assert read_coordinates_csv(tmp_path / "a.csv").bounds == (0.5, 0.5, 4.5, 4.5)
    assert read_coordinates_csv(tmp_path / "a.csv", pixel_centre=0.5).bounds == (0, 0, 4, 4)


def test_broken_outlines_are_told(tmp_path):
    path = tmp_path / "a.csv"
    for text, message in (("1,2\n3,x\n5,6\n", "line 2"), ("1,2,3\n", "3 columns"), ("1,2\n3,4\n", "no area")):
        path.write_text(text)
        with pytest.raises(InvalidData, match=message):
            read_coordinates_csv(path)
    with pytest.raises(MissingFile):
        read_coordinates_csv(tmp_path / "none.csv")


def test_polygon_lists(tmp_path):
    path = tmp_path / "10044.json"
    path.write_text(json.dumps([[[0, 0], [4, 0], [4, 4]], [[1, 1], [2, 1], [2, 5]]]))
    assert [p.area for p in read_polygon_list(path)] == [8, 2]
    for content, message in (
        ({}, "no list"),
        ([[[0, 0], [4, 0], [4, 4]], [[1, 1]]], "object 1"),
        ([[1, 2]], "object 0"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(InvalidData, match=message):
            read_polygon_list(path)


def test_broken_contour_tables_are_told(tmp_path):
    path = tmp_path / "a.csv"
    head = "group,color,coords_x,coords_y\n"
    for text, message in (
        ("a,b\n1,2\n", "'group'"),
        (head + 't,"rgb(1,2,3)","1,2,3","1,2"\n', "object 0 has 3 x and 2 y"),
        (head + 't,"rgb(1,2,3)","1,2,x","1,2,3"\n', "object 0 has coordinates"),
        (head + 't,red,"1,2,3","1,2,5"\n', "'red' is no colour"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidData, match=message):
            read_contour_table(path)


@pytest.mark.skipif(not HISTOMICSTK.is_dir(), reason="the shared data is not beside the checkout")
def test_a_real_contour_table_and_its_mask():
    """46 outlines of a breast cancer; those of lymphocytic infiltrate agree with the mask they come from."""
    found = read_contour_table(HISTOMICSTK / "sample_contours_df.tsv")
    counts = Counter(a.label for a in found)
    assert counts["mostly_tumor"] == 25
    assert counts["mostly_lymphocytic_infiltrate"] == 13
    assert len(found) == 46
    assert found[0].colour == (200, 0, 150)
    mask = read_mask(next(HISTOMICSTK.glob("*.png")))
    height, width = mask.shape
    assert found[0].geometry.bounds[0] >= 0
    assert found[0].geometry.bounds[2] <= width
    shapes = [a.geometry for a in found if a.label == "mostly_lymphocytic_infiltrate"]
    drawn = mask_from_polygons(shapes, 0, 0, width, height) > 0
    values, pixels = np.unique(mask[drawn], return_counts=True)
    value = values[np.argmax(pixels)]
    union, both = (drawn | (mask == value)).sum(), (drawn & (mask == value)).sum()
    assert both / union > 0.97


@pytest.mark.parametrize("entry", [[[1, 2, 3]] * 3, [1, 2, 3], [], "x", {"x": 1}, [["a", "b"]] * 3])
def test_an_entry_that_is_no_list_of_points_is_told(tmp_path, entry):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([[[0, 0], [1, 0], [1, 1]], entry]))
    with pytest.raises(InvalidData, match="object 1"):
        read_polygon_list(path)


def test_a_table_that_is_none_is_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2\n3,4,5\n")
    with pytest.raises(InvalidData, match=r"a\.csv: is not a readable table"):
        read_coordinates_csv(path)
