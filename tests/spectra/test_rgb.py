"""Colour: expected values are the CIE 1931 tables and what a person knows about colours."""

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.spectra.optics import TissueOptics
from stroma.spectra.rgb import colour_matching, hsi_to_rgb, spectrum_to_linear_srgb

NM = np.linspace(500.0, 1000.0, 100)


@pytest.mark.parametrize(
    ("nm", "expected"),
    [
        (450, (0.3362, 0.0380, 1.7721)),
        (500, (0.0049, 0.3230, 0.2720)),
        (555, (0.5121, 1.0000, 0.0057)),
        (600, (1.0622, 0.6310, 0.0008)),
        (650, (0.2835, 0.1070, 0.0000)),
    ],
)
def test_matching_functions_are_close_to_the_cie_tables(nm, expected):
    np.testing.assert_allclose(colour_matching([nm])[0], expected, atol=0.02)


@pytest.mark.parametrize("nm", [NM, np.linspace(400.0, 720.0, 33)])
def test_white_stays_white_and_grey_stays_grey(nm):
    np.testing.assert_allclose(spectrum_to_linear_srgb(nm).sum(axis=0), 1, atol=1e-3)
    picture = hsi_to_rgb(np.stack([np.ones_like(nm), np.full_like(nm, 0.214), np.zeros_like(nm)]), nm)
    np.testing.assert_allclose(picture, [[255] * 3, [127] * 3, [0] * 3], atol=1)


def test_narrow_bands_have_their_colours():
    bands = np.stack([np.exp(-(((NM - centre) / 15) ** 2)) for centre in (505, 540, 640)]).astype(np.float32)
    blue, green, red = hsi_to_rgb(bands[None], NM)[0].astype(int)
    assert np.argmax(green) == 1
    assert np.argmax(red) == 0
    assert blue[2] > green[2] > red[2]


def test_infrared_is_invisible():
    assert hsi_to_rgb(np.where(NM > 790, 1.0, 0.0), NM).tolist() == [0, 0, 0]


def test_blood_looks_red():
    optics = TissueOptics(NM)
    spectrum = optics.reflectance(
        blood=0.1, oxygenation=0.9, water=0.7, fat=0.0, scattering_per_cm=15, scattering_power=1.2
    )
    red, green, blue = hsi_to_rgb(spectrum, NM).astype(int)
    assert red > 1.5 * green
    assert red > 1.5 * blue


def test_gain_is_exposure():
    assert hsi_to_rgb(np.full(100, 0.5), NM, gain=2.0).tolist() == [255, 255, 255]


def test_bad_values_do_not_spread():
    cube = np.full((2, 100), 0.5, np.float32)
    cube[0, 3] = np.nan
    cube[1] = 7.0
    assert hsi_to_rgb(cube, NM).tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("nm", [np.linspace(800, 1000, 50), [600.0, 550.0, 500.0], np.linspace(640, 1000, 40)])
def test_a_cube_that_cannot_be_shown_says_so(nm):
    with pytest.raises(InvalidData, match="single channel"):
        spectrum_to_linear_srgb(nm)
