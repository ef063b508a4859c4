"""L1 normalisation, and what becomes of spectra that have no such form."""

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.spectra.normalise import l1, l1_in_place, zero_spectra


def test_absolute_values_of_each_spectrum_sum_to_one():
    spectra = np.array([[[1.0, 3.0], [-2.0, 6.0]]])
    result = l1(spectra)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[[0.25, 0.75], [-0.25, 0.75]]])


def test_input_is_left_unchanged_and_any_real_type_is_taken():
    counts = np.array([[1, 3], [5, 5]], dtype=np.uint16)
    np.testing.assert_allclose(l1(counts), [[0.25, 0.75], [0.5, 0.5]])
    assert counts.tolist() == [[1, 3], [5, 5]]


def test_spectra_without_a_finite_sum_become_zero_and_are_reported():
    spectra = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [-np.inf, 1.0], [1.0, 1.0]], np.float32)
    result = l1(spectra)
    np.testing.assert_array_equal(zero_spectra(result), [True, True, True, True, False])
    np.testing.assert_array_equal(result[:4], 0)


def test_a_view_and_more_spectra_than_a_block_give_the_same_as_numpy():
    cube = np.random.default_rng(0).normal(size=(7, 90, 80)).astype(np.float32).transpose(2, 1, 0)
    expected = cube.astype(np.float64) / np.abs(cube.astype(np.float64)).sum(axis=-1, keepdims=True)
    result = l1(cube)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert result.flags.c_contiguous


def test_an_empty_selection_stays_empty():
    assert l1(np.empty((0, 5), np.float32)).shape == (0, 5)


def test_l1_in_place_is_l1():
    cube = np.random.default_rng(0).random((7, 9, 5), dtype=np.float32)
    cube[0, 0] = 0
    expected = l1(cube)
    assert l1_in_place(cube) is cube
    np.testing.assert_array_equal(cube, expected)
    for other in (cube.astype(np.float64), cube.transpose(1, 0, 2)):
        with pytest.raises(InvalidData, match="cannot be replaced"):
            l1_in_place(other)
