"""PNG, JPEG and BMP."""

import struct
import zlib
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFile

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.cache import DECODED
from stroma.images.open import open_image
from stroma.images.picture import PictureImage

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
NOISE = np.random.default_rng(0).integers(0, 256, (24, 31, 4), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (9, 11, 4), dtype=np.uint16)


def save(path, array, mode=None, **options):
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_rgb_is_read_exactly(tmp_path, suffix):
    image = open_image(save(tmp_path / f"ü #1, a+b@c.{suffix}", NOISE[:, :, :3]))
    assert isinstance(image, PictureImage)
    assert image.channels == ("red", "green", "blue")
    assert image.dtype == np.uint8
    assert image.mpp is None
    np.testing.assert_array_equal(image.read(), NOISE[:, :, :3])


def test_jpeg_is_what_pillow_decodes(tmp_path):
    path = save(tmp_path / "a.jpg", NOISE[:, :, :3])
    with Pillow.open(path) as expected:
        np.testing.assert_array_equal(open_image(path).read(), np.asarray(expected))


def test_gray_stays_one_channel(tmp_path):
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, 0]))
    assert image.channels == ("gray",)
    assert image.fill == 0
    np.testing.assert_array_equal(image.read()[:, :, 0], NOISE[:, :, 0])


def test_bilevel_becomes_0_and_255(tmp_path):
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, 0] > 100))
    np.testing.assert_array_equal(image.read()[:, :, 0], (NOISE[:, :, 0] > 100) * 255)


def test_palette_becomes_rgb(tmp_path):
    indices = (NOISE[:, :, 0] % 3).astype(np.uint8)
    picture = Pillow.fromarray(indices).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png")
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]])
    np.testing.assert_array_equal(open_image(tmp_path / "a.png").read(), colours[indices])


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], np.uint8)
    image = open_image(save(tmp_path / "a.png", pixels))
    expected = [[10, 20, 30], [255, 255, 255], [0.8 * 255, 0.2 * 100 + 0.8 * 255, 0.2 * 200 + 0.8 * 255]]
    np.testing.assert_array_equal(image.read()[0], np.rint(expected))


def test_gray_with_transparency_stays_gray(tmp_path):
    pixels = np.array([[[40, 255], [40, 0]]], np.uint8)
    image = open_image(save(tmp_path / "a.png", pixels))
    assert image.channels == ("gray",)
    assert image.read().ravel().tolist() == [40, 255]


@pytest.mark.parametrize(("samples", "channels"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_16_bit_stays_16_bit(tmp_path, samples, channels):
    pixels = DEEP[:, :, :samples].copy()
    if samples in (2, 4):
        pixels[:, :, -1] = 65535
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(pixels if samples > 1 else pixels[:, :, 0]))
    image = open_image(path)
    assert image.dtype == np.uint16
    assert image.shape == (9, 11, channels)
    np.testing.assert_array_equal(image.read(), pixels[:, :, :channels])


def test_cmyk_becomes_rgb(tmp_path):
    path = save(tmp_path / "a.jpg", np.full((8, 8, 3), 255, np.uint8), "CMYK", quality=100)
    np.testing.assert_array_equal(open_image(path).read(), 255)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    """What a file is stands in its first bytes."""
    path = save(tmp_path / "actually_jpeg.png", NOISE[:, :, :3], format="JPEG")
    assert isinstance(open_image(path), PictureImage)
    assert open_image(path).shape == (24, 31, 3)


def test_orientation_in_exif_turns_nothing(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image = open_image(save(tmp_path / "a.jpg", NOISE[:, :, :3], exif=exif))
    assert image.shape == (24, 31, 3)


@pytest.mark.parametrize("box", [(0, 0, 31, 24), (5, 7, 11, 3), (30, 23, 1, 1)])
@pytest.mark.parametrize("channels", [None, [2], slice(0, 2)])
def test_a_region_is_the_crop_of_the_whole(tmp_path, box, channels):
    x, y, w, h = box
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, :3]))
    part = image.read(x, y, w, h, channels=channels)
    expected = NOISE[y : y + h, x : x + w, :3]
    np.testing.assert_array_equal(part, expected if channels is None else expected[:, :, channels])
    assert part.flags.c_contiguous


def test_a_result_can_be_written_to_without_harm(tmp_path):
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, :3]))
    for box in ((0, 0, 4, 4), (0, 0, 31, 24)):
        image.read(*box)[:] = 0
    np.testing.assert_array_equal(image.read(0, 0, 4, 4), NOISE[:4, :4, :3])


def test_pickled_images_read_the_same(tmp_path):
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, :3]), mpp=0.5)
    image.read(1, 1, 2, 2)
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    assert copy.mpp == 0.5
    np.testing.assert_array_equal(copy.read(1, 2, 3, 4), NOISE[2:6, 1:4, :3])


def test_a_replaced_file_is_not_answered_from_memory(tmp_path):
    path = save(tmp_path / "a.png", NOISE[:, :, :3])
    image = open_image(path)
    image.read(0, 0, 2, 2)
    save(path, np.zeros((24, 31, 3), np.uint8))
    assert image.read(0, 0, 2, 2).max() == 0
    save(path, np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(UnreadableImage, match="has changed"):
        image.read(0, 0, 2, 2)


def test_closing_lets_go_of_the_pixels(tmp_path):
    with open_image(save(tmp_path / "a.png", NOISE[:, :, :3])) as image:
        before = len(DECODED)
        image.read(0, 0, 2, 2)
        assert len(DECODED) == before + 1
    assert len(DECODED) == before


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A PNG of a few bytes that declares 60,000 × 60,000 pixels; the limit is ours, not Pillow's global one."""
    header = struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableImage, match="cannot hold the 60000×60000×3 pixels"):
        open_image(path)


def test_a_picture_larger_than_pillows_limit_opens_and_its_limit_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    image = open_image(save(tmp_path / "a.png", NOISE[:, :, :3]))
    assert image.read().shape == (24, 31, 3)
    assert Pillow.MAX_IMAGE_PIXELS == 10
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("keep", [10, 60, 0.5, 0.95])
def test_cut_files_are_unreadable_images(tmp_path, suffix, keep):
    path = save(tmp_path / f"a.{suffix}", NOISE[:, :, :3])
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    with pytest.raises(UnreadableImage):
        open_image(path).read()


def test_a_pixel_size_must_be_positive(tmp_path):
    with pytest.raises(UsageError, match="mpp=-1"):
        open_image(save(tmp_path / "a.png", NOISE), mpp=-1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("slides_jpeg_histoprep/slide.jpeg", (2500, 2500, 3)),
        ("slides_jpeg_histoprep/slide_with_ink.jpeg", (1000, 5600, 3)),
        ("stain_pair_torchstain/source.png", (438, 584, 3)),
    ],
)
def test_real_pictures(name, shape):
    image = open_image(SHARED / name)
    assert image.shape == shape
    with Pillow.open(SHARED / name) as expected:
        pixels = np.asarray(expected.convert("RGB"))
    np.testing.assert_array_equal(image.read(100, 50, 200, 100), pixels[50:150, 100:300])
