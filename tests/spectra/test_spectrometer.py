"""Spectrometer files: numbers after `>>>>>Begin`, calibrated with the medians of white and dark, binned as in htc."""

import numpy as np
import pytest

from stroma.core.errors import InvalidData, MissingFile, UnreadableImage, UsageError
from stroma.spectra import SpectrometerFolder, read_spectrometer

NM = np.linspace(400.0, 1010.0, 1221)  # every 0.5 nm


def write(folder, label, values, nm=NM, number=0):
    folder.mkdir(exist_ok=True)
    lines = [f"{a:.3f}\t{b:.4f}" for a, b in zip(nm, values, strict=True)]
    text = "\n".join(["Data from a file", "Integration: 0,1", ">>>>>Begin Spectral Data<<<<<", *lines, ""])
    path = folder / f"{label}_HRC33631__0__{number:05d}.txt"
    path.write_text(text, encoding="cp1252")
    return path


@pytest.fixture
def folder(tmp_path):
    here = tmp_path / "2022 #1 ü"
    for number, noise in enumerate((-1.0, 0.0, 5.0)):
        write(here, "white_calibration", 1000 + 0 * NM + noise, number=number)
        write(here, "dark_calibration", 100 + 0 * NM + noise, number=number)
        write(here, "orange_yellow", 100 + 900 * (NM - 400) / 610 + noise, number=number)
    (here / "notes.txt").write_text("nothing")
    return here


def test_numbers_as_written(folder):
    spectra = read_spectrometer(folder / "orange_yellow_HRC33631__0__00001.txt")
    np.testing.assert_allclose(spectra.wavelengths_nm, NM)
    np.testing.assert_allclose(spectra.values[0], 100 + 900 * (NM - 400) / 610, atol=1e-3)


def test_median_over_files_and_calibration(folder):
    found = SpectrometerFolder(folder)
    assert found.labels == ("dark_calibration", "orange_yellow", "white_calibration")
    spectra = found.read("orange_yellow", calibrate=True)
    assert spectra.values.shape == (3, 1221)
    np.testing.assert_allclose(spectra.median, (NM - 400) / 610, atol=1e-5)
    np.testing.assert_allclose(spectra.std, np.std([-1, 0, 5]) / 900, atol=1e-5)
    part = spectra.between(500, 1000)
    assert (part.wavelengths_nm[0], part.wavelengths_nm[-1]) == (500, 1000)


def test_bins_of_5_nm_are_reported_at_the_wavelengths_of_the_camera(folder):
    bins = SpectrometerFolder(folder).read("orange_yellow", calibrate=True).tivita_channels()
    np.testing.assert_allclose(bins.wavelengths_nm, np.linspace(500, 1000, 100))
    # the bin from 500 to below 505 nm holds 500, 500.5 … 504.5: mean 502.25
    np.testing.assert_allclose(bins.median[0], (502.25 - 400) / 610, atol=1e-5)
    np.testing.assert_allclose(bins.median[99], (997.25 - 400) / 610, atol=1e-5)


def test_empty_bins_are_0(tmp_path):
    bins = read_spectrometer(write(tmp_path, "a", [2.0, 4.0], nm=[501.0, 502.0])).tivita_channels()
    assert bins.values[0, 0] == 3
    assert (bins.values[0, 1:] == 0).all()


def test_wavelengths_that_do_not_increase_are_left_out(tmp_path):
    spectra = read_spectrometer(write(tmp_path, "a", [1, 2, 3, 4], nm=[500, 501, 501, 502]))
    np.testing.assert_array_equal(spectra.wavelengths_nm, [500, 501, 502])
    np.testing.assert_array_equal(spectra.values, [[1, 2, 4]])


def test_what_is_wrong_is_said(folder, tmp_path):
    found = SpectrometerFolder(folder)
    with pytest.raises(UsageError, match="no files of 'orange_yelow'.*Did you mean 'orange_yellow'"):
        found.read("orange_yelow")
    write(folder, "blue", [1, 2], nm=[500, 501])
    with pytest.raises(InvalidData, match="blue.*other wavelengths than its calibration"):
        SpectrometerFolder(folder).read("blue", calibrate=True)
    with pytest.raises(MissingFile):
        SpectrometerFolder(tmp_path)
    bad = tmp_path / "a_HRC1.txt"
    for text, message in {
        "no header": "no line >>>>>Begin",
        ">>>>>Begin\n": "no values",
        ">>>>>Begin\n500 a": "'500 a' in line 2",
        ">>>>>Begin\n500 1\n501 2 3": "'501 2 3' in line 3",
        ">>>>>Begin\n500 nan": "not finite",
    }.items():
        bad.write_text(text)
        with pytest.raises(UnreadableImage, match=message):
            read_spectrometer(bad)
