"""Wavelengths of TIFF stacks, as tifffile, ImageJ, OME, GDAL and ENVI-like descriptions state them."""

from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import tifffile

from stroma.core.errors import InvalidData
from stroma.images.open import open_image

STACK = np.random.default_rng(0).integers(0, 4096, (4, 11, 13), dtype=np.uint16)
CUBE = np.moveaxis(STACK, 0, 2)
NM = [500.0, 510.5, 620.0, 1000.0]
ENVI = "ENVI\nwavelength units = um\nwavelength = { 0.5, 0.5105,\n 0.62, 1.0 }\n"


def gdal(*items):
    lines = "".join(f'<Item name="{name}" sample="{band}">{text}</Item>' for name, band, text in items)
    text = f"<GDALMetadata>{lines}</GDALMetadata>"
    return {"extratags": [(42112, 2, 0, text, True)], "metadata": None}


WRITTEN = {
    "tifffile": {"metadata": {"wavelengths": NM}},
    "tifffile in µm": {"metadata": {"wavelength": [w / 1000 for w in NM]}},
    "ENVI-like": {"description": ENVI, "metadata": None},
    "ImageJ info": {"imagej": True, "metadata": {"axes": "CYX", "Info": ENVI}},
    "ImageJ labels": {"imagej": True, "metadata": {"axes": "CYX", "Labels": [f"{w} nm" for w in NM]}},
    "OME names": {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": [f"{w:g} nm" for w in NM]}}},
    "OME emission": {
        "ome": True,
        "metadata": {"axes": "CYX", "Channel": {"EmissionWavelength": NM, "EmissionWavelengthUnit": ["nm"] * 4}},
    },
    "GDAL": gdal(*(("wavelength", i, w) for i, w in enumerate(NM)), ("wavelength_units", 0, "nm")),
    "GDAL names": gdal(*(("DESCRIPTION", i, f"band {i + 1} ({w} nm)") for i, w in enumerate(NM))),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_wavelengths_travel_with_the_stack(name, tmp_path):
    path = tmp_path / "ü #1.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **WRITTEN[name])
    image = open_image(path, reader="tiff")
    np.testing.assert_allclose(image.wavelengths_nm, NM)
    assert image.channels[1] == "510.5 nm"
    np.testing.assert_array_equal(image.read(2, 3, 5, 6, channels=[3, 1]), CUBE[3:9, 2:7][:, :, [3, 1]])
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_allclose(copy.wavelengths_nm, NM)
    np.testing.assert_array_equal(copy.read(), CUBE)


def test_wavelengths_of_samples_of_one_page(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", CUBE, photometric="minisblack", planarconfig="contig", metadata={"wavelengths": NM}
    )
    image = open_image(tmp_path / "a.tif")
    assert image.shape == CUBE.shape
    np.testing.assert_allclose(image.wavelengths_nm, NM)


def test_given_wavelengths_win(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", metadata={"wavelengths": NM})
    assert open_image(tmp_path / "a.tif", wavelengths=[1, 2, 3, 4]).wavelengths_nm[0] == 1000
    with pytest.raises(InvalidData, match="has 4 channels, but 3 wavelengths were given"):
        open_image(tmp_path / "a.tif", wavelengths=[500, 600, 700])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": {"wavelengths": NM[:3]}},
        {"metadata": {"wavelengths": "500 510 620 1000"}},
        {"description": "wavelength = {a, b, c, d}", "metadata": None},
        {"description": "wavelength = {0, 1, 2, 3}", "metadata": None},
        {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy3", "635 nm"]}}},
        gdal(("wavelength", 0, 500)),
    ],
    ids=str,
)
def test_nothing_is_guessed(options, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", **options)
    assert open_image(tmp_path / "a.tif", reader="tiff").wavelengths_nm is None


def test_rgb_has_no_wavelengths(tmp_path):
    rgb = (CUBE[:, :, :3] >> 4).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb", metadata={"wavelengths": NM[:3]})
    assert open_image(tmp_path / "a.tif").wavelengths_nm is None
