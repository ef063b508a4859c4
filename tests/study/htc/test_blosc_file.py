import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.images.htc_blosc import read_htc_blosc
from stroma.study.htc.blosc_file import write_htc_blosc

CUBE = np.random.default_rng(0).random((48, 64, 10)).astype(np.float16)


def header(path: Path) -> object:
    """As htc reads it."""
    return pickle.load(io.BytesIO(path.read_bytes()))  # noqa: S301 - our own bytes


def test_the_header_is_what_pickle_understands(tmp_path: Path) -> None:
    path = write_htc_blosc(tmp_path / "P086#2021_04_15_09_22_02.blosc", CUBE)
    assert path.read_bytes()[:3] == b"\x80\x04\x95"
    assert header(path) == ((48, 64, 10), np.dtype("float16"))
    arrays = {"polygon#annotator1": np.zeros((4, 6), np.uint8), "Süß": CUBE > 0.5, 3: CUBE.astype(">f4")}
    path = write_htc_blosc(tmp_path / "d.blosc", arrays)
    content = header(path)
    assert isinstance(content, dict)
    assert [(key, entry[0], entry[1]) for key, entry in content.items()] == [
        ("polygon#annotator1", (4, 6), np.dtype("uint8")),
        ("Süß", (48, 64, 10), np.dtype("bool")),
        (3, (48, 64, 10), np.dtype(">f4")),
    ]


def test_the_frame_is_blosc_1_with_zstd_and_shuffle(tmp_path: Path) -> None:
    path = write_htc_blosc(tmp_path / "a.blosc", CUBE)
    stream = io.BytesIO(path.read_bytes())
    pickle.load(stream)  # noqa: S301 - our own bytes
    frame = stream.read()
    assert frame[:4] == bytes([2, 1, 0x91, 2])
    assert int.from_bytes(frame[4:8], "little") == CUBE.nbytes
    assert int.from_bytes(frame[12:16], "little") == len(frame)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "uint8", "bool", "int64"])
def test_what_is_written_is_read(tmp_path: Path, dtype: str) -> None:
    array = (CUBE * 100).astype(dtype)
    for content in (array, array.transpose(2, 0, 1), np.zeros((0, 4), dtype), array[0, 0, 0]):
        found = read_htc_blosc(write_htc_blosc(tmp_path / "a.blosc", content))
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, np.atleast_1d(content), strict=True)
    table = {"a": array, "b": array[:1]}
    found = read_htc_blosc(write_htc_blosc(tmp_path / "b.blosc", table))
    assert isinstance(found, dict)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], array[:1])
    assert read_htc_blosc(write_htc_blosc(tmp_path / "c.blosc", {})) == {}


def test_texts_are_no_arrays_of_htc(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="'a' holds <U1, which are no numbers"):
        write_htc_blosc(tmp_path / "a.blosc", {"a": np.array(["x"])})
    assert not list(tmp_path.iterdir())
