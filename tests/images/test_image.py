"""The conventions of an Image, each pinned by a test that is named after it."""

import numpy as np
import pytest

from stroma.core.errors import UsageError
from stroma.images.array import ArrayImage
from stroma.images.image import Box, Image, Level, downsample_of
from stroma.images.open import open_image
from stroma.slides.pyramid import write_pyramid


class Pyramid(Image):
    """Levels in memory."""

    def __init__(self, *arrays, channels=None, mpp=None):
        top = arrays[0].shape
        self.path = None
        self.arrays = arrays
        self.levels = tuple(Level(*a.shape[:2], downsample_of(a.shape[:2], top[:2])) for a in arrays)
        self.channels = channels or tuple(f"c{i}" for i in range(top[2]))
        self.dtype = arrays[0].dtype
        self.mpp = mpp
        self.read_from = []

    def _read_level(self, level, box, channels):
        self.read_from.append((level, box))
        part = self.arrays[level][box.y : box.y + box.h, box.x : box.x + box.w]
        return np.ascontiguousarray(part if channels is None else part[:, :, channels])


RGB = ("red", "green", "blue")


def ramp(height=8, width=16):
    """Each pixel holds the x coordinate of its centre (channel 0) and the y coordinate (channel 1)."""
    y, x = np.indices((height, width))
    return np.stack([x + 0.5, y + 0.5], axis=2).astype(np.float32)


def test_axis_order_height_width_channels():
    image = Pyramid(np.zeros((4, 7, 3), np.uint8))
    assert image.shape == (4, 7, 3)
    assert image.read(x=5, y=1, w=2, h=3).shape == (3, 2, 3)


def test_origin_is_the_outer_corner_of_the_top_left_pixel_so_centres_lie_at_half_pixels():
    image = Pyramid(ramp(), mpp=1.0)
    np.testing.assert_allclose(image.read(mpp=2.0)[0, :, 0], [1, 3, 5, 7, 9, 11, 13, 15])
    np.testing.assert_allclose(image.read(mpp=4.0)[:, 0, 1], [2, 6])
    np.testing.assert_allclose(image.read(x=4, y=0, w=4, h=4, mpp=0.5)[0, :, 0], np.arange(4.25, 8, 0.5))


def test_half_pixel_windows_are_read_exactly_and_not_rounded_to_the_level():
    """At level 1 the region 1…9 is 0.5…4.5: the averages over its quarters have these centres."""
    halved = ramp().reshape(4, 2, 8, 2, 2).mean((1, 3))
    image = Pyramid(ramp(), halved, mpp=1.0)
    part = image.read(x=1, y=0, w=8, h=8, mpp=2.0)
    assert image.read_from[-1][0] == 1
    np.testing.assert_allclose(part[0, :, 0], [2, 4, 6, 8])


def test_a_resolution_that_no_level_has_is_averaged_over_areas():
    image = Pyramid(np.array([0, 30, 60, 90, 120], np.float32).reshape(1, 5, 1), mpp=1.0)
    part = image.read(w=5, h=1, mpp=2.5)
    np.testing.assert_allclose(part.ravel(), [(0 + 30 + 60 / 2) / 2.5, (60 / 2 + 90 + 120) / 2.5])


def test_the_coarsest_level_that_is_fine_enough_is_read():
    arrays = [np.zeros((64 >> k, 64 >> k, 1), np.uint8) for k in range(4)]
    image = Pyramid(*arrays, mpp=0.25)
    for mpp, level in ((0.25, 0), (0.4, 0), (0.5, 1), (0.99, 1), (1.0, 2), (9.0, 3)):
        image.read(mpp=mpp)
        assert image.read_from[-1][0] == level


def test_level_0_coordinates_address_every_level():
    quarter = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    image = Pyramid(quarter.repeat(4, 0).repeat(4, 1), quarter)
    assert image.read(x=8, y=4, w=4, h=4, level=1).ravel() == [5]
    assert image.read(x=4, y=0, w=8, h=4, level=-1).ravel().tolist() == [1, 2]


