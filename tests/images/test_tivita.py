"""Tivita cubes: expected values come from the byte layout, written here with struct and nothing of ours."""

import struct
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from stroma.core.errors import InvalidData, UnreadableImage, UsageError
from stroma.images.open import open_image
from stroma.images.tivita import TivitaImage, read_cube, tivita_wavelengths, write_cube

WIDTH, HEIGHT, CHANNELS = 5, 4, 3


def value_at(row, column, channel):
    """A value that names its place."""
    return 100 * row + 10 * column + channel


def cube_bytes(width=WIDTH, height=HEIGHT, channels=CHANNELS):
    """The file by its description: columns from the left, rows from the bottom, channels; all big-endian."""
    values = [
        value_at(row, column, channel)
        for column in range(width)
        for row in reversed(range(height))
        for channel in range(channels)
    ]
    return struct.pack(">3i", width, height, channels) + struct.pack(f">{len(values)}f", *values)


@pytest.fixture
def cube_file(tmp_path):
    path = tmp_path / "2021_04_15_09_22_02_SpecCube.dat"
    path.write_bytes(cube_bytes())
    return path


def test_axis_order_height_width_channels_first_row_is_the_last_stored(cube_file):
    cube = read_cube(cube_file)
    assert cube.shape == (HEIGHT, WIDTH, CHANNELS)
    assert cube[0, 0, 0] == 0
    assert cube[3, 0, 0] == 300
    assert cube[0, 4, 2] == 42
    row, column, channel = np.indices(cube.shape)
    np.testing.assert_array_equal(cube, value_at(row, column, channel))


def test_reads_native_contiguous_float32_in_full_precision(tmp_path):
    path = tmp_path / "a_SpecCube.dat"
    path.write_bytes(struct.pack(">3i", 1, 1, 2) + bytes.fromhex("3eaaaaab c0490fdb"))
    cube = read_cube(path)
    assert cube.dtype == np.float32
    assert cube.dtype.isnative
    assert cube.flags.c_contiguous
    np.testing.assert_array_equal(cube.ravel(), np.array([1 / 3, -np.pi], dtype=np.float32))


@pytest.mark.parametrize("box", [(0, 0, 5, 4), (1, 2, 3, 1), (4, 3, 1, 1), (0, 1, 5, 2)])
@pytest.mark.parametrize("channels", [None, slice(1, 3), slice(0, 0), [2, 0], [-1]])
def test_a_region_is_the_crop_of_the_whole(cube_file, box, channels):
    x, y, w, h = box
    whole = read_cube(cube_file)[y : y + h, x : x + w]
    expected = whole if channels is None else whole[:, :, channels]
    part = read_cube(cube_file, x=x, y=y, w=w, h=h, channels=channels)
    assert part.flags.c_contiguous
    np.testing.assert_array_equal(part, expected)


def test_a_cube_larger_than_one_block_of_columns_is_read_whole(tmp_path):
    path = tmp_path / "large_SpecCube.dat"
    cube = np.random.default_rng(1).random((70, 90, 100), dtype=np.float32)
    write_cube(path, cube)
    np.testing.assert_array_equal(read_cube(path), cube)
    np.testing.assert_array_equal(read_cube(path, x=3, w=80), cube[:, 3:83])


def test_written_bytes_are_the_described_layout(tmp_path, cube_file):
    path = tmp_path / "größe #1, @home+_SpecCube.dat"
    assert write_cube(path, read_cube(cube_file)) == path
    assert path.read_bytes() == cube_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint16).reshape(2, 4, 3),
        np.arange(24, dtype=np.float64).reshape(2, 4, 3)[:, ::-1],
        np.arange(24, dtype=np.float16).reshape(3, 4, 2).transpose(2, 1, 0),
    ],
)
def test_any_real_array_is_stored_as_float32(tmp_path, array):
    path = write_cube(tmp_path / "x_SpecCube.dat", array)
    np.testing.assert_array_equal(read_cube(path), array.astype(np.float32))


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex), np.zeros((1, 1, 5000), np.uint8)]
)
def test_what_is_no_cube_is_not_written(tmp_path, array):
    path = tmp_path / "x_SpecCube.dat"
    with pytest.raises(InvalidData):
        write_cube(path, array)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_cube(cube_file):
    with pytest.raises(InvalidData):
        write_cube(cube_file, np.zeros((2, 2)))
    assert cube_file.read_bytes() == cube_bytes()


