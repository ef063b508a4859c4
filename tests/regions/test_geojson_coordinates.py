"""All coordinates of a batch at once: the same as the geometry library gives, and never a guess."""

import json

import numpy as np
import pytest
import shapely

from stroma.regions.geojson import parse_geojson
from stroma.regions.geojson_coordinates import (
    are_plain_polygons,
    geometries_from_texts,
    geometry_texts,
    parse_polygons,
    polygon_texts,
)

SHAPES = np.array(
    [
        shapely.box(0, 0, 10, 10),
        shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(6, 1), (8, 1), (8, 3)], [(4, 1), (5, 1), (5, 2)]]),
        shapely.Polygon([(0.1, 1e-7), (1 / 3, 2e22), (-123456.789, 5.5)]),
    ],
    dtype=object,
)


def test_texts_are_geojson_with_every_digit():
    """Python's own JSON and shapely read back what was written, bit by bit."""
    for text, shape in zip(polygon_texts(SHAPES, None), SHAPES, strict=True):
        assert shapely.equals_exact(shapely.from_geojson(text), shape, 0)
        rings = [shape.exterior, *shape.interiors]
        assert json.loads(text) == {"type": "Polygon", "coordinates": [[list(p) for p in r.coords] for r in rings]}


def test_decimals_are_rounded_and_short():
    (text,) = polygon_texts(np.array([shapely.Polygon([(0.12349, 1), (2, 1), (2, 3.0005001)])]), 3)
    assert json.loads(text)["coordinates"] == [[[0.123, 1], [2, 1], [2, 3.001], [0.123, 1]]]
    assert "0.123," in text


def test_parsing_gives_the_same_polygons_whatever_the_spaces():
    coordinates = [
        json.dumps(json.loads(text)["coordinates"], indent=n) for n, text in enumerate(polygon_texts(SHAPES, None))
    ]
    found = parse_polygons(coordinates)
    assert found is not None
    assert shapely.equals_exact(found, SHAPES, 0).all()


@pytest.mark.parametrize(
    "text",
    [
        "[[[0,0],[4,0],[4,4]]]",  # not closed
        "[[[0,0],[4,0],[0,0]]]",  # two corners
        "[[[0,0,1],[4,0,1],[4,4,1],[0,0,1]]]",  # with z
        "[[[0,0],[4,0],[4,4],[0,0]],[]]",
        "[[0,0],[4,0],[4,4],[0,0]]",
        "[[[0,0],[4,0],[4,4],[0,0]]",
        "[[[0,0],[4,0],[4,],[0,0]]]",
        "[[[0,0],[4,0],[4,1.2.3],[0,0]]]",
        "[[[0,0],[4,0],[4,1e999],[0,0]]]",
        "[[[0,0],[4,0],[4 4],[0,0]]]",
        "[]",
        "",
    ],
)
def test_what_is_not_plain_is_left_to_the_geometry_library(text):
    good = "[[[0,0],[4,0],[4,4],[0,0]]]"
    assert parse_polygons([good]) is not None
    assert parse_polygons([good, text, good]) is None


def test_plain_polygons_are_told_from_others():
    assert are_plain_polygons(SHAPES)
    with np.errstate(invalid="ignore"):
        not_a_number = shapely.Polygon([(0, 0), (np.nan, 1), (1, 1)])
    for other in (None, shapely.Point(1, 2), shapely.Polygon(), not_a_number):
        assert not are_plain_polygons(np.array([*SHAPES, other], dtype=object))


def test_polygons_beside_points_are_read_too():
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]]]}},
        {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": [[[[0, 0], [4, 0], [4, 4], [0, 0]]]]},
        },
    ]
    found = parse_geojson(json.dumps(features))
    assert [a.geometry.geom_type for a in found] == ["Point", "Polygon", "MultiPolygon"]
    assert [a.geometry.area for a in found] == [0, 8, 8]


def test_texts_of_mixed_and_of_plain_geometries_are_read_back_and_broken_ones_are_none():
    mixed = [*SHAPES, shapely.Point(1, 2), shapely.MultiPolygon([SHAPES[0]]), None]
    for shapes in (SHAPES, mixed):
        found = geometries_from_texts(geometry_texts(shapes, decimals=None).tolist())
        for one, other in zip(found, shapes, strict=True):
            assert (one is None) == (other is None)
            assert one is None or shapely.equals_exact(one, other, 0)
    broken = geometries_from_texts(
        ['{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}', '{"type":"Point","coordinates":[1,2]}']
    )
    assert broken[0] is None
    assert broken[1] == shapely.Point(1, 2)
    assert len(geometries_from_texts([])) == 0
