"""Cubes in MATLAB and NumPy files: which array, which axis, which wavelengths."""

import io
import struct
import zipfile
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from stroma.core.errors import InvalidData, UnreadableImage, UsageError
from stroma.images.open import open_image

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "hsi_mat_gatorsense"
ROW, COLUMN, BAND = np.indices((3, 4, 5))
CUBE = (100 * ROW + 10 * COLUMN + BAND).astype(np.int16)
WAVELENGTHS_NM = np.array([500.0, 510, 520, 530, 540])


def save(path, **arrays):
    """Write arrays under their names into a `.mat` or `.npz`, by its suffix."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".mat":
        scipy.io.savemat(path, arrays, do_compression=True)
    else:
        np.savez_compressed(path, **arrays)
    return path


@pytest.fixture(params=[".mat", ".npz"])
def file(request, tmp_path):
    return tmp_path / "ü #1" / f"cube{request.param}"


def test_the_only_cube_and_its_wavelengths(file):
    save(file, hsi=CUBE, mask=CUBE[:, :, 0] > 3, spectra=np.arange(5.0), wavelengths=WAVELENGTHS_NM[:, None])
    image = open_image(file)
    assert image.variable == "hsi"
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image.wavelengths_nm, WAVELENGTHS_NM)
    assert image.channels[1] == "510.0 nm"
    np.testing.assert_array_equal(image.read(), CUBE)
    part = image.read(1, 0, 2, 2, channels=[4, 0])
    np.testing.assert_array_equal(part, CUBE[0:2, 1:3][:, :, [4, 0]])
    assert part.flags.c_contiguous
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(), CUBE)
    image.close()
    assert image.read(0, 2, 1, 1)[0, 0, 4] == 204


def test_wavelengths_in_micrometres_become_nm(file):
    image = open_image(save(file, hsi=CUBE, lambda_um=WAVELENGTHS_NM / 1000))
    np.testing.assert_allclose(image.wavelengths_nm, WAVELENGTHS_NM)


def test_other_names_are_named(file):
    save(file, a=CUBE, b=-CUBE, x=WAVELENGTHS_NM)
    with pytest.raises(InvalidData, match=r"2 arrays of three dimensions.*a \(3×4×5.*b \(3×4×5.*variable='a'"):
        open_image(file)
    image = open_image(file, variable="b", wavelengths="x")
    np.testing.assert_array_equal(image.read(), -CUBE)
    np.testing.assert_array_equal(image.wavelengths_nm, WAVELENGTHS_NM)
    assert open_image(file, variable="b").wavelengths_nm is None
    with pytest.raises(UsageError, match="no variable 'c'"):
        open_image(file, variable="c")
    with pytest.raises(InvalidData, match="x .*which is no image"):
        save(file, a=CUBE, x=np.array("text"))
        open_image(file, variable="x")
    with pytest.raises(InvalidData, match="not one number for each of 5 channels"):
        open_image(file, variable="a", wavelengths="a")


def test_wavelengths_may_be_given_as_numbers(file):
    save(file, hsi=CUBE, wavelengths=WAVELENGTHS_NM)
    image = open_image(file, wavelengths=[1000, 1100, 1200, 1300, 1400])
    assert image.wavelengths_nm.tolist() == [1000, 1100, 1200, 1300, 1400]
    with pytest.raises(InvalidData, match="5 channels, but 2 wavelengths"):
        open_image(file, wavelengths=[500, 510])
    with pytest.raises(UsageError, match="are no numbers"):
        open_image(file, wavelengths=["red"] * 5)


def test_german_names_of_wavelengths(file):
    assert open_image(save(file, hsi=CUBE, Wellenlaengen=WAVELENGTHS_NM)).wavelengths_nm[0] == 500


def test_complex_numbers_are_no_image(tmp_path):
    for compressed in (False, True):
        scipy.io.savemat(tmp_path / "a.mat", {"m": CUBE, "x": CUBE[:, :, 1:] * 1j}, do_compression=compressed)
        with pytest.raises(InvalidData, match=r"a\.mat.*x, whose numbers are complex"):
            open_image(tmp_path / "a.mat", variable="x")
        assert open_image(tmp_path / "a.mat", variable="m").shape == CUBE.shape


def test_channels_in_any_order_and_none(file):
    image = open_image(save(file, hsi=CUBE))
    for channels in ([4, 0, 4], [-1, 2], slice(1, 5, 2), slice(None, None, -1), [3], []):
        np.testing.assert_array_equal(image.read(channels=channels), CUBE[:, :, channels])


def test_no_cube_lists_what_there_is(tmp_path):
    with pytest.raises(InvalidData, match="it holds s .*Save the image itself"):
        open_image(save(tmp_path / "s.mat", s={"cube": CUBE}))
    with pytest.raises(InvalidData, match=r"no array of three dimensions; it holds m \(3×4 "):
        open_image(save(tmp_path / "a.mat", m=CUBE[:, :, 0]))


def test_two_dimensions_are_one_channel_when_named(file):
    image = open_image(save(file, m=CUBE[:, :, 0]), reader={".mat": "matlab"}.get(file.suffix, "numpy"), variable="m")
    np.testing.assert_array_equal(image.read()[:, :, 0], CUBE[:, :, 0])


def test_channels_may_stand_first(file):
    image = open_image(save(file, hsi=np.moveaxis(CUBE, 2, 0), wavelengths=WAVELENGTHS_NM), channel_axis=0)
    np.testing.assert_array_equal(image.read(), CUBE)
    assert image.wavelengths_nm[4] == 540


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<u2", "|b1"])
def test_npy(tmp_path, order, kind):
    array = np.asarray(CUBE % 2 if kind == "|b1" else CUBE, dtype=kind, order=order)
    np.save(tmp_path / "a.npy", array)
    image = open_image(tmp_path / "a.npy", wavelengths=list(WAVELENGTHS_NM))
    part = image.read(1, 1, 3, 2)
    assert part.flags.c_contiguous
    assert part.dtype.isnative
    np.testing.assert_array_equal(part, array[1:3, 1:4])
    np.testing.assert_array_equal(image.wavelengths_nm, WAVELENGTHS_NM)
    with pytest.raises(InvalidData, match="5 channels, but 2 wavelengths"):
        open_image(tmp_path / "a.npy", wavelengths=[1.0, 2.0])


def test_a_cut_npy_says_what_it_needs(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1])
    with pytest.raises(UnreadableImage, match=rf"is {len(content) - 1} bytes.*\(3, 4, 5\).*needs {len(content)}"):
        open_image(tmp_path / "a.npy")


def test_objects_are_never_unpickled(tmp_path):
    objects = np.array([[[{"a": 1}]]], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", objects)
    for name in ("o.npy", "o.npz"):
        with pytest.raises((UnreadableImage, InvalidData)):
            open_image(tmp_path / name, reader="numpy")


def test_a_small_archive_cannot_claim_a_huge_array(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**5,) * 3})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(UnreadableImage, match="cannot hold|shorter"):
        open_image(tmp_path / "a.npz").read(0, 0, 1, 1)


def test_matlab_7_3_says_how_to_convert(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(508) + struct.pack("<HH", 0x200, 0x4D49) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UnreadableImage, match=r"version 7\.3.*reader='hdf5'.*'-v7'"):
        open_image(path, reader="matlab")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
@pytest.mark.parametrize(
    ("name", "shape", "ends_nm"),
    [
        ("an_hsi_image_sub_for_demo", (51, 88, 72), (367.7, 1043.4)),
        ("a_hsi_img_for_VI_demo", (90, 90, 224), (365.91, 2496.22)),
        ("an_hsi_img_for_tgt_det_demo", (36, 36, 72), (367.7, 1043.4)),
        ("an_hsi_img_for_class_demo", (31, 20, 72), (367.7, 1043.4)),
    ],
)
def test_real_cubes_open_with_their_wavelengths(name, shape, ends_nm):
    with open_image(SHARED / f"{name}.mat") as image:
        assert image.shape == shape
        np.testing.assert_allclose(image.wavelengths_nm[[0, -1]], ends_nm, atol=0.01)
        stored = scipy.io.loadmat(image.path)[image.variable]
        np.testing.assert_array_equal(image.read(2, 3, 4, 5), stored[3:8, 2:6])
