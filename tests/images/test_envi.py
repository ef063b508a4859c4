"""ENVI cubes: files are written here byte by byte from the format's description."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import InvalidData, UnreadableImage
from stroma.images.envi import EnviImage
from stroma.images.open import open_image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
HEIGHT, WIDTH, BANDS = 3, 4, 5
ROW, COLUMN, BAND = np.indices((HEIGHT, WIDTH, BANDS))
CUBE = 100 * ROW + 10 * COLUMN + BAND
BASE = {"samples": WIDTH, "lines": HEIGHT, "bands": BANDS, "data type": 2, "interleave": "bip", "byte order": 0}


def envi(folder, content, name="cube", suffix=".raw", **changes):
    """Write both files; an entry that is None is left out."""
    entries = BASE | {key.replace("_", " "): value for key, value in changes.items()}
    lines = [f"{key} = {value}" for key, value in entries.items() if value is not None]
    header = folder / f"{name}.hdr"
    header.write_text("\n".join(["ENVI", *lines]) + "\n", encoding="utf-8")
    (folder / f"{name}{suffix}").write_bytes(content)
    return header


LAYOUTS = {"bip": (0, 1, 2), "bil": (0, 2, 1), "bsq": (2, 0, 1)}


@pytest.mark.parametrize("interleave", LAYOUTS)
@pytest.mark.parametrize(("order", "sign"), [(0, "<"), (1, ">")])
@pytest.mark.parametrize(("number", "kind"), [(1, "u1"), (2, "i2"), (4, "f4"), (5, "f8"), (12, "u2"), (15, "u8")])
def test_interleave_byte_order_type_and_offset(tmp_path, interleave, order, sign, number, kind):
    cube = CUBE % 200
    stored = cube.transpose(LAYOUTS[interleave]).astype(sign + kind).tobytes()
    header = envi(
        tmp_path,
        b"offset!" + stored,
        **{"interleave": interleave.upper(), "byte order": order, "data type": number, "header offset": 7},
    )
    image = open_image(header)
    assert isinstance(image, EnviImage)
    whole = image.read()
    assert whole.dtype == np.dtype(kind)
    assert whole.dtype.isnative
    assert whole.flags.c_contiguous
    np.testing.assert_array_equal(whole, cube)
    np.testing.assert_array_equal(image.read(1, 1, 2, 2, channels=[3, 0]), cube[1:3, 1:3][:, :, [3, 0]])
    np.testing.assert_array_equal(image.read(channels=slice(1, 3)), cube[:, :, 1:3])
    assert image.read(-1, 0, 2, 1)[0, 0].tolist() == [0] * BANDS


def good(folder, **changes):
    return envi(folder, CUBE.astype("<i2").tobytes(), **changes)


def test_it_opens_by_header_or_data_file_and_in_another_process(tmp_path):
    for suffix in (".raw", ".img", ".dat", ".bip", ""):
        folder = tmp_path / f"ä #{suffix}"
        folder.mkdir()
        header = good(folder, suffix=suffix)
        for path in (header, header.with_suffix(suffix)):
            np.testing.assert_array_equal(open_image(path).read(), CUBE)
        copy = ForkingPickler.loads(ForkingPickler.dumps(open_image(header)))
        np.testing.assert_array_equal(copy.read(), CUBE)


def test_a_header_named_after_its_data_file(tmp_path):
    header = good(tmp_path, name="cube.raw", suffix="")
    (tmp_path / "cube.img").write_bytes(b"other")
    np.testing.assert_array_equal(open_image(header).read(), CUBE)
    np.testing.assert_array_equal(open_image(tmp_path / "cube.raw").read(), CUBE)


def test_wavelengths_come_in_nm(tmp_path):
    values = "{\n0.5, 0.6,\n0.7 , 0.8,\n0.9\n}"
    image = open_image(good(tmp_path, **{"wavelength": values, "wavelength units": "Micrometers"}))
    np.testing.assert_allclose(image.wavelengths_nm, [500, 600, 700, 800, 900])
    assert image.channels[0] == "500.0 nm"
    assert image.read()[2, 3, 4] == 234
    unknown = open_image(good(tmp_path, wavelength=values))
    np.testing.assert_allclose(unknown.wavelengths_nm, [500, 600, 700, 800, 900])
    waves = open_image(
        good(tmp_path, **{"wavelength": "{20000,16000,12500,10000,8000}", "wavelength units": "Wavenumber"})
    )
    np.testing.assert_allclose(waves.wavelengths_nm, [500, 625, 800, 1000, 1250])
    assert open_image(good(tmp_path, wavelength=values, wavelength_units="Index")).wavelengths_nm is None


def test_the_scale_factor_divides(tmp_path):
    header = good(tmp_path, reflectance_scale_factor=100)
    image = open_image(header)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image.read(), CUBE / 100, rtol=1e-6)
    np.testing.assert_array_equal(open_image(header, stored=True).read(), CUBE)


def test_default_bands_count_from_zero_and_names_name_channels(tmp_path):
    image = open_image(good(tmp_path, default_bands="{5, 3, 1}", band_names="{a, b, c, d, e}"))
    assert image.default_bands == (4, 2, 0)
    assert image.channels == ("a", "b", "c", "d", "e")
    assert open_image(good(tmp_path, default_bands="{6, 3, 1}")).default_bands is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": None}, "no entry 'samples'"),
        ({"lines": 0}, "'lines = 0'"),
        ({"bands": "five"}, "'bands = five', which is no number"),
        ({"bands": "1e30"}, r"'bands = 1e\+30'"),
        ({"data type": 7}, "data type 7.*Known: 1, 2"),
        ({"interleave": "bib"}, "'interleave = bib'"),
        ({"byte order": 2}, "byte order 2"),
        ({"wavelength": "{1, 2}"}, "lists 2 of 'wavelength' for 5 bands"),
        ({"wavelength": "{1, 2, x, 4, 5}"}, "wavelength 'x'"),
        ({"wavelength": "{1, 2, -3, 4, 5}"}, "wavelength -3"),
        ({"reflectance scale factor": 0}, "scale factor 0"),
        ({"reflectance scale factor": "10000,0"}, "scale factor = 10000,0'.*with a point"),
        ({"wavelength": "{500,0; 510,0; 520,0; 530,0; 540,0}"}, "'0; 510'.*with a point"),
        ({"wavelength": "{500,0, 510,0, 520,0, 530,0, 540,0}"}, "lists 10 .*with a point"),
    ],
)
def test_an_entry_that_contradicts_is_named(tmp_path, changes, message):
    with pytest.raises(InvalidData, match=rf"cube\.hdr: has.*{message}|cube\.hdr: {message}"):
        open_image(good(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data type": 6}, "complex64"),
        ({"file compression": 1}, "compressed"),
        ({"wavelength": "{1, 2"}, "'wavelength' is never closed"),
        ({"lines": 2**40}, r"is 120 bytes.*need"),
        ({"header offset": 1}, r"cube\.raw: is 120 bytes.*after byte 1 .*need 121"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, changes, message):
    with pytest.raises(UnreadableImage, match=message):
        open_image(good(tmp_path, **changes))


def test_a_missing_or_doubtful_data_file_is_named(tmp_path):
    header = good(tmp_path)
    (tmp_path / "cube.img").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"any of cube\.raw, cube\.img.*Open the data file itself"):
        open_image(header)
    for name in ("cube.raw", "cube.img"):
        (tmp_path / name).unlink()
    with pytest.raises(UnreadableImage, match="without its data file"):
        open_image(header)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
@pytest.mark.parametrize("suffix", [".hdr", ".raw"])
def test_a_real_cube_opens_with_its_wavelengths(suffix):
    path = SHARED / "hsi_envi_corn_kernel" / f"corn-kernel-hyperspectral{suffix}"
    with open_image(path) as image:
        assert image.shape == (31, 43, 580)
        assert image.dtype == np.uint16
        np.testing.assert_allclose(image.wavelengths_nm[[0, -1]], [366.551, 1048.421])
        stored = np.fromfile(path.with_suffix(".raw"), "<u2").reshape(31, 580, 43)  # BIL
        np.testing.assert_array_equal(image.read(3, 4, 5, 6), stored[4:10, :, 3:8].transpose(0, 2, 1))
