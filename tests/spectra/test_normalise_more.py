"""L2, SNV, absorbance, derivatives and highlights, and what becomes of spectra that have no such form."""

import numpy as np
import pytest
from scipy.signal import savgol_filter
from skimage.color import rgb2lab

from stroma.core.config import build
from stroma.core.errors import ConfigError
from stroma.sampling.preparation import Preparation
from stroma.spectra.derivatives import savitzky_golay
from stroma.spectra.highlights import bright_pixels, lightness, specular_highlights
from stroma.spectra.normalise import absorbance, l2, snv, zero_spectra

BROKEN = np.array([[0, 0, 0, 0, 0], [np.nan, 1, 1, 1, 1], [np.inf, 1, 1, 1, 1], [1, 2, 3, 4, 6]], np.float32)


def test_l2_gives_unit_length():
    np.testing.assert_allclose(l2(np.array([[[3, 4]]], np.uint8)), [[[0.6, 0.8]]], rtol=1e-6)


def test_snv_subtracts_the_mean_of_a_spectrum_and_divides_by_its_unbiased_deviation():
    spectra = np.random.default_rng(0).normal(3, 2, (40, 50, 7)).astype(np.float32)
    values = spectra.astype(np.float64)
    expected = (values - values.mean(-1, keepdims=True)) / values.std(-1, ddof=1, keepdims=True)
    before = spectra.copy()
    np.testing.assert_allclose(snv(spectra), expected, atol=2e-6)
    np.testing.assert_array_equal(spectra, before)


def test_snv_removes_gloss_and_distance():
    spectrum = np.array([0.2, 0.5, 0.3, 0.9], np.float32)
    np.testing.assert_allclose(snv(0.4 * spectrum[None] + 0.1), snv(spectrum[None]), rtol=1e-5)


def test_snv_of_a_single_channel_is_refused():
    with pytest.raises(ConfigError, match="two or more channels"):
        snv(np.ones((2, 1)))


def test_absorbance_is_minus_the_decadic_logarithm_and_ends_at_the_floor():
    result = absorbance(np.array([[1.0, 0.1, 0.01, 0.0, -0.2, 10.0]]))
    np.testing.assert_allclose(result, [[0, 1, 2, 3, 3, -1]], atol=1e-6)
    np.testing.assert_allclose(absorbance(np.array([[0.5, 0.0]]), floor=0.1, base=np.e), [[np.log(2), np.log(10)]])


@pytest.mark.parametrize("step", [l2, snv, absorbance, lambda s: savitzky_golay(s, 3, 1)])
def test_spectra_that_were_not_measured_become_zero(step):
    np.testing.assert_array_equal(zero_spectra(step(BROKEN)), [True, True, True, False])


def test_derivatives_of_a_cubic_are_exact_also_at_the_ends():
    nm = np.linspace(500, 600, 21)
    spectrum = (2e-6 * (nm - 520) ** 3 + 0.3)[None].astype(np.float32)
    first = savitzky_golay(spectrum, 7, 3, 1, spacing=5.0)
    second = savitzky_golay(spectrum, 7, 3, 2, spacing=5.0)
    np.testing.assert_allclose(first[0], 6e-6 * (nm - 520) ** 2, atol=2e-6)
    np.testing.assert_allclose(second[0], 12e-6 * (nm - 520), atol=2e-6)


@pytest.mark.parametrize(("window", "order", "derivative"), [(9, 2, 0), (9, 2, 1), (5, 3, 2), (15, 4, 2)])
def test_derivatives_are_those_of_scipy(window, order, derivative):
    spectra = np.random.default_rng(1).uniform(size=(6, 5, 40)).astype(np.float32)
    oracle = savgol_filter(spectra.astype(np.float64), window, order, deriv=derivative, delta=5.05, axis=-1)
    np.testing.assert_allclose(savitzky_golay(spectra, window, order, derivative, 5.05), oracle, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"window": 4}, {"window": 51}, {"window": 3, "order": 3}, {"derivative": 3}])
def test_a_filter_that_cannot_be_fitted_is_refused(wrong):
    with pytest.raises(ConfigError, match="cannot fit"):
        savitzky_golay(np.ones((2, 40)), **wrong)


def test_a_highlight_has_no_dark_band():
    blood, mirror, black = [0.7, 0.1, 0.9], [0.8, 0.65, 0.9], [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(specular_highlights(np.array([blood, mirror, black, [np.nan, 1, 1]])), [0, 1, 0, 0])


def test_lightness_is_that_of_scikit_image():
    rgb = np.random.default_rng(2).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(lightness(rgb), rgb2lab(rgb)[..., 0], atol=0.01)
    assert bright_pixels(np.array([[255, 255, 255], [119, 119, 119]], np.uint8)).tolist() == [True, False]


def test_all_are_steps_of_a_preparation():
    steps = ["zero_highlights", "absorbance", {"name": "savitzky_golay", "window": 3, "order": 1}, "snv"]
    pixels = np.array([[[0.1, 0.2, 0.4, 0.9], [0.7, 0.8, 0.9, 0.8]]], np.float32)
    result = build(Preparation, {"steps": steps}).apply(pixels)
    assert result.shape == pixels.shape and (result[0, 1] == 0).all()
    np.testing.assert_allclose(result[0, 0], snv(savitzky_golay(absorbance(pixels[0, 0]), 3, 1)), rtol=1e-5)
    with pytest.raises(ConfigError, match="did you mean 'window'|no parameter 'windw'"):
        build(Preparation, {"steps": [{"name": "savitzky_golay", "windw": 3}]}).apply(pixels)
