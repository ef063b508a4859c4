import numpy as np
import pytest

from stroma.core.errors import ConfigError
from stroma.core.tables import ADDRESS_SCHEMA
from stroma.images.array import ArrayImage
from stroma.sampling.granularity import Patch, WholeImage, read_samples, window_starts

SIZES = [(30, 40), (32, 32), (7, 50), (33, 65), (5, 5)]


def image_of(height, width, channels=3):
    return ArrayImage(np.random.default_rng(0).random((height, width, channels), dtype=np.float32))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_stitching_what_was_read_gives_the_image_back(height, width, overlap):
    image, patch = image_of(height, width), Patch(size_px=16, overlap=overlap)
    addresses = patch.list(image, "a")
    strips = list(patch.stitch(addresses, read_samples(image, addresses), width, height))
    tops = [y for y, _ in strips]
    assert tops == list(np.cumsum([0, *(len(rows) for _, rows in strips)])[:-1])
    np.testing.assert_allclose(np.concatenate([rows for _, rows in strips]), image.read(), rtol=1e-5)


def test_addresses_are_in_raster_order_with_the_common_columns():
    addresses = Patch(size_px=16, overlap=0).list(image_of(33, 40), "id")
    assert addresses.schema == ADDRESS_SCHEMA
    assert addresses.select("y", "x").rows() == sorted(addresses.select("y", "x").rows())
    assert addresses["region"].to_list() == list(range(len(addresses)))


def test_the_last_window_is_moved_inwards_to_end_at_the_border():
    assert window_starts(40, 16, 16) == [0, 16, 24]
    assert window_starts(32, 16, 16) == [0, 16]
    assert window_starts(10, 16, 8) == [0]


def test_overlapping_windows_are_averaged():
    image, patch = image_of(4, 6, 1), Patch(size_px=4, overlap=0.5)
    addresses = patch.list(image, "a")
    outputs = [np.full((4, 4, 1), value, np.float32) for value in (1.0, 3.0)]
    ((_, rows),) = patch.stitch(addresses, outputs, 6, 4)
    np.testing.assert_array_equal(rows[0, :, 0], [1, 1, 2, 2, 3, 3])


def test_only_a_row_of_windows_is_held():
    image, patch = image_of(4000, 20, 1), Patch(size_px=20, overlap=0.5)
    addresses = patch.list(image, "a")
    strips = patch.stitch(addresses, read_samples(image, addresses), 20, 4000)
    assert max(len(rows) for _, rows in strips) <= 20


def test_the_whole_image_is_one_sample():
    image = image_of(9, 11)
    addresses = WholeImage().list(image, "a")
    assert addresses.select("x", "y", "w", "h").row(0) == (0, 0, 11, 9)
    ((y, rows),) = WholeImage().stitch(addresses, read_samples(image, addresses), 11, 9)
    assert (y, rows.shape) == (0, (9, 11, 3))


@pytest.mark.parametrize("wrong", [{"size_px": 0}, {"overlap": 1.0}, {"overlap": -0.1}])
def test_impossible_patches_are_refused(wrong):
    with pytest.raises(ConfigError, match="size_px"):
        Patch(**wrong)