def test_wrong_size_says_how_large_the_file_is_and_must_be(tmp_path):
    path = tmp_path / "cut_SpecCube.dat"
    path.write_bytes(struct.pack(">3i", 640, 480, 100) + bytes(1012))
    with pytest.raises(UnreadableImage, match=r"is 1,024 bytes, a 640×480×100 cube needs 122,880,012"):
        TivitaImage(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 11,
        cube_bytes()[:-1],
        cube_bytes() + b"\0",
        struct.pack(">3i", -5, -4, 3) + bytes(240),
        struct.pack(">3i", 0, 0, 0),
        struct.pack(">3i", 2**31 - 1, 2**31 - 1, 2**31 - 1) + bytes(8),
        struct.pack("<3i", 5, 4, 3) + bytes(240),
        struct.pack(">3i", 1, 1, 2_000_000) + bytes(8_000_000),
    ],
)
def test_damaged_files_are_unreadable_images(tmp_path, content):
    path = tmp_path / "x_SpecCube.dat"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage):
        read_cube(path)
    with pytest.raises(UnreadableImage):
        open_image(path)


def test_a_region_outside_and_an_unknown_channel_are_usage_errors(cube_file):
    for box in ({"x": 4, "w": 2}, {"y": -1, "h": 2}, {"w": 0}, {"x": 5}):
        with pytest.raises(UsageError, match="not inside the 5×4 cube"):
            read_cube(cube_file, **box)
    with pytest.raises(UsageError, match="no channel 3"):
        read_cube(cube_file, channels=[3])


def test_wavelengths_are_evenly_spaced_from_500_to_1000_nm_inclusive(cube_file):
    wavelengths = tivita_wavelengths()
    assert len(wavelengths) == 100
    assert wavelengths[0] == 500
    assert wavelengths[-1] == 1000
    np.testing.assert_allclose(np.diff(wavelengths), 500 / 99)
    image = open_image(cube_file)
    np.testing.assert_array_equal(image.wavelengths_nm, [500, 750, 1000])
    assert image.channels == ("500.0 nm", "750.0 nm", "1000.0 nm")


def test_outside_is_0_for_cubes(cube_file):
    image = open_image(cube_file)
    part = image.read(x=-1, y=3, w=2, h=2)
    assert part.shape == (2, 2, 3)
    np.testing.assert_array_equal(part[:, 0], 0)
    np.testing.assert_array_equal(part[1], 0)
    np.testing.assert_array_equal(part[0, 1], read_cube(cube_file)[3, 0])


def test_a_folder_with_one_cube_is_an_image(cube_file):
    (cube_file.parent / "._2021_SpecCube.dat").write_bytes(b"left by another system")
    image = open_image(cube_file.parent)
    assert isinstance(image, TivitaImage)
    np.testing.assert_array_equal(image.read(), read_cube(cube_file))


def test_a_folder_with_two_cubes_is_not(cube_file):
    (cube_file.parent / "b_SpecCube.dat").write_bytes(cube_bytes())
    assert not TivitaImage.accepts(cube_file.parent)
    with pytest.raises(UnreadableImage, match="holds 2 files"):
        open_image(cube_file.parent, reader="tivita")


def test_pickled_images_read_the_same(cube_file):
    image = open_image(cube_file, mpp=250.0)
    copy = ForkingPickler.loads(ForkingPickler.dumps(image))
    assert copy.mpp == 250.0
    np.testing.assert_array_equal(copy.read(1, 1, 2, 2), image.read(1, 1, 2, 2))


def test_the_file_can_be_replaced_and_removed_after_reading(cube_file):
    image = open_image(cube_file)
    image.read()
    write_cube(cube_file, np.ones((HEIGHT, WIDTH, CHANNELS)))
    assert image.read().min() == 1
    cube_file.unlink()
    with pytest.raises(UnreadableImage, match="cannot be opened"):
        image.read()
