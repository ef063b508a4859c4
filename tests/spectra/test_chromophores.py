"""Absorption tables: features of the published spectra that any text on tissue optics lists."""

import numpy as np
import pytest

from stroma.core.errors import UsageError
from stroma.spectra.chromophores import fat_per_cm, haemoglobin_per_cm, melanosome_per_cm, water_per_cm

NM = np.arange(500.0, 1000.5, 0.5)
OXYGENATED, DEOXYGENATED = haemoglobin_per_cm(NM)


def peaks(values, low, high):
    """Wavelengths of the local maxima within [low, high]."""
    inner = np.flatnonzero((values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])) + 1
    return [NM[i] for i in inner if low <= NM[i] <= high]


@pytest.mark.parametrize("isosbestic_nm", [529, 545, 570, 584, 797])
def test_oxygenated_and_deoxygenated_blood_cross_at_the_isosbestic_points(isosbestic_nm):
    difference = OXYGENATED - DEOXYGENATED
    crossings = NM[:-1][np.sign(difference[:-1]) != np.sign(difference[1:])]
    assert np.abs(crossings - isosbestic_nm).min() <= 2


def test_oxyhaemoglobin_has_its_double_peak_at_542_and_577_nm():
    first, second = peaks(OXYGENATED, 520, 620)
    assert abs(first - 542) <= 2
    assert abs(second - 577) <= 2


def test_deoxyhaemoglobin_has_one_peak_at_556_nm_and_a_shoulder_at_757_nm():
    (green,) = peaks(DEOXYGENATED, 520, 620)
    (red,) = peaks(DEOXYGENATED, 740, 780)
    assert abs(green - 556) <= 2
    assert abs(red - 757) <= 3


def test_absorption_of_whole_blood_has_the_published_size():
    # 150 g/l, 64,500 g/mol: 816 and 761.72 /cm/M at 800 nm are 4.37 and 4.08 /cm
    oxygenated, deoxygenated = haemoglobin_per_cm([800.0])
    assert oxygenated[0] == pytest.approx(816 * 2.302585 * 150 / 64500)
    assert deoxygenated[0] == pytest.approx(4.08, abs=0.01)


def test_water_peaks_at_970_nm_and_fat_at_930_nm():
    assert 968 <= NM[np.argmax(water_per_cm(NM))] <= 976
    assert water_per_cm([970.0])[0] == pytest.approx(0.45)
    assert NM[np.argmax(fat_per_cm(NM))] == 930
    assert fat_per_cm([930.0])[0] == pytest.approx(0.131)


def test_melanin_falls_with_wavelength():
    assert melanosome_per_cm([500.0])[0] == pytest.approx(679, rel=0.01)
    assert np.all(np.diff(melanosome_per_cm(NM)) < 0)


@pytest.mark.parametrize("outside_nm", [499.0, 1000.5, np.nan])
def test_a_wavelength_outside_the_tables_is_an_error_that_says_which_are_inside(outside_nm):
    with pytest.raises(UsageError, match="500 to 1000 nm"):
        water_per_cm([600.0, outside_nm])
