"""Tissue reflectance: limits, the integral it is a closed form of, and the bands that appear in it."""

import numpy as np
import pytest

from stroma.spectra.optics import TissueOptics, diffuse_reflectance, internal_reflection

NM = np.linspace(500.0, 1000.0, 101)
TISSUE = {
    "blood": 0.04,
    "oxygenation": 0.7,
    "water": 0.75,
    "fat": 0.05,
    "scattering_per_cm": 18.9,
    "scattering_power": 1.3,
}


def radial_reflectance(rho, absorption, scattering, inside):
    """Farrell et al. 1992, equation 14: light leaving at a distance rho from a pencil beam."""
    total = absorption + scattering
    effective = np.sqrt(3 * absorption * total)
    z0, zb = 1 / total, 2 * inside / (3 * total)
    real, image = np.hypot(z0, rho), np.hypot(z0 + 2 * zb, rho)
    terms = z0 * (effective + 1 / real) * np.exp(-effective * real) / real**2
    terms += (z0 + 2 * zb) * (effective + 1 / image) * np.exp(-effective * image) / image**2
    return scattering / total / (4 * np.pi) * terms


@pytest.mark.parametrize(("absorption", "scattering"), [(0.1, 10.0), (1.0, 10.0), (5.0, 20.0)])
def test_reflectance_is_the_radial_reflectance_summed_over_the_surface(absorption, scattering):
    rho = np.geomspace(1e-5, 200, 40_000)
    density = 2 * np.pi * rho * radial_reflectance(rho, absorption, scattering, internal_reflection(1.4))
    expected = np.trapezoid(density, rho)
    assert diffuse_reflectance(absorption, scattering) == pytest.approx(expected, rel=2e-3)


def test_no_absorption_returns_all_light_and_strong_absorption_none():
    np.testing.assert_allclose(diffuse_reflectance([0.0, 1e4], [10.0, 10.0]), [1, 0], atol=1e-3)


def test_only_the_ratio_of_absorption_to_scattering_matters():
    np.testing.assert_allclose(diffuse_reflectance(0.3, 12.0), diffuse_reflectance(3.0, 120.0), rtol=1e-6)


def test_scattering_is_a_at_500_nm_and_falls_with_the_power():
    result = TissueOptics([500.0, 1000.0]).reduced_scattering_per_cm(at_500_per_cm=18.9, power=1.3)
    np.testing.assert_allclose(result, [18.9, 18.9 * 2**-1.3], rtol=1e-6)


def test_oxygen_moves_the_bands_from_one_dip_to_two():
    optics = TissueOptics(NM)

    def dips(oxygenation):
        spectrum = optics.reflectance(**{**TISSUE, "oxygenation": oxygenation})
        return [n for n in NM[1:-1][(np.diff(spectrum)[:-1] < 0) & (np.diff(spectrum)[1:] >= 0)] if n < 620]

    assert len(dips(0.0)) == 1
    assert len(dips(1.0)) == 2


@pytest.mark.parametrize(("substance", "band_nm", "beside_nm"), [("water", 970.0, 900.0), ("fat", 930.0, 870.0)])
def test_more_of_a_substance_deepens_its_own_band(substance, band_nm, beside_nm):
    optics = TissueOptics([band_nm, beside_nm])

    def depth(amount):
        band, beside = optics.reflectance(**{**TISSUE, substance: amount})
        return beside / band

    assert depth(0.8) > depth(0.1)


def test_properties_may_be_maps_that_broadcast():
    result = TissueOptics(NM).reflectance(**{**TISSUE, "blood": np.full((4, 5), 0.02), "water": np.full(5, 0.6)})
    assert result.shape == (4, 5, 101)
    assert result.dtype == np.float32
    assert 0 < result.min() < result.max() < 1


def test_melanin_darkens_bloodless_tissue_most_at_short_wavelengths():
    optics = TissueOptics([510.0, 850.0])
    bloodless = {**TISSUE, "blood": 0.0}
    ratio = optics.reflectance(**bloodless, melanin=0.01) / optics.reflectance(**bloodless)
    assert ratio[0] < ratio[1] < 1
