import gzip
import json
import math
from pathlib import Path

import pytest
import shapely

from stroma.core.errors import InvalidData, MissingFile
from stroma.regions import geojson
from stroma.regions.annotation import Annotation, index_of
from stroma.regions.geojson import parse_geojson, read_geojson, write_geojson
from tests.same_annotation import same_annotation

QUPATH = Path(__file__).parents[3] / "shared" / "data" / "qupath_geojson_dlup" / "qupath05.geojson"
SQUARE = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]


def feature(geometry=None, **properties):
    return {
        "type": "Feature",
        "geometry": geometry or {"type": "Polygon", "coordinates": SQUARE},
        "properties": properties,
    }


def every_kind() -> list[Annotation]:
    hole = shapely.Polygon(shapely.box(5, 5, 95, 95).exterior, [shapely.box(20, 20, 30, 30).exterior])
    return [
        Annotation(hole, label="Tumor", colour=(200, 0, 0), name="Ä 1", identifier="6423a977", locked=True),
        Annotation(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(3, 3, 5, 5)]), name="two"),
        Annotation(shapely.Point(3.25, 4.5), colour=(1, 2, 3), metadata={"who": "x"}),
        Annotation(shapely.MultiPoint([(1, 2), (3, 4)]), label="Ignore*"),
        Annotation(shapely.LineString([(0, 0), (7.125, 8)])),
        Annotation(
            shapely.box(0, 0, 9, 9),
            label="Cell: Positive",
            kind="cell",
            nucleus=shapely.box(2, 2, 4, 4),
            measurements={"area µm²": 20.25, "n": 3.0},
            plane=(2, 1),
        ),
    ]


def test_what_is_written_is_read_back_equal(tmp_path):
    path = write_geojson(tmp_path / "a ä#@,+.geojson", every_kind())
    found = read_geojson(path)
    assert len(found) == 6
    for one, other in zip(every_kind(), found, strict=True):
        assert same_annotation(one, other), (one, other)
    assert write_geojson(tmp_path / "b.geojson", found).read_bytes() == path.read_bytes()


def test_the_file_has_the_form_that_qupath_writes(tmp_path):
    content = json.loads(write_geojson(tmp_path / "a.geojson", every_kind()).read_text())
    assert content["type"] == "FeatureCollection"
    first = content["features"][0]
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["classification"] == {"name": "Tumor", "color": [200, 0, 0]}
    assert len(first["geometry"]["coordinates"]) == 2
    assert content["features"][5]["nucleusGeometry"]["type"] == "Polygon"
    assert content["features"][5]["geometry"]["plane"] == {"c": -1, "z": 2, "t": 1}


def test_coordinates_lose_at_most_half_of_the_last_decimal(tmp_path):
    third = Annotation(shapely.Point(1 / 3, 50_000 + 2 / 3))
    path = write_geojson(tmp_path / "a.geojson", [third])
    assert read_geojson(path)[0].geometry.equals_exact(third.geometry, 0.0005)
    path = write_geojson(tmp_path / "b.geojson", [third], decimals=None)
    assert read_geojson(path)[0].geometry == third.geometry


def test_scan_bounds_shift_in_and_out(tmp_path):
    """QuPath counts from the corner of the scanned area; level 0 of OpenSlide counts from the slide's."""
    path = write_geojson(tmp_path / "a.geojson", [Annotation(shapely.Point(1030, 520))], offset=(1000, 500))
    assert read_geojson(path)[0].geometry == shapely.Point(30, 20)
    assert read_geojson(path, offset=(1000, 500))[0].geometry == shapely.Point(1030, 520)


def test_bare_lists_single_features_and_geometries_are_read():
    one = feature(objectType="annotation")
    for content in ([one], one, {"type": "FeatureCollection", "features": [one]}, one["geometry"]):
        (found,) = parse_geojson(json.dumps(content))
        assert found.geometry.equals(shapely.box(0, 0, 10, 10))
    assert parse_geojson("[]") == []


def test_both_forms_of_measurements_are_read():
    as_dict = feature(measurements={"a": 1, "b": 2.5, "c": None})
    as_list = feature(measurements=[{"name": "a", "value": 1}, {"name": "b", "value": 2.5}])
    one, other = parse_geojson(json.dumps([as_dict, as_list]))
    assert math.isnan(one.measurements["c"])
    assert {k: v for k, v in one.measurements.items() if k != "c"} == dict(other.measurements) == {"a": 1.0, "b": 2.5}


def test_a_measurement_that_is_not_a_number_is_written_as_null(tmp_path):
    path = write_geojson(tmp_path / "a.geojson", [Annotation(shapely.Point(0, 0), measurements={"m": math.nan})])
    assert json.loads(path.read_text())["features"][0]["properties"]["measurements"] == {"m": None}


def test_classes_of_old_and_new_versions_are_understood():
    """0.2: a packed colour and the type as id; 0.5: lists of names; some write the bare name."""
    old = {**feature(classification={"name": "Tumor", "colorRGB": -3670016}), "id": "PathDetectionObject"}
    new = feature(classification={"names": ["Cell", "Positive"], "color": [1, 2, 3]})
    bare = feature(classification="Stroma")
    found = parse_geojson(json.dumps([old, new, bare]))
    assert [a.label for a in found] == ["Tumor", "Cell: Positive", "Stroma"]
    assert [a.colour for a in found] == [(200, 0, 0), (1, 2, 3), None]
    assert found[0].kind == "detection"
    assert found[0].identifier is None