def test_downsample_is_the_whole_number_that_explains_both_sizes():
    assert downsample_of((8228, 11500), (32914, 46000)) == 4  # not 4.0002
    assert downsample_of((31, 37), (250, 300)) == 8
    assert downsample_of((63, 75), (250, 300)) == 4  # rounded up
    assert downsample_of((100, 120), (250, 300)) == 2.5
    assert downsample_of((50, 60), (50, 60)) == 1


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_outside_is_white_for_rgb(dtype, white):
    image = Pyramid(np.zeros((2, 2, 3), dtype), channels=RGB)
    part = image.read(x=-1, y=-1, w=4, h=4)
    assert part[0].min() == part[-1].min() == part[:, 0].min() == part[:, -1].min() == white
    assert part[1:3, 1:3].max() == 0


def test_outside_is_0_for_other_channels_even_when_there_are_three():
    image = Pyramid(np.full((2, 2, 3), 9, np.uint8), channels=("DAPI", "CD3", "CD8"))
    assert image.read(x=1, y=0, w=2, h=2)[:, 1].max() == 0


def test_far_outside_is_all_fill_and_inside_says_so():
    image = Pyramid(np.zeros((2, 2, 3), np.uint8), channels=RGB)
    assert image.read(x=50, y=50, w=2, h=2).min() == 255
    assert image.inside(50, 50, 2, 2) == Box(50, 50, 0, 0)
    assert image.inside(1, -3, 4, 4) == Box(1, 0, 1, 1)


def test_the_last_column_of_a_level_that_was_cut_is_not_mixed_with_fill():
    """300 / 8 is 37.5; the level has 37 columns, and the rightmost half of a pixel is not there."""
    image = Pyramid(np.zeros((64, 300, 3), np.uint8), np.zeros((8, 37, 3), np.uint8), channels=RGB, mpp=1.0)
    assert image.read(mpp=8.0).max() == 0
    assert image.read(x=236, y=0, w=64, h=64, mpp=8.0).max() == 0


def test_channels_by_slice_and_by_index_also_where_it_is_filled():
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    image = Pyramid(array)
    np.testing.assert_array_equal(image.read(channels=slice(1, 3)), array[:, :, 1:3])
    filled = image.read(x=-1, y=0, w=2, h=2, channels=[3, 0])
    np.testing.assert_array_equal(filled[:, 1], array[:, 0, [3, 0]])
    assert filled[:, 0].max() == 0


def test_channel_index_names_the_nearest():
    image = Pyramid(np.zeros((1, 1, 3), np.uint8), channels=RGB)
    assert image.channel_index("green") == 1
    with pytest.raises(UsageError, match="Did you mean 'green'"):
        image.channel_index("gren")


@pytest.mark.parametrize("wrong", [{"w": 0}, {"h": -1}, {"x": 5}, {"level": 1}, {"mpp": 1.0}])
def test_meaningless_reads_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        Pyramid(np.zeros((2, 2, 3), np.uint8)).read(**wrong)


def test_a_region_larger_than_memory_is_a_usage_error():
    with pytest.raises(UsageError, match="more memory"):
        Pyramid(np.zeros((2, 2, 3))).read(w=10**8, h=10**8)


def test_tiles_at_the_edge_of_a_cut_level_are_not_shifted(tmp_path):
    """2,503 × 3,207 px are cut to 1,251 × 1,603 and 625 × 801: the last pixels stand for what these levels lack."""
    height, width = 2503, 3207
    y, x = np.mgrid[:height, :width]
    rgb = np.stack(
        [127 + 100 * np.sin(x / 40 + y / 90), 127 + 100 * np.cos(x / 70), 127 + 100 * np.sin(y / 33)], axis=2
    )
    pixels = rgb.astype(np.uint8)
    path = write_pyramid(tmp_path / "a.tiff", lambda t, n: pixels[t : t + n], height, width, compression="lossless")
    pyramid, flat = open_image(path), ArrayImage(pixels)
    for downsample in (2, 4, 5.3):
        for box in ((width - 400, height - 300, 400, 300), (width - 401, 99, 401, 300), (0, height - 303, 400, 303)):
            one, other = (image.read(*box, downsample=downsample).astype(int) for image in (pyramid, flat))
            assert one.shape == other.shape
            assert np.abs(one - other)[:-1, :-1].max() <= 2
            assert np.abs(one - other).max() <= 8


def test_reading_never_writes_into_the_array_it_shows():
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    array.flags.writeable = False
    ArrayImage(array).read(-1, -1, 7, 7, downsample=1.5)
