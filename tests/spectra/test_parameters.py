"""Tissue parameters: the formulas on spectra made by hand, and what phantoms recover of what was planted."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from stroma.core.config import build
from stroma.core.errors import ConfigError, InvalidData, UsageError
from stroma.images.tivita import tivita_wavelengths
from stroma.spectra.optics import TissueOptics
from stroma.spectra.parameter_maps import published_parameters, vendor_modules, vendor_parameters
from stroma.spectra.parameters import (
    PUBLISHED,
    WATER_BAND,
    ParameterConstants,
    background_mask,
    compute_parameter,
    covered,
)

NM = tivita_wavelengths(100)
TISSUE = {"blood": 0.04, "oxygenation": 0.65, "water": 0.6, "fat": 0.1}
SCATTERING = {"scattering_per_cm": 15.0, "scattering_power": 1.1}


def sweep(property_name, values):
    return TissueOptics(NM).reflectance(**{**TISSUE, **SCATTERING, property_name: np.asarray(values)})


def inside(window):
    return (window[0] <= NM) & (window[1] >= NM)


@pytest.mark.parametrize(
    ("name", "above", "below", "ratio"),
    [
        ("NIR", (825, 925), (655, 735), "nir"),
        ("THI", (530, 590), (785, 825), "thi"),
        ("TWI", (955, 980), (880, 900), "twi"),
    ],
)
def test_indices_are_scaled_ratios_of_mean_absorbance(name, above, below, ratio):
    absorbance = np.full(100, 0.7)
    absorbance[inside(above)] = 1.2
    absorbance[inside(below)] = 0.8
    constants = {"nir": (0.0, 1.9), "thi": (1.3, 3.0), "twi": (0.4, 2.0)}[ratio]
    expected = (1.2 / 0.8 - constants[0]) / (constants[1] - constants[0])
    np.testing.assert_allclose(compute_parameter(name, np.exp(-absorbance)[None], NM), [expected], rtol=1e-4)


def test_sto2_compares_the_curvature_at_both_bands():
    """Parabolas A = -c/2 (λ - centre)² have the second derivative -c wherever the window lies on one of them."""
    absorbance = np.where(NM < 660, -1e-4 * (NM - 580) ** 2, -5e-5 * (NM - 760) ** 2) / 2 + 1
    constants = ParameterConstants(derivative_window_nm=15, derivative_order=2)
    inside = compute_parameter("StO2", np.exp(-absorbance)[None], NM, constants)
    np.testing.assert_allclose(inside, [1e-4 / (1e-4 + 5e-5 / 0.15)], rtol=0.02)
    weighed = compute_parameter("StO2", np.exp(-absorbance)[None], NM, constants.model_copy(update={"sto2_r2": 0.5}))
    np.testing.assert_allclose(weighed, [1e-4 / (1e-4 + 5e-5 / 0.5)], rtol=0.02)


def test_oxygenation_alone_moves_sto2():
    oxygenation = np.linspace(0.1, 0.95, 12)
    found = compute_parameter("StO2", sweep("oxygenation", oxygenation), NM)
    assert (np.diff(found) > 0.02).all()
    for other, values in (("blood", np.geomspace(0.01, 0.15, 8)), ("water", [0.2, 0.9]), ("fat", [0.0, 0.6])):
        assert np.ptp(compute_parameter("StO2", sweep(other, values), NM)) < 0.04, other


def test_water_raises_twi_and_the_water_band_and_blood_lowers_twi_only():
    water, blood = np.linspace(0.2, 0.9, 8), np.geomspace(0.005, 0.15, 8)
    assert (np.diff(compute_parameter("TWI", sweep("water", water), NM)) > 0).all()
    assert (np.diff(compute_parameter(WATER_BAND, sweep("water", water), NM)) > 0).all()
    assert (np.diff(compute_parameter("TWI", sweep("blood", blood), NM)) < 0).all()


def test_oxygenation_raises_nir_perfusion():
    assert (np.diff(compute_parameter("NIR", sweep("oxygenation", np.linspace(0.1, 0.9, 9)), NM)) > 0).all()


@pytest.mark.parametrize("name", [*PUBLISHED, WATER_BAND])
def test_spectra_without_a_value_are_nan_and_all_others_within_0_and_1(name):
    rng = np.random.default_rng(0)
    spectra = rng.normal(0.4, 0.5, (4, 30, 100)).astype(np.float32)
    spectra[0, 0], spectra[0, 1, 7], spectra[0, 2] = 0, np.nan, np.inf
    found = compute_parameter(name, spectra, NM)
    assert found.shape == (4, 30) and found.dtype == np.float32
    assert np.isnan(found[0, :3]).all()
    assert np.nanmin(found) >= 0 and np.nanmax(found) <= 1 and np.isfinite(found[1:]).mean() > 0.9


def test_a_flat_spectrum_has_no_oxygenation():
    assert np.isnan(compute_parameter("StO2", np.full((1, 100), 0.5), NM)[0])


def test_wavelengths_that_do_not_cover_a_formula_are_named():
    spectra, short = np.ones((2, 60)), np.linspace(500, 800, 60)
    assert covered(short) == ("StO2",)
    with pytest.raises(UsageError, match="TWI needs 955 to 980 nm, there are 60 bands from 500 to 800 nm"):
        compute_parameter("TWI", spectra, short)
    with pytest.raises(UsageError, match="StO2 needs 570 to 590 nm"):
        compute_parameter("StO2", np.ones((2, 10)), np.linspace(500, 1000, 10))
    with pytest.raises(UsageError, match="evenly spaced"):
        compute_parameter("StO2", np.ones((2, 100)), np.geomspace(500, 1000, 100))
    with pytest.raises(UsageError, match="cover no formula"):
        published_parameters(np.ones((2, 2, 10)), np.linspace(400, 450, 10))
    with pytest.raises(InvalidData, match="100 wavelengths"):
        compute_parameter("TWI", spectra, NM)


def test_a_parameter_without_a_published_formula_is_named():
    with pytest.raises(UsageError, match="no published formula for 'OHI'.*vendor"):
        compute_parameter("OHI", np.ones((1, 100)), NM)
    with pytest.raises(UsageError, match="Did you mean 'StO2'"):
        compute_parameter("Sto2", np.ones((1, 100)), NM)


def test_background_is_what_has_no_blood_no_light_or_no_measurement():
    tissue = sweep("blood", [0.005, 0.15])
    cloth = 0.05 + 0.3 * np.exp(-(((NM - 510) / 45) ** 2)) + 0.5 / (1 + np.exp(-(NM - 715) / 18))
    others = np.stack([cloth, np.full(100, 0.01), np.zeros(100), np.full(100, np.nan), np.full(100, 0.8)])
    assert not background_mask(tissue, NM).any()
    assert background_mask(others, NM).all()


class _Plugin:
    def __init__(self, function):
        self.function = function

    def load(self):
        return self.function


def test_a_vendor_module_is_plugged_in_and_its_result_checked(monkeypatch):
    cube = np.ones((3, 4, 100), np.float32)

    def module(pixels, nm, camera_id):
        assert camera_id == "0202" and len(nm) == 100
        return {"StO2": np.full(pixels.shape[:2], 0.25), "background": np.eye(3, 4, dtype=bool)}

    plugins = {
        "good": _Plugin(module),
        "percent": _Plugin(lambda c, n, i: {"StO2": np.full((3, 4), 25.0)}),
        "turned": _Plugin(lambda c, n, i: {"StO2": np.zeros((4, 3))}),
        "named": _Plugin(lambda c, n, i: {"sto2": np.zeros((3, 4))}),
        "empty": _Plugin(lambda c, n, i: {}),
    }
    monkeypatch.setitem(vendor_modules.__dict__, "plugins", plugins)
    found = vendor_parameters("good", cube, NM, "0202")
    assert dict(found.sources) == {"StO2": "vendor"} and found.describe() == "StO2: vendor"
    np.testing.assert_array_equal(np.isnan(found["StO2"]), np.eye(3, 4, dtype=bool))
    with pytest.raises(UsageError, match="no map 'TLI': there is no published formula"):
        found["TLI"]
    for name, message in (
        ("percent", "fractions 0-1"),
        ("turned", "shape"),
        ("named", "no parameter"),
        ("empty", "no map"),
    ):
        with pytest.raises(InvalidData, match=message):
            vendor_parameters(name, cube, NM)


def test_sources_are_written_on_every_map():
    found = published_parameters(sweep("oxygenation", np.linspace(0.3, 0.9, 6)).reshape(2, 3, 100), NM)
    assert found.describe() == "StO2, NIR, THI, TWI: published formula; WaterBand: own formula"


def test_noise_free_error_of_sto2_is_what_the_documentation_says():
    """docs/tissue-parameters.md: without light, gloss and noise, StO2 is low by 0.01 on average and within 0.16."""
    rng = np.random.default_rng(0)
    oxygenation = rng.uniform(0.2, 0.95, 2000)
    spectra = TissueOptics(NM).reflectance(
        blood=rng.uniform(0.01, 0.12, 2000),
        oxygenation=oxygenation,
        water=rng.uniform(0.2, 0.85, 2000),
        fat=rng.uniform(0.02, 0.6, 2000),
        scattering_per_cm=rng.uniform(10, 20, 2000),
        scattering_power=rng.uniform(0.7, 1.8, 2000),
    )
    error = compute_parameter("StO2", spectra, NM) - oxygenation
    assert spearmanr(error + oxygenation, oxygenation).statistic > 0.99
    assert -0.02 < error.mean() < 0 and np.abs(error).max() < 0.16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sto2_oxygenated_nm": (590, 570)}, "sto2_oxygenated_nm.*from a shorter to a longer wavelength"),
        ({"nir_s2": 0.0}, "nir_s2.*nir_s1 and nir_s2. have to differ"),
        ({"thi_t1": 3.0}, "thi_t1 and thi_t2"),
    ],
)
def test_constants_that_mean_nothing_are_refused(given, message):
    """They gave maps without any value, or silently left the parameter out."""
    with pytest.raises(ConfigError, match=message):
        build(ParameterConstants, given)


@pytest.mark.parametrize("white", [100.0, 4095.0])
def test_counts_and_per_cent_are_no_reflectance(white):
    cube = np.full((4, 5, 100), 0.4, np.float32)
    assert published_parameters(cube, NM).values
    with pytest.raises(InvalidData, match="need reflectance, where 1 is the white reference"):
        published_parameters(cube * white, NM)
