"""Resizing against the definition: the mean over areas as a product with overlap lengths."""

import numpy as np
import pytest

from stroma.images.resize import resize_area


def overlaps(count, start, stop, size):
    """(size, count) matrix: how much of each old pixel lies in each new one, as a fraction of the new one."""
    edges = np.linspace(start, stop, size + 1)
    old = np.arange(count)
    shared = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.clip(shared, 0, None) / ((stop - start) / size)


WINDOWS = [
    None,
    (0, 12, 0, 15),
    (2, 10, 3, 9),
    (0.5, 11.25, 1.75, 14.5),
    (3.2, 9.2, 0.1, 6.1),
    (7.5, 12, 9.9, 15),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [(4, 3), (3, 5), (1, 1), (2, 4)])
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 2), (np.float32, 5)])
def test_shrinking_is_the_mean_over_areas(window, size, dtype, channels):
    array = (np.random.default_rng(3).random((12, 15, channels)) * 250).astype(dtype)
    top, bottom, left, right = window or (0, 12, 0, 15)
    rows, columns = overlaps(12, top, bottom, size[0]), overlaps(15, left, right, size[1])
    exact = np.einsum("ry,yxc,sx->rsc", rows, array.astype(np.float64), columns)
    result = resize_area(array, *size, window)
    assert result.shape == (*size, channels)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, exact, atol=0.5001 if np.issubdtype(dtype, np.integer) else 1e-3)


def test_the_same_size_is_the_same_array():
    array = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_area(array, 5, 6), array)
    np.testing.assert_array_equal(resize_area(array, 2, 3, (1, 3, 2, 5)), array[1:3, 2:5])


def test_enlarging_interpolates_between_centres_and_repeats_the_edge():
    array = np.array([0, 10], np.float32).reshape(1, 2, 1)
    np.testing.assert_allclose(resize_area(array, 1, 4).ravel(), [0, 2.5, 7.5, 10])


def test_integers_are_rounded_and_never_wrap():
    array = np.array([254, 255], np.uint8).reshape(1, 2, 1)
    assert resize_area(array, 1, 1).item() == 255
    assert resize_area(np.full((3, 3, 4), 65535, np.uint16), 2, 2).min() == 65535
