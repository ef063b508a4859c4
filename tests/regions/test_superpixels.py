import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import find_boundaries
from skimage.segmentation import slic as scikit_image_slic

from stroma.core.errors import ConfigError, InvalidData
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.regions.components import connected_areas, join_small
from stroma.regions.superpixels import Grid, SlicOptions, slic


def quadrants(height=48, width=64, channels=12):
    """Four flat areas, noise far below their differences, and the area of each pixel."""
    rng = np.random.default_rng(0)
    rows, columns = np.arange(height) >= 20, np.arange(width) >= 37
    truth = rows[:, None] * 2 + columns[None, :]
    return (rng.permuted(np.tile([[0.1], [0.4], [0.7], [1.0]], channels), axis=0))[truth] + rng.normal(
        0, 0.01, (height, width, channels)
    ), truth


def boundary_recall(superpixels, truth, within_px=2):
    """Share of true border pixels with a superpixel border at most `within_px` away (Martin et al. 2004)."""
    distance = ndimage.distance_transform_edt(~find_boundaries(superpixels, mode="inner"))
    return float((distance[find_boundaries(truth, mode="inner")] <= within_px).mean())


def undersegmentation_error(superpixels, truth):
    """Share of pixels on the smaller side where superpixels are cut by truth (Neubert and Protzel 2012)."""
    table = np.zeros((int(superpixels.max()) + 1, int(truth.max()) + 1), dtype=np.int64)
    np.add.at(table, (superpixels.ravel(), truth.ravel()), 1)
    return float(np.minimum(table, table.sum(axis=1, keepdims=True) - table).sum() / truth.size)


@pytest.mark.parametrize("channels", [1, 3, 4, 12, 40])
def test_superpixels_do_not_cross_clear_borders(channels):
    image, truth = quadrants(channels=channels)
    found = slic(image, SlicOptions(50, compactness=10 if channels == 3 else 0.1))
    assert found.shape == truth.shape and found.dtype == np.int32
    assert undersegmentation_error(found, truth) < 0.01
    assert 30 <= found.max() + 1 <= 70


@pytest.mark.parametrize("channels", [3, 12])
def test_each_superpixel_is_connected_numbered_and_large_enough(channels):
    noise = np.random.default_rng(1).random((50, 70, channels))
    found = slic(noise, SlicOptions(40, compactness=0.05))
    sizes = np.bincount(found.ravel())
    assert sizes.min() >= 50 * 70 // (2 * Grid.of(50, 70, 40).count)
    assert connected_areas(found).max() == found.max()
    assert (np.diff(np.unique(found, return_index=True)[1]) > 0).all()


def test_flat_images_give_the_grid():
    found = slic(np.full((40, 60, 5), 7.0), SlicOptions(24))
    assert found.max() + 1 == 24
    assert np.bincount(found.ravel()) == pytest.approx(100, abs=25)


def test_equal_images_give_equal_superpixels_at_any_scale_and_offset():
    image, _ = quadrants(channels=20)
    first = slic(image)
    np.testing.assert_array_equal(slic(image.copy()), first)
    stretched = slic(image * 1024.0, SlicOptions(1000))
    assert (stretched == first).mean() > 0.99


def test_many_superpixels_small_images_and_one_superpixel():
    assert slic(np.zeros((1, 1, 5))).tolist() == [[0]]
    assert slic(np.zeros((3, 200, 5)), SlicOptions(20)).shape == (3, 200)
    assert slic(np.random.default_rng(0).random((9, 9, 4)), SlicOptions(500)).max() < 81
    assert not slic(np.random.default_rng(0).random((9, 9, 4)), SlicOptions(1)).any()


def test_values_that_are_not_finite_and_zero_spectra_do_not_spread():
    image, truth = quadrants()
    image[2:5, 2:5] = np.nan
    image[30, 50, 3] = np.inf
    image[40:44, 5:9] = 0
    found = slic(image, SlicOptions(50, compactness=0.1))
    assert undersegmentation_error(found, truth) < 0.03


def test_whole_number_and_half_precision_images():
    image, truth = quadrants()
    for dtype in (np.float16, np.float32):
        found = slic(image.astype(dtype), SlicOptions(50, 0.1))
        assert undersegmentation_error(found, truth) < 0.01
    eight_bit = (image / image.max() * 200).clip(0).astype(np.uint8)
    assert undersegmentation_error(slic(eight_bit, SlicOptions(50, 0.1)), truth) < 0.01


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((0, 4, 3)), np.zeros((4, 4, 3), dtype=object)])
def test_other_arrays_are_refused(image):
    with pytest.raises(InvalidData):
        slic(image)


@pytest.mark.parametrize("wrong", [{"segments": 0}, {"compactness": 0.0}, {"sigma_px": -1}, {"sigma_px": np.nan}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError):
        SlicOptions(**wrong)


def test_small_areas_join_the_neighbour_with_the_longest_common_border():
    labels = np.array([[0, 0, 0, 1], [0, 2, 2, 1], [0, 0, 0, 1], [3, 3, 3, 1]])
    joined = join_small(labels, minimum_px=3)
    np.testing.assert_array_equal(joined, [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [2, 2, 2, 1]])


def test_parts_of_one_label_are_areas_of_their_own():
    labels = np.array([[5, 5, 1, 5, 5]])
    assert join_small(labels, minimum_px=1).tolist() == [[0, 0, 1, 2, 2]]
    assert join_small(labels, minimum_px=10).tolist() == [[0] * 5]


@pytest.fixture(scope="module")
def surgical_field(tmp_path_factory):
    """L1-normalised cube of a phantom, its RGB, and its true organs."""
    from PIL import Image as Pillow

    from stroma.images import read_cube
    from stroma.spectra import l1

    folder = tmp_path_factory.mktemp("phantom")
    phantom_hsi(PhantomHsiOptions(output=folder, subjects=1, images=1, height=240, width=320, channels=60))
    cube = read_cube(next(folder.rglob("*_SpecCube.dat")))
    rgb = np.asarray(Pillow.open(next(folder.rglob("*RGB-Image.png"))).convert("RGB"))
    return l1(cube), rgb, np.asarray(Pillow.open(next((folder / "truth").rglob("labels.png"))))


@pytest.mark.parametrize(("of", "compactness"), [("bands", 0.3), ("bands", 0.1), ("rgb", 10.0)])
def test_as_good_as_scikit_image_on_a_surgical_field(surgical_field, of, compactness):
    """Boundary recall and undersegmentation error are no worse, with no more superpixels."""
    cube, rgb, truth = surgical_field
    image = cube if of == "bands" else rgb
    theirs = scikit_image_slic(image, n_segments=500, compactness=compactness, start_label=0, channel_axis=2)
    ours = slic(image, SlicOptions(int(theirs.max()), compactness))
    assert ours.max() <= 1.02 * theirs.max()
    assert boundary_recall(ours, truth) >= boundary_recall(theirs, truth)
    assert undersegmentation_error(ours, truth) <= undersegmentation_error(theirs, truth)


def test_areas_are_connected_by_sides_and_not_by_corners() -> None:
    assert connected_areas(np.array([[0, 1, 1], [1, 0, 1]])).tolist() == [[0, 1, 1], [2, 3, 1]]
