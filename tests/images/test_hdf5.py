"""Cubes in HDF5 and MATLAB 7.3 files: axes, wavelengths, regions, and nothing that lies in other files."""

import sys
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from stroma.core.errors import InvalidData, MissingExtra, UnreadableImage, UsageError
from stroma.images.open import open_image
from stroma.support.describe import describe

h5py = pytest.importorskip("h5py")

CUBE = np.random.default_rng(0).integers(0, 60_000, (11, 13, 5)).astype(np.uint16)
NM = np.array([500.0, 510, 520, 530, 540])


def save_matlab(path, **arrays):
    """As MATLAB's `save -v7.3`: axes in reverse, the class as an attribute, a block of 512 bytes in front."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            data = file.create_dataset(name, data=np.asarray(array).T, chunks=True, compression="gzip")
            data.attrs["MATLAB_class"] = np.bytes_(np.asarray(array).dtype.name)
    with path.open("r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def test_matlab_7_3(tmp_path):
    path = save_matlab(tmp_path / "ü #1" / "a.mat", hsi=CUBE, wavelengths=NM[:, None], mask=CUBE[:, :, 0] > 3)
    with open_image(path) as image:
        assert image.variable == "hsi"
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image.read(), CUBE)
        np.testing.assert_array_equal(image.wavelengths_nm, NM)
        part = image.read(-1, 2, 5, 4, channels=[4, 0, 0])
        np.testing.assert_array_equal(part[:, 1:], CUBE[2:6, :4][:, :, [4, 0, 0]])
        assert part.flags.c_contiguous
        copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    np.testing.assert_array_equal(copy.read(12, 10, 1, 1), CUBE[10:, 12:])
    mask = open_image(path, variable="mask")
    np.testing.assert_array_equal(mask.read()[:, :, 0], CUBE[:, :, 0] > 3)
    found = describe(path)
    assert found.kind == "cube in an HDF5 file (array hsi)"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hdf5_with_channels_on_any_axis(axis, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("sub/deep")
        group.create_dataset("cube", data=np.moveaxis(CUBE, 2, axis), chunks=True)
        file["wavelength"] = NM / 1000
        file["wavelength"].attrs["units"] = "um"
    image = open_image(tmp_path / "a.h5", channel_axis=axis)
    assert image.variable == "sub/deep/cube"
    np.testing.assert_array_equal(image.read(3, 1, 6, 7, channels=slice(1, 4)), CUBE[1:8, 3:9, 1:4])
    np.testing.assert_allclose(image.wavelengths_nm, NM)


def test_wavelengths_among_the_attributes_and_given(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = CUBE
        file["cube"].attrs["wavelengths"] = NM
    np.testing.assert_array_equal(open_image(tmp_path / "a.h5").wavelengths_nm, NM)
    assert open_image(tmp_path / "a.h5", wavelengths=NM + 1).wavelengths_nm[0] == 501
    with pytest.raises(InvalidData, match="5 channels, but 2 wavelengths"):
        open_image(tmp_path / "a.h5", wavelengths=[1, 2])


def test_what_to_name_when_it_is_not_clear(tmp_path):
    path = save_matlab(tmp_path / "a.mat", a=CUBE, b=-1.0 * CUBE)
    with pytest.raises(InvalidData, match=r"2 arrays of three dimensions.*a \(11×13×5"):
        open_image(path)
    np.testing.assert_array_equal(open_image(path, variable="b").read(), -1.0 * CUBE)
    with pytest.raises(UsageError, match="no variable 'c'"):
        open_image(path, variable="c")


def test_values_in_other_files_are_not_read(tmp_path):
    (tmp_path / "secret.raw").write_bytes(CUBE.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cube"] = CUBE
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", CUBE.shape, "u2", external=[(str(tmp_path / "secret.raw"), 0, CUBE.nbytes)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "cube")
        layout = h5py.VirtualLayout(CUBE.shape, "u2")
        layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "cube", CUBE.shape)
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(InvalidData, match="it holds nothing"):
        open_image(tmp_path / "a.h5")


def test_a_shape_that_the_file_cannot_hold(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", (100_000, 100_000, 5), "u2", chunks=(10, 10, 5))
    with pytest.raises(UnreadableImage, match="cannot hold"):
        open_image(tmp_path / "a.h5")


def test_damage_and_a_missing_package(tmp_path, monkeypatch):
    path = save_matlab(tmp_path / "a.mat", a=CUBE)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UnreadableImage, match="a.mat: is damaged"):
        open_image(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"stroma\[hdf5\]"):
        open_image(path)
