import os
import pickle

import imagecodecs
import numpy as np
import pytest

from stroma.core.errors import MissingFile, UnreadableImage, UsageError
from stroma.images.cache import DECODED
from stroma.images.htc_blosc import read_htc_blosc
from stroma.images.htc_cube import HtcCubeImage

CUBE = np.random.default_rng(0).random((6, 5, 4)).astype(np.float16)
MASK = np.array([[0, 1, 255], [254, 3, 0]], dtype=np.uint8)


def frame(array: np.ndarray) -> bytes:
    return imagecodecs.blosc_encode(
        np.ascontiguousarray(array).tobytes(), level=9, compressor="zstd", typesize=array.itemsize, shuffle="shuffle"
    )


def write(path, content, protocol=4):
    """As htc writes: a pickled header, then the Blosc frames back to back."""
    if isinstance(content, dict):
        frames = {key: frame(array) for key, array in content.items()}
        header = {key: (a.shape, a.dtype, len(frames[key])) for key, a in content.items()}
        path.write_bytes(pickle.dumps(header, protocol=protocol) + b"".join(frames.values()))
    else:
        path.write_bytes(pickle.dumps((content.shape, content.dtype), protocol=protocol) + frame(content))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "uint8", "bool", "int64"])
def test_a_single_array(tmp_path, protocol, dtype):
    array = (CUBE * 100).astype(dtype)
    found = read_htc_blosc(write(tmp_path / "P086#2021_04_15_09_22_02.blosc", array, protocol))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    found[0] = 0  # the caller owns it


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_dict_of_arrays_whole_and_in_part(tmp_path, protocol):
    layers = np.stack([MASK, MASK])
    content = {"polygon#annotator1": MASK, "semantic#primary": layers, "b": MASK}
    path = write(tmp_path / "a.blosc", content, protocol)
    found = read_htc_blosc(path)
    assert list(found) == list(content)
    assert all(np.array_equal(found[key], content[key]) for key in content)
    part = read_htc_blosc(path, keys=["semantic#primary"])
    assert list(part) == ["semantic#primary"]
    assert np.array_equal(part["semantic#primary"], layers)
    with pytest.raises(UsageError, match="Did you mean 'semantic#primary'"):
        read_htc_blosc(path, keys=["semantic#primery"])


def test_an_empty_dict_means_no_annotation(tmp_path):
    assert read_htc_blosc(write(tmp_path / "a.blosc", {})) == {}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_header_cannot_run_code(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.blosc").write_bytes(pickle.dumps({"a": Evil()}, protocol=protocol))
    with pytest.raises(UnreadableImage, match="not allowed"):
        read_htc_blosc(tmp_path / "a.blosc")
    assert not (tmp_path / "evil").exists()


def test_damaged_and_foreign_files_are_told(tmp_path):
    path = write(tmp_path / "a.blosc", {"a": CUBE})
    whole = path.read_bytes()
    for content in (b"", b"no blosc", whole[:20], whole[:-5], pickle.dumps([1, 2]), pickle.dumps({"a": 3})):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match=r"a\.blosc"):
            read_htc_blosc(path)
    other = pickle.dumps(((7, 7), np.dtype("uint8"))) + frame(MASK)
    path.write_bytes(other)
    with pytest.raises(UnreadableImage, match="6 bytes are stated where .*49"):
        read_htc_blosc(path)
    with pytest.raises(MissingFile):
        read_htc_blosc(tmp_path / "none.blosc")
    with pytest.raises(UsageError, match="single array"):
        read_htc_blosc(write(tmp_path / "b.blosc", MASK), keys=["a"])


def test_parts_of_a_cube_are_kept_decoded_and_are_copies(tmp_path):
    cube = np.random.default_rng(0).random((6, 7, 5)).astype(np.float16)
    with HtcCubeImage(write(tmp_path / "a.blosc", cube)) as image:
        np.testing.assert_array_equal(image.read(1, 2, 3, 4, channels=[4, 0]), cube[2:6, 1:4][:, :, [4, 0]])
        image.read(0, 0, 7, 3)[:] = 0  # whole rows: contiguous in the file
        np.testing.assert_array_equal(image.read(0, 0, 7, 3), cube[:3])
        assert len(DECODED) >= 1
        image.read()[:] = 0
        np.testing.assert_array_equal(image.read(channels=slice(1, 3)), cube[:, :, 1:3])
