"""Preprocessed cubes for htc."""

import numpy as np
import pytest

import stroma
from stroma.core.errors import InvalidData
from stroma.images.htc_blosc import read_htc_blosc
from stroma.images.tivita import write_cube
from stroma.study.htc.export import write_htc_cubes
from tests.tiny import cube_study


def test_cubes_are_float16_files_under_the_name_of_the_image(tmp_path):
    study = stroma.open_study(cube_study(tmp_path / "Süß #1", subjects=2))
    paths = write_htc_cubes(study, tmp_path / "intermediates")
    assert [path.stem for path in paths] == list(study)
    assert paths[0].parent == tmp_path / "intermediates" / "preprocessing" / "L1"
    stored = read_htc_blosc(paths[0])
    assert stored.dtype == np.float16 and stored.shape == (24, 32, 10)
    cube = study[next(iter(study))].cube().astype(np.float64)
    np.testing.assert_allclose(stored, cube / np.abs(cube).sum(axis=2, keepdims=True), rtol=1e-3)
    (raw, _) = write_htc_cubes(study, tmp_path / "intermediates", "raw16")
    np.testing.assert_allclose(read_htc_blosc(raw), cube, rtol=1e-3)


def test_files_that_are_there_stay(tmp_path):
    study = stroma.open_study(cube_study(tmp_path, subjects=2))
    first, second = write_htc_cubes(study, tmp_path / "out")
    first.write_bytes(b"mine")
    second.write_bytes(b"")
    write_htc_cubes(study, tmp_path / "out")
    assert first.read_bytes() == b"mine" and read_htc_blosc(second).shape == (24, 32, 10)


def test_values_beyond_float16_are_named_and_l1_takes_them(tmp_path):
    study = stroma.open_study(cube_study(tmp_path, subjects=2))
    image_id = next(iter(study))
    write_cube(study.image_path(image_id), study[image_id].cube() * 1e6)
    with pytest.raises(InvalidData, match="beyond what float16 holds"):
        write_htc_cubes(study, tmp_path / "out", "raw16")
    assert np.isfinite(read_htc_blosc(write_htc_cubes(study, tmp_path / "out")[0])).all()
