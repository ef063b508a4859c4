"""`open_image`: which reader, and what it says when there is none."""

import numpy as np
import pytest
from PIL import Image as Pillow

import stroma
from stroma.core.errors import MissingFile, UnreadableImage, UsageError
from stroma.images.open import open_image


def test_it_is_the_first_name_of_the_package(tmp_path):
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    assert stroma.open_image(str(tmp_path / "a.png")).shape == (2, 3, 1)


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "slide_01.svs").write_bytes(b"")
    with pytest.raises(MissingFile, match="Did you mean 'slide_01.svs'"):
        open_image(tmp_path / "slide_1.svs")


@pytest.mark.parametrize("content", [b"", b"\0", b"hello", b"%PDF-1.4", b"\x89PNG"])
def test_what_is_no_image_says_what_is(tmp_path, content):
    path = tmp_path / "a.xyz"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"{len(content)} bytes, suffix '.xyz'.*Readable are"):
        open_image(path)


def test_what_lacks_something_says_what(tmp_path):
    (tmp_path / "cube.raw").write_bytes(bytes(480))
    with pytest.raises(UnreadableImage, match=r"cube\.raw.*need their header \(\.hdr\) beside"):
        open_image(tmp_path / "cube.raw")
    np.save(tmp_path / "mask.npy", np.zeros((4, 5)))
    with pytest.raises(UnreadableImage, match=r"two open as one channel with reader='numpy'"):
        open_image(tmp_path / "mask.npy")
    assert open_image(tmp_path / "mask.npy", reader="numpy").shape == (4, 5, 1)


def test_a_folder_is_a_study(tmp_path):
    with pytest.raises(UnreadableImage, match="is a folder.*stroma init"):
        open_image(tmp_path)


def test_a_reader_can_be_named(tmp_path):
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", reader="picture").shape == (2, 3, 1)
    for reader in ("tivita", "openslide", "tiff"):
        with pytest.raises(UnreadableImage):
            open_image(tmp_path / "a.png", reader=reader)
    with pytest.raises(UsageError, match="Did you mean 'tiff'"):
        open_image(tmp_path / "a.png", reader="tif")


def test_empty_files_of_every_suffix_are_unreadable_images(tmp_path):
    for name in ("a_SpecCube.dat", "a.svs", "a.tif", "a.png", "a.jpg", "a.dcm", "a.ndpi", "a.mrxs"):
        path = tmp_path / name
        path.touch()
        with pytest.raises(UnreadableImage):
            open_image(path)


def test_an_option_that_a_reader_does_not_have_is_a_usage_error(tmp_path):
    Pillow.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="reader 'picture' has no option 'z'"):
        open_image(tmp_path / "a.png", z=0)
    with pytest.raises(UsageError, match="Did you mean 'mpp'"):
        open_image(tmp_path / "a.png", mp=0.5)
