"""Resampling to another sensor: what is known by hand about lines, constants and Gaussians."""

import numpy as np
import pytest

from stroma.core.errors import InvalidData, UsageError
from stroma.spectra import resample_spectra

NM = np.linspace(500, 1000, 101)  # every 5 nm


def test_linear_interpolation_between_two_bands():
    spectra = np.array([[[1.0, 3.0, 5.0]]])
    np.testing.assert_allclose(resample_spectra(spectra, [500, 600, 800], [500, 550, 700, 800]), [[[1, 2, 4, 5]]])


@pytest.mark.parametrize("fwhm_nm", [None, 12.0, [10, 20, 30]])
def test_a_constant_stays_and_a_line_keeps_its_value_at_the_centre(fwhm_nm):
    to_nm = [650, 702.5, 800]
    np.testing.assert_allclose(resample_spectra(np.full(101, 0.3), NM, to_nm, fwhm_nm=fwhm_nm), 0.3, rtol=1e-6)
    np.testing.assert_allclose(resample_spectra(NM, NM, to_nm, fwhm_nm=fwhm_nm), to_nm, rtol=1e-5)


def test_a_gaussian_line_becomes_as_wide_as_line_and_band_together():
    """Convolving two Gaussians adds the squares of their widths, and keeps the area."""
    fine = np.arange(500.0, 1001.0)
    line = np.exp(-4 * np.log(2) * ((fine - 750) / 30) ** 2)
    seen = resample_spectra(line, fine, fine, fwhm_nm=40)
    expected = 30 / 50 * np.exp(-4 * np.log(2) * ((fine - 750) / 50) ** 2)
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_uneven_bands_do_not_pull_the_average():
    """Many bands on one side of the centre must not weigh more than few on the other."""
    uneven = np.concatenate([np.arange(600, 700, 1.0), np.arange(700, 801, 5.0)])
    np.testing.assert_allclose(resample_spectra(uneven, uneven, [700], fwhm_nm=40), 700, atol=0.5)


def test_nothing_is_extrapolated():
    for fwhm_nm in (None, 10):
        with pytest.raises(UsageError, match="499 nm cannot be had from 500 to 1000 nm"):
            resample_spectra(NM, NM, [600, 499], fwhm_nm=fwhm_nm)
    with pytest.raises(UsageError, match="within 5 nm of 550 nm"):
        resample_spectra(np.ones(2), [500, 600], [550], fwhm_nm=5)


@pytest.mark.parametrize(
    ("from_nm", "to_nm", "fwhm_nm"),
    [
        ([1, 1, 2], [1], None),
        ([3, 2, 1], [2], None),
        ([], [1], None),
        ([1, 2, 3], [np.nan], None),
        ([1, 2, 3], [2], 0),
    ],
)
def test_impossible_wavelengths(from_nm, to_nm, fwhm_nm):
    with pytest.raises(InvalidData):
        resample_spectra(np.ones(3), from_nm, to_nm, fwhm_nm=fwhm_nm)
    with pytest.raises(InvalidData, match="3 channels"):
        resample_spectra(np.ones(4), [1, 2, 3], [2])
