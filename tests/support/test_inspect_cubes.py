"""`stroma inspect` on hyperspectral files: what they are, and a line that opens them."""

import json
import struct

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image as Pillow

from stroma.images import write_cube
from stroma.images.colour_scale import tivita_colours
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_masks import write_chip_mask
from stroma.support.describe import describe

from .test_inspect import opened

CUBE = np.ones((3, 4, 5), np.float32)


def write_envi(path):
    path.with_suffix(".raw").write_bytes(CUBE.tobytes())
    path.write_text(
        "ENVI\nsamples=4\nlines=3\nbands=5\ndata type=4\ninterleave=bip\nbyte order=0\n"
        "wavelength={500,510,520,530,540}\n"
    )


def write_zarr(path):
    path.mkdir()
    form = {"zarr_format": 2, "shape": CUBE.shape, "chunks": CUBE.shape, "dtype": "<f4", "order": "C"}
    (path / ".zarray").write_text(json.dumps({**form, "compressor": None, "filters": None, "fill_value": 0}))
    (path / "0.0.0").write_bytes(CUBE.tobytes())


def write_tiff(path):
    stack, nm = np.moveaxis(CUBE, 2, 0), [500, 510, 520, 530, 540]
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"wavelengths": nm})


WRITERS = {
    "cube.hdr": (write_envi, "ENVI cube"),
    "cube.mat": (lambda path: scipy.io.savemat(path, {"hsi": CUBE}), "cube in a MATLAB file (variable hsi)"),
    "cube.npz": (lambda path: np.savez(path, a=CUBE), "cube in a NumPy file (array a)"),
    "cube.npy": (lambda path: np.save(path, CUBE), "cube in a NumPy file"),
    "cube.zarr": (write_zarr, "cube in a Zarr folder"),
    "cube.tif": (write_tiff, "cube in a TIFF stack"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_cubes_of_other_formats(tmp_path, name):
    write, kind = WRITERS[name]
    write(tmp_path / name)
    found = describe(tmp_path / name)
    assert found.kind == kind
    assert found.facts["shape"] == [3, 4, 5]
    np.testing.assert_array_equal(opened(found).read(), CUBE)
    if name == "cube.hdr":
        assert found.facts["wavelengths_nm"] == [500, 540]
        assert describe(tmp_path / "cube.raw").kind == kind
        assert found.facts["size_bytes"] == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_what_lies_beside_a_tivita_cube(tmp_path):
    write_cube(tmp_path / "1_SpecCube.dat", np.ones((480, 640, 1), np.float32))
    write_cube(tmp_path / "EqBinWhiteCube.dat", CUBE)
    (tmp_path / "1_DarkPattern.dpic").write_bytes(struct.pack(">2i2d", 1, 2, 5, 6))
    Pillow.fromarray(tivita_colours(np.full((480, 640), 0.7))).save(tmp_path / "1_Oxygenation.png")
    dark, white = describe(tmp_path / "1_DarkPattern.dpic"), describe(tmp_path / "EqBinWhiteCube.dat")
    assert dark.kind == "dark pattern of a Tivita camera"
    assert opened(dark).tolist() == [[5, 6]]
    assert white.facts["shape"] == [3, 4, 5]
    assert opened(white).shape == CUBE.shape
    shown = describe(tmp_path / "1_Oxygenation.png")
    assert shown.kind == "StO2 as the Tivita camera showed it"
    np.testing.assert_allclose(opened(shown), 0.7, atol=0.001)


def test_what_lies_beside_colour_checkers(tmp_path):
    mask = tmp_path / "1#squares#automask#cc_classic.png"
    write_chip_mask(mask, np.arange(24, dtype=np.uint8).reshape(4, 6) + 1, BOARDS["cc_classic"])
    found = describe(mask)
    assert found.kind == "mask of a colour checker"
    assert (found.facts["board"], found.facts["chips"]) == ("cc_classic", 24)
    assert opened(found).max() == 24
    (tmp_path / "red_HRC1__0.txt").write_text(">>>>>Begin\n500 7\n501 8\n")
    found = describe(tmp_path / "red_HRC1__0.txt")
    assert found.kind == "measurement of a spectrometer"
    assert found.facts["wavelengths_nm"] == [500, 501]
    assert opened(found).values.tolist() == [[7, 8]]
