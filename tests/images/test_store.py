import pickle
import subprocess
import sys

import numpy as np
import pytest

from stroma.core.component import Component
from stroma.core.errors import InvalidData, NewerFormat, UnreadableImage
from stroma.core.provenance import Provenance
from stroma.images import open_image, store
from stroma.images.store import StoreImage, store_grid, write_store

MADE = Provenance("store/1", {"kind": "raw16"})


def cube(height=70, width=150, channels=10, dtype=np.float16):
    return (np.random.default_rng(0).random((height, width, channels)) * 100).astype(dtype)


def written(folder, pixels, **more):
    names = tuple(f"c{i}" for i in range(pixels.shape[2]))
    return write_store(folder / "Süß #1, a+b@c.b2nd", pixels, MADE, **{"channels": names, **more})


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float16", "float32"])
def test_what_was_written_is_read(tmp_path, dtype):
    pixels = cube(dtype=dtype)
    with open_image(written(tmp_path, pixels)) as image:
        assert isinstance(image, StoreImage) and image.dtype == dtype and image.shape == pixels.shape
        np.testing.assert_array_equal(image.read(), pixels)
        np.testing.assert_array_equal(image.read(33, 5, 64, 64), pixels[5:69, 33:97])
        np.testing.assert_array_equal(image.read(1, 2, 3, 4, channels=slice(2, 5)), pixels[2:6, 1:4, 2:5])
        part = image.read(1, 2, 3, 4, channels=[7, 0])
        np.testing.assert_array_equal(part, pixels[2:6, 1:4, [7, 0]])
        assert part.flags.c_contiguous


def test_what_lies_outside_is_filled(tmp_path):
    pixels = cube()
    part = StoreImage(written(tmp_path, pixels)).read(-2, -3, 5, 5)
    np.testing.assert_array_equal(part[3:, 2:], pixels[:2, :3])
    assert not part[:3].any() and not part[:, :2].any()


def test_description_is_kept(tmp_path):
    nm = np.linspace(500, 1000, 10)
    steps = (Component(name="l1"), Component(name="divide", by=2.0))
    image = StoreImage(written(tmp_path, cube(), wavelengths_nm=nm, mpp=12.5, prepared=steps))
    np.testing.assert_array_equal(image.wavelengths_nm, nm)
    assert image.mpp == 12.5 and image.channels[3] == "c3" and image.prepared == steps
    assert image.provenance.settings == {"kind": "raw16"}


def test_values_that_are_not_finite_stay(tmp_path):
    pixels = cube()
    pixels[0, 0, 0], pixels[1, 1, 1], pixels[2, 2] = np.nan, np.inf, 0
    np.testing.assert_array_equal(StoreImage(written(tmp_path, pixels)).read(), pixels)


def test_a_copy_in_another_process_opens_the_file_again(tmp_path):
    pixels = cube()
    image = StoreImage(written(tmp_path, pixels))
    image.read()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image)).read(), pixels)  # noqa: S301
    image.close()
    np.testing.assert_array_equal(image.read(), pixels)


def test_equal_arguments_give_equal_bytes(tmp_path):
    first = written(tmp_path, cube(200, 300, 30)).read_bytes()
    assert written(tmp_path, cube(200, 300, 30)).read_bytes() == first


def test_grid_of_a_tivita_cube_and_of_other_shapes():
    assert store_grid((480, 640, 100), 2) == ((32, 640, 100), (16, 64, 100))
    chunks, blocks = store_grid((480, 640, 3), 1)
    assert blocks[0] * blocks[1] * 3 >= 100_000 and blocks[2] == chunks[2] == 3
    assert store_grid((5, 7, 100), 2) == ((5, 7, 100), (5, 7, 100))
    wide = store_grid((100, 200_000, 100), 2)[0]
    assert wide[0] * wide[1] * wide[2] * 2 <= 64 * 2**20


@pytest.mark.parametrize("keep", [0, 10, 23, 100, 0.5, 0.99, -1])
def test_a_store_that_was_cut_off_is_an_error(tmp_path, keep):
    path = written(tmp_path, cube())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(UnreadableImage):
        open_image(path)


def test_damage_inside_never_ends_the_process(tmp_path):
    """Bytes are overwritten at many places; each read succeeds or says that the file is damaged."""
    path = written(tmp_path, cube())
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom stroma.images import open_image\n"
        "from stroma.core.errors import StromaError\n"
        "path = Path(sys.argv[1]); content = path.read_bytes(); rng = np.random.default_rng(0)\n"
        "for i in range(60):\n"
        "    damaged = bytearray(content)\n"
        "    start = int(rng.integers(0, len(content) if i % 2 else 400)); damaged[start:start + 4] = rng.bytes(4)\n"
        "    copy = path.with_name('copy.b2nd'); copy.unlink(missing_ok=True); copy.write_bytes(bytes(damaged))\n"
        "    try:\n        open_image(copy).read()\n    except StromaError:\n        pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_other_files_are_refused(tmp_path):
    import blosc2

    foreign = tmp_path / "foreign.b2nd"
    blosc2.asarray(np.zeros((4, 4, 4)), urlpath=str(foreign), mode="w")
    with pytest.raises(UnreadableImage, match="no store of Stroma"):
        open_image(foreign)
    (tmp_path / "text.b2nd").write_text("no store, but a text that is long enough")
    with pytest.raises(UnreadableImage, match="no Blosc2 file"):
        open_image(tmp_path / "text.b2nd")


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "STORE_FORMAT", "store/2")
    path = written(tmp_path, cube())
    monkeypatch.undo()
    with pytest.raises(NewerFormat):
        open_image(path)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 0, 3)), np.zeros((2, 2, 2), complex)])
def test_arrays_that_are_no_image_are_refused(tmp_path, pixels):
    with pytest.raises(InvalidData):
        write_store(tmp_path / "a.b2nd", pixels, MADE, channels=("a",))
    assert not list(tmp_path.iterdir())


def test_names_have_to_fit_the_channels(tmp_path):
    with pytest.raises(InvalidData):
        write_store(tmp_path / "a.b2nd", cube(), MADE, channels=("a",))
