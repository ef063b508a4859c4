import json

import numpy as np
import pytest
import shapely

from stroma.core.errors import InvalidData, MissingFile
from stroma.regions.annotation import Annotation
from stroma.regions.coco import AnnotatedImage, read_coco, write_coco
from stroma.regions.polygons import mask_from_polygons

TRIANGLE = shapely.Polygon([(1.25, 1), (9, 1.5), (5, 8)])
TWO = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(5, 5, 8, 9)])
RING = shapely.Polygon(shapely.box(2, 2, 12, 12).exterior, [shapely.box(5, 5, 8, 8).exterior])


def example(**changes):
    entry = {"id": 4, "image_id": 1, "category_id": 2, "segmentation": [[0, 0, 4, 0, 4, 4]], "iscrowd": 0} | changes
    return {
        "images": [{"id": 1, "file_name": "a b.png", "width": 6, "height": 5}],
        "categories": [{"id": 2, "name": "cell"}],
        "annotations": [entry],
    }


def read(tmp_path, content):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return read_coco(path)


def test_polygons_survive_exactly_and_holes_to_the_pixel(tmp_path):
    objects = tuple(Annotation(shape, label=name) for shape, name in ((TRIANGLE, "a"), (TWO, "b"), (RING, "a")))
    images = [AnnotatedImage("x/1 ä.png", 20, 30, objects), AnnotatedImage("2.png", 5, 5, ())]
    found = read_coco(write_coco(tmp_path / "c.json", images, ["a", "b"]))
    assert [(i.file_name, i.height, i.width, len(i.annotations)) for i in found] == [
        ("x/1 ä.png", 20, 30, 3),
        ("2.png", 5, 5, 0),
    ]
    assert [a.label for a in found[0].annotations] == ["a", "b", "a"]
    assert shapely.equals_exact(found[0].annotations[0].geometry, TRIANGLE)
    assert shapely.equals_exact(found[0].annotations[1].geometry, TWO)
    before, after = (mask_from_polygons([g], 0, 0, 30, 20) for g in (RING, found[0].annotations[2].geometry))
    assert np.array_equal(before, after)
    again = write_coco(tmp_path / "d.json", found, ["a", "b"])
    assert again.read_bytes() == (tmp_path / "c.json").read_bytes()


def test_run_lengths_as_numbers_and_as_text_mean_the_same(tmp_path):
    """Column-major, beginning with pixels outside. In text, a character holds 5 bits above '0'; bit 6 says that
    more follow, and the highest bit of the last one is the sign, so that 22 needs two characters."""
    counts = {"size": [5, 6], "counts": [6, 2, 22]}
    (image,) = read(tmp_path, example(segmentation=counts))
    assert image.annotations[0].geometry.equals(shapely.box(1, 1, 2, 3))
    text = {"size": [5, 6], "counts": "62f0"}  # 22 = 0b10110: 'f' = 48 + (22 | 32), then 0 more
    (image,) = read(tmp_path, example(segmentation=text))
    assert image.annotations[0].geometry.equals(shapely.box(1, 1, 2, 3))


def test_text_counts_from_the_fourth_on_are_differences(tmp_path):
    """6, 2, 3, 2, 17: the fourth is stored as 2 - 2 = 0, the fifth as 17 - 3 = 14."""
    (image,) = read(tmp_path, example(segmentation={"size": [5, 6], "counts": "6230>"}))
    assert image.annotations[0].geometry.equals(shapely.box(1, 1, 3, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no COCO file"),
        ({"images": []}, "no COCO file"),
        (example(image_id=9), "object 0 lies on the unknown image 9"),
        (example(category_id=1), "object 0 has the unknown class 1"),
        (example(segmentation=None), "object 0 has no segmentation"),
        (example(segmentation=[[0, 0, 1, 1]]), "object 0 has a polygon"),
        (example(segmentation=[[0, 0, 1, 1, 2]]), "object 0 has a polygon"),
        (example(segmentation=[["x"] * 6]), "object 0 has a polygon"),
        (example(segmentation={"size": [6, 5], "counts": [30]}), r"size \[6, 5\], its image is \[5, 6\]"),
        (example(segmentation={"size": [5, 6], "counts": [6, 2, 30]}), "38 pixels in total.*30"),
        (example(segmentation={"size": [5, 6], "counts": [6, -2, 26]}), "no list of whole numbers"),
        (example(segmentation={"size": [5, 6], "counts": [30]}), "object 0 has no pixels"),
        (example(segmentation={"size": [5, 6], "counts": "62f"}), "break off"),
        (example(segmentation={"size": [5, 6], "counts": "6 2"}), "character ' '"),
    ],
)
def test_bad_files_are_told_with_the_index_of_the_object(tmp_path, content, message):
    with pytest.raises(InvalidData, match=message):
        read(tmp_path, content)


def test_what_coco_cannot_hold_is_an_error(tmp_path):
    point = AnnotatedImage("1.png", 5, 5, (Annotation(shapely.Point(1, 1), label="a"),))
    with pytest.raises(InvalidData, match=r"1\.png: object 0 is a Point"):
        write_coco(tmp_path / "c.json", [point], ["a"])
    other = AnnotatedImage("1.png", 5, 5, (Annotation(TRIANGLE),))
    with pytest.raises(InvalidData, match="object 0 has the class None"):
        write_coco(tmp_path / "c.json", [other], ["a"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingFile):
        read_coco(tmp_path / "none.json")


def test_boxes_and_areas_are_those_of_the_outlines(tmp_path):
    image = AnnotatedImage("a.png", 20, 30, (Annotation(TRIANGLE, label="a"), Annotation(RING, label="a")))
    entries = json.loads(write_coco(tmp_path / "c.json", [image], ["a"]).read_text())["annotations"]
    assert [entry["bbox"] for entry in entries] == [[1.25, 1, 7.75, 7], [2, 2, 10, 10]]
    assert [entry["area"] for entry in entries] == [TRIANGLE.area, 91]


@pytest.mark.parametrize("segmentation", [None, [], "0", 5])
def test_an_object_without_a_segmentation_is_told(tmp_path, segmentation):
    with pytest.raises(InvalidData, match="object 0 has no segmentation"):
        read(tmp_path, example(segmentation=segmentation))