def test_the_class_is_the_classification_else_the_name():
    named, both, none = parse_geojson(
        json.dumps([feature(name="UT"), feature(name="UT", classification={"name": "T"}), feature()])
    )
    names = {"UT": 3, "T": 4}
    assert [index_of(a, names, index=0, ignore=255) for a in (named, both)] == [3, 4]
    with pytest.raises(InvalidData, match="object 7 has neither"):
        index_of(none, names, index=7, ignore=255)
    assert index_of(none, names, index=7, ignore=255, unclassified=0) == 0


def test_ignored_classes_are_not_annotated_and_unknown_ones_an_error():
    star = Annotation(shapely.Point(0, 0), label="Ignore*")
    assert index_of(star, {"a": 1}, index=0, ignore=255) == 255
    assert index_of(star, {"Ignore*": 2}, index=0, ignore=255) == 2
    with pytest.raises(InvalidData, match="object 5.*'Tumour'.*Tumor"):
        index_of(Annotation(shapely.Point(0, 0), label="Tumour"), {"Tumor": 1}, index=5, ignore=255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"a": 1}', "neither a FeatureCollection"),
        ('{"type": "FeatureCollection"}', "neither"),
        ([feature(), {"type": "Feature", "geometry": None}], "object 1 is no feature"),
        ([feature(), feature({"type": "Circle", "coordinates": [1, 2]})], "object 1 has the geometry type 'Circle'"),
        ([feature(), feature({"type": "Polygon"})], "object 1 has a geometry without usable coordinates"),
        ([feature(), feature({"type": "Polygon", "coordinates": "x"})], "object 1 .*without usable"),
        ([feature(), feature({"type": "Polygon", "coordinates": 0})], "object 1 .*without usable"),
        ([feature(), feature({"type": "Polygon", "coordinates": -1.5})], "object 1 .*without usable"),
        ([feature(), feature({"type": "Polygon", "coordinates": [[[0, 0], [1, float("nan")], [2, 3]]]})], "object 1"),
        ([feature(), feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 3]]]})], "object 1 .*cannot"),
        ([feature(), feature({"type": "Polygon", "coordinates": []})], "object 1 .*empty|object 1 .*cannot"),
        ([feature(), feature({"type": "Point", "coordinates": [1]})], "object 1 .*cannot"),
        ([feature(), feature(classification=7)], "object 1 has a classification"),
        ([feature(), feature(color=[1, 2])], "object 1 has the colour"),
        ([feature(), feature(measurements=[{"a": 1}])], "object 1 has measurements"),
    ],
)
def test_bad_files_are_told_with_the_index_of_the_object(tmp_path, content, message):
    path = tmp_path / "bad.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InvalidData, match=message) as error:
        read_geojson(path)
    assert "bad.geojson" in str(error.value)


def test_a_key_called_coordinates_elsewhere_is_harmless():
    strange = feature(metadata={"coordinates": "[1, 2]", 'say "coordinates": [3]': "x"}, measurements={"m": 1})
    strange["properties"]["other"] = {"coordinates": [9, 9]}
    (found,) = parse_geojson(json.dumps([strange]))
    assert found.geometry.equals(shapely.box(0, 0, 10, 10))
    assert found.metadata["coordinates"] == "[1, 2]"


def test_large_files_are_compressed_and_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(geojson, "GZIP_BYTES", 100)
    path = write_geojson(tmp_path / "cells.geojson", every_kind())
    assert path.name == "cells.geojson.gz"
    assert json.loads(gzip.decompress(path.read_bytes()))["type"] == "FeatureCollection"
    again = write_geojson(tmp_path / "again.geojson", every_kind())
    assert again.read_bytes() == path.read_bytes()
    assert len(read_geojson(path)) == 6
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text[:99]) + gzip.compress(text[99:]))  # as programs do that append
    assert len(read_geojson(path)) == 6


def test_broken_and_missing_files(tmp_path):
    (tmp_path / "a.geojson").write_bytes(b"\x1f\x8b\x08broken")
    (tmp_path / "b.geojson").write_bytes(b"\xff\xfe\x00")
    for name in ("a.geojson", "b.geojson"):
        with pytest.raises(InvalidData, match=name):
            read_geojson(tmp_path / name)
    with pytest.raises(MissingFile):
        read_geojson(tmp_path / "c.geojson")


def test_many_objects_cross_the_batches_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(geojson, "_BATCH", 7)
    many = [Annotation(shapely.Point(i, -i), measurements={"i": float(i)}) for i in range(30)]
    found = read_geojson(write_geojson(tmp_path / "a.geojson", many))
    assert [a.geometry.x for a in found] == [a.measurements["i"] for a in found] == list(map(float, range(30)))


@pytest.mark.skipif(not QUPATH.is_file(), reason="the shared data is not beside the checkout")
def test_a_real_qupath_export():
    found = read_geojson(QUPATH)
    assert [a.class_name for a in found] == ["UT", "I", "I"]
    assert all(a.label is None and a.colour == (255, 0, 0) for a in found)
    assert found[0].identifier == "6423a977-ffff-48db-affc-cd11632010f0"
    assert found[0].geometry.bounds == (8837, 6277, 9070, 6563)
