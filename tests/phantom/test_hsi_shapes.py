"""Shapes and fields: the same scene at every resolution."""

import numpy as np
import pytest

from stroma.phantom.shapes import Canvas, blob, lobules, smooth_field, smooth_line, tube, vessels

SMALL, LARGE = Canvas(60, 80), Canvas(180, 240)  # three times: pixel centres of SMALL are centres of LARGE, too


def at_small(large):
    """The pixels of a large picture that lie where the pixels of the small one lie."""
    return large[1::3, 1::3]


def rng():
    return np.random.default_rng(7)


def test_pixel_centres_are_at_half_a_pixel_and_the_scene_is_one_high():
    canvas = Canvas(4, 8)
    assert canvas.aspect == 2
    np.testing.assert_allclose(canvas.y[:, 0], [0.125, 0.375, 0.625, 0.875])
    assert canvas.x[0, -1] == pytest.approx(2 - 0.125)


@pytest.mark.parametrize(
    "draw",
    [
        lambda canvas: smooth_field(rng(), canvas, 0.1),
        lambda canvas: blob(rng(), canvas, centre=(0.6, 0.5), radius=0.3, bend=0.4).depth,
        lambda canvas: lobules(rng(), canvas, 0.07)[1],
        lambda canvas: tube(canvas, smooth_line(np.array([[0.1, 0.5], [1.2, 0.4]])), radius=0.1).depth,
    ],
)
def test_a_larger_picture_shows_the_same_scene(draw):
    np.testing.assert_allclose(at_small(draw(LARGE)), draw(SMALL), atol=2e-5)


def test_fields_have_mean_zero_and_variance_one():
    values = np.stack([smooth_field(np.random.default_rng(i), SMALL, 0.08) for i in range(40)])
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, abs=0.05)


def test_fields_are_smooth_at_their_scale():
    field = smooth_field(rng(), LARGE, 0.2)
    steps = np.abs(np.diff(field, axis=1))
    assert steps.max() < 0.2  # 36 pixels between knots


def test_the_line_of_a_tube_runs_through_its_waypoints():
    waypoints = np.array([[0.1, 0.2], [0.5, 0.8], [0.9, 0.3]])
    line = smooth_line(waypoints)
    for point in waypoints:
        assert np.hypot(*(line - point).T).min() < 1e-9


def test_a_straight_tube_is_a_band_with_its_axis_in_the_middle():
    canvas = Canvas(101, 101)
    shape = tube(canvas, smooth_line(np.array([[-0.5, 0.5], [1.5, 0.5]])), radius=0.2)
    inside = shape.depth > 0
    assert inside.mean() == pytest.approx(0.4, abs=0.02)
    middle = shape.depth[50]
    np.testing.assert_allclose(middle, 0.2, atol=5e-3)
    assert shape.across[40, 50] < 0 < shape.across[60, 50] or shape.across[60, 50] < 0 < shape.across[40, 50]
    assert np.all(np.diff(shape.along[50]) >= 0)


def test_a_round_blob_is_a_disc():
    shape = blob(rng(), Canvas(200, 200), centre=(0.5, 0.5), radius=0.3, wobble=0.0)
    assert (shape.depth > 0).mean() == pytest.approx(np.pi * 0.3**2, rel=0.02)
    assert shape.height[100, 100] == pytest.approx(1, abs=1e-3)
    assert shape.height[0, 0] == 0


def test_vessels_branch_out_of_their_root():
    tree = vessels(rng(), LARGE, start=(0.2, 0.5), heading=0.0, length=0.3, radius=0.02)
    assert 0 <= tree.min() < tree.max() <= 1
    assert tree[90, 36] > 0.9  # the root
    assert tree[:, 120:].max() > 0.9  # beyond the first segment
    assert tree[:, :20].max() < 0.1


def test_vessels_outside_the_picture_leave_it_empty():
    assert not vessels(rng(), SMALL, start=(-5.0, -5.0), heading=np.pi, length=0.1, radius=0.01).any()
