import numpy as np
import pytest
import shapely

from stroma.core.errors import UsageError
from stroma.regions import polygons
from stroma.regions.outlines import polygons_from_mask
from stroma.regions.polygons import mask_from_polygons


def redrawn(mask: np.ndarray) -> np.ndarray:
    values, polygons = polygons_from_mask(mask)
    return mask_from_polygons(polygons, 0, 0, mask.shape[1], mask.shape[0], values=values, dtype=np.int64)


def test_convention_a_pixel_is_the_square_around_its_centre_at_one_half():
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[2, 3] = 7
    values, polygons = polygons_from_mask(mask)
    assert values.tolist() == [7]
    assert polygons[0].equals(shapely.box(3, 2, 4, 3))
    assert (polygons[0].centroid.x, polygons[0].centroid.y) == (3.5, 2.5)


def test_straight_borders_have_no_corners_between():
    mask = np.zeros((30, 40), dtype=bool)
    mask[5:25, 10:30] = True
    polygon = polygons_from_mask(mask)[1][0]
    assert len(polygon.exterior.coords) == 5
    assert polygon.area == 400


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("labels", [1, 4])
def test_drawing_the_outlines_gives_the_same_mask(seed, labels):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 40, 2)
    mask = np.where(rng.random(shape) < rng.random(), rng.integers(1, labels + 1, shape), 0)
    values, polygons = polygons_from_mask(mask)
    assert shapely.is_valid(polygons).all()
    assert np.array_equal(redrawn(mask), mask)
    for value in np.unique(mask[mask > 0]):
        assert shapely.area(polygons[values == value]).sum() == (mask == value).sum()


def test_holes_and_islands_in_holes():
    mask = np.zeros((9, 9), dtype=np.uint8)
    mask[1:8, 1:8] = 1
    mask[2:7, 2:7] = 0
    mask[4, 4] = 1
    _, polygons = polygons_from_mask(mask)
    assert [len(p.interiors) for p in polygons] == [1, 0]
    assert [p.area for p in polygons] == [24, 1]


def test_pixels_that_touch_at_a_corner_are_two_valid_polygons():
    values, polygons = polygons_from_mask(np.eye(3, dtype=bool))
    assert len(polygons) == 3
    assert shapely.is_valid(polygons).all()


def test_an_object_that_touches_itself_at_a_corner_stays_one_valid_polygon():
    """A ring of pixels that closes only diagonally: the hole touches the outside at one point."""
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]])
    _, polygons = polygons_from_mask(mask)
    assert len(polygons) == 1
    assert polygons[0].is_valid
    assert len(polygons[0].interiors) == 1
    assert polygons[0].area == 7


def test_outlines_are_placed_in_level_0_pixels():
    mask = np.zeros((4, 4), dtype=bool)
    mask[1:3, 1:3] = True
    _, polygons = polygons_from_mask(mask, x=100, y=50, downsample=16)
    assert polygons[0].bounds == (116, 66, 148, 98)
    window = mask_from_polygons(polygons, 100, 50, 64, 64, downsample=16)
    assert np.array_equal(window > 0, mask)


def test_simplified_outlines_have_fewer_corners_and_stay_near():
    rows, columns = np.mgrid[:100, :100]
    mask = (rows - 50) ** 2 + (columns - 50) ** 2 < 40**2
    exact, simple = polygons_from_mask(mask)[1][0], polygons_from_mask(mask, simplify_px=1.0)[1][0]
    assert len(simple.exterior.coords) < len(exact.exterior.coords) / 2
    assert exact.hausdorff_distance(simple) <= 1.0 + 1e-9


def test_an_empty_mask_has_no_outlines_and_a_volume_is_refused():
    values, polygons = polygons_from_mask(np.zeros((5, 5)))
    assert len(values) == len(polygons) == 0
    with pytest.raises(UsageError, match="two axes"):
        polygons_from_mask(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("downsample", [1, 2, 2.5, 7])
def test_convention_a_pixel_is_inside_if_its_centre_is(downsample):
    rng = np.random.default_rng(5)
    star = shapely.Polygon(rng.uniform(0, 60, (7, 2)))
    shape = star.buffer(0) if not star.is_valid else star
    ring = shapely.Polygon(shapely.Point(30, 30).buffer(22).exterior, [shapely.Point(33, 28).buffer(9).exterior])
    for polygon in (shape, ring, shapely.MultiPolygon([shapely.box(1, 1, 9, 20), shapely.box(30, 30, 50, 55)])):
        mask = mask_from_polygons([polygon], -3, -5, 70, 63, downsample=downsample)
        assert mask.shape == (round(63 / downsample), round(70 / downsample))
        rows, columns = np.indices(mask.shape)
        inside = shapely.contains_xy(polygon, -3 + (columns + 0.5) * downsample, -5 + (rows + 0.5) * downsample)
        on_border = shapely.intersects_xy(
            polygon.boundary, -3 + (columns + 0.5) * downsample, -5 + (rows + 0.5) * downsample
        )
        assert np.array_equal(mask[~on_border] > 0, inside[~on_border])


def test_polygons_with_a_common_border_neither_share_nor_miss_a_pixel():
    """The common border runs through pixel centres."""
    left, right = shapely.box(0.5, 0.5, 4.5, 8.5), shapely.box(4.5, 0.5, 9.5, 8.5)
    a = mask_from_polygons([left], 0, 0, 12, 12)
    b = mask_from_polygons([right], 0, 0, 12, 12)
    assert not (a & b).any()
    assert (a + b).sum() == 9 * 8


def test_later_polygons_lie_over_earlier_ones():
    big, small = shapely.box(0, 0, 10, 10), shapely.box(3, 3, 5, 5)
    over = mask_from_polygons([big, small], 0, 0, 10, 10, values=[1, 2], background=255)
    under = mask_from_polygons([small, big], 0, 0, 10, 10, values=[2, 1], background=255)
    assert (over == 2).sum() == 4
    assert (under == 2).sum() == 0


def test_what_lies_outside_the_window_is_cut():
    mask = mask_from_polygons([shapely.box(-1e6, -1e6, 1e6, 5), shapely.box(50, 50, 60, 60)], 0, 0, 20, 20)
    assert mask[:5].all()
    assert not mask[5:].any()


def test_wrong_calls_are_told():
    with pytest.raises(UsageError, match="empty"):
        mask_from_polygons([], 0, 0, 0, 5)
    with pytest.raises(UsageError, match="1 polygons and 2 values"):
        mask_from_polygons([shapely.box(0, 0, 1, 1)], 0, 0, 5, 5, values=[1, 2])


def test_many_polygons_are_drawn_in_parts_that_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    places, sides = rng.uniform(0, 50, (40, 2)), rng.uniform(1, 12, 40)
    shapes = [shapely.Point(x, y).buffer(r) for (x, y), r in zip(places.tolist(), sides.tolist(), strict=True)]
    values = np.arange(1, 41)
    whole = mask_from_polygons(shapes, 0, 0, 50, 50, values=values)
    monkeypatch.setattr(polygons, "_CROSSINGS", 60)
    monkeypatch.setattr(polygons, "_PAINT_PIXELS", 25)
    np.testing.assert_array_equal(mask_from_polygons(shapes, 0, 0, 50, 50, values=values), whole)


def test_a_window_smaller_than_a_coarse_pixel_is_one_pixel():
    assert mask_from_polygons([shapely.box(0, 0, 9, 9)], 0, 0, 3, 2, downsample=8).shape == (1, 1)
    assert mask_from_polygons([shapely.box(0, 0, 9, 9)], 0, 0, 3, 16, downsample=8).shape == (2, 1)
