import numpy as np
import pytest
import shapely

from stroma.core.errors import InvalidData
from stroma.regions.annotation import Annotation
from stroma.regions.check import find_problems, repair, require_no_problems
from stroma.regions.polygons import mask_from_polygons

BOW_TIE = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
GOOD = shapely.box(2, 2, 8, 8)


def kinds(annotations, **more):
    return [(p.index, p.kind, p.fatal) for p in find_problems(annotations, **more)]


def test_good_annotations_have_no_problems():
    good = [Annotation(GOOD, label="a"), Annotation(shapely.Point(0, 0), name="b"), Annotation(GOOD, label="Ignore*")]
    assert find_problems(good, size=(10, 10), labels={"a", "b"}) == []
    require_no_problems([])


def test_problems_are_named_by_the_index_of_the_object():
    flat = shapely.Polygon([(0, 0), (1, 1), (0, 0)])
    many = [Annotation(g) for g in (GOOD, BOW_TIE, flat, shapely.box(20, 0, 30, 5), shapely.box(5, 5, 15, 9))]
    assert kinds(many, size=(10, 12)) == [
        (1, "self-crossing", True),
        (2, "no area", True),
        (3, "outside", True),
        (4, "partly outside", False),
    ]
    with pytest.raises(InvalidData, match=r"a\.geojson: object 1: .*Self-intersection.*\(and 2 more"):
        require_no_problems(find_problems(many, size=(10, 12)), where="a.geojson")


def test_unknown_and_missing_classes():
    many = [Annotation(GOOD, label="Tumour"), Annotation(GOOD), Annotation(GOOD, name="Tumor")]
    assert kinds(many, labels=["Tumor", "Stroma"]) == [(0, "unknown class", True), (1, "no class", True)]
    assert "Did you mean 'Tumor'?" in find_problems(many, labels=["Tumor", "Stroma"])[0].message


def test_a_repaired_outline_covers_the_same_pixels():
    mended = repair(Annotation(BOW_TIE, label="x"))
    assert mended.label == "x"
    assert mended.geometry.is_valid
    before, after = (mask_from_polygons([g], 0, 0, 10, 10) for g in (BOW_TIE, mended.geometry))
    assert np.array_equal(before, after)
    assert repair(Annotation(GOOD)).geometry is GOOD
    with pytest.raises(InvalidData, match="without an area"):
        repair(Annotation(shapely.Polygon([(0, 0), (1, 1), (0, 0)])))


def test_the_message_names_the_other_objects_and_the_next_step():
    many = [Annotation(GOOD), *[Annotation(BOW_TIE)] * 12]
    with pytest.raises(InvalidData) as caught:
        require_no_problems(find_problems(many))
    assert "object 1: " in str(caught.value)
    assert "(and 11 more problems, of objects 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …)" in str(caught.value)
    assert "--repair" in caught.value.next_step
    with pytest.raises(InvalidData) as caught:
        require_no_problems(find_problems([Annotation(GOOD, label="x")], labels={"tumour"}))
    assert "--label" in caught.value.next_step
