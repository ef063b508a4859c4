"""JPEG XR: the decoder writes past its room where a damaged header says other pixels than the directory."""

import imagecodecs
import numpy as np
import pytest

from stroma.images.jpeg_xr import decode_jpeg_xr

RNG = np.random.default_rng(0)
PICTURES = {
    "grey": RNG.integers(0, 256, (24, 40), dtype=np.uint8),
    "grey of 16 bits": RNG.integers(0, 65536, (24, 40), dtype=np.uint16),
    "colours": RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8),
    "colours of 16 bits": RNG.integers(0, 65536, (24, 40, 3), dtype=np.uint16),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_decoded_as_they_were_encoded(kind):
    pixels = PICTURES[kind]
    decoded = decode_jpeg_xr(imagecodecs.jpegxr_encode(pixels, level=1.0), 24, 40)
    np.testing.assert_array_equal(decoded.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("kind", PICTURES)
def test_pixels_of_another_type_than_the_directory_says_are_refused(kind):
    good = imagecodecs.jpegxr_encode(PICTURES[kind], level=1.0)
    start = good.index(b"WMPHOTO\0")
    for value in set(range(256)) - {good[start + 11]}:
        with pytest.raises(ValueError, match="another type"):
            decode_jpeg_xr(good[: start + 11] + bytes([value]) + good[start + 12 :], 24, 40)


def test_pixels_of_types_that_are_not_read_are_refused():
    good = imagecodecs.jpegxr_encode(PICTURES["colours"])
    place = good.index(bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")) + 15
    for value in (0x0E, 0x1B, 0x3E, 0xFF):
        with pytest.raises(ValueError, match="not read"):
            decode_jpeg_xr(good[:place] + bytes([value]) + good[place + 1 :], 24, 40)
