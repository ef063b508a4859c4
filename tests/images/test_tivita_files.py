"""What lies beside a Tivita cube: written here byte by byte and colour by colour."""

import struct

import numpy as np
import pytest
from PIL import Image as Pillow

from stroma.core.errors import InvalidData, MissingFile, UnreadableImage, UsageError
from stroma.images.colour_scale import LOOKUP_ERROR, tivita_colours, tivita_values
from stroma.images.tivita import write_cube
from stroma.images.tivita_files import check_cube, oversaturated, raw_counts, read_dark, read_white
from stroma.images.tivita_rgb import read_camera_rgb, read_parameter_picture, read_tivita_rgb

FRAMES = {(513, 646): (30, 3, 3, 3), (550, 680): (50, 20, 20, 20)}


def test_dark_pattern(tmp_path):
    path = tmp_path / "2021_DarkPattern.dpic"
    path.write_bytes(struct.pack(">2i6d", 2, 3, *range(6)))
    np.testing.assert_array_equal(read_dark(path), [[0, 1, 2], [3, 4, 5]])
    path.write_bytes(struct.pack(">2i5d", 2, 3, *range(5)))
    with pytest.raises(UnreadableImage, match=r"2021_DarkPattern\.dpic: is 48 bytes.*2 rows and 3 channels needs 56"):
        read_dark(path)
    for content in (b"", b"\0\0", struct.pack(">2i", -1, 5), struct.pack(">2i", 2**31 - 1, 2**31 - 1)):
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match="no dark pattern"):
            read_dark(path)


def test_raw_counts_undo_the_correction_of_the_camera(tmp_path):
    rng = np.random.default_rng(0)
    dark, white = rng.uniform(20, 40, (3, 2)), rng.uniform(400, 800, (3, 4, 2)).astype(np.float32)
    counts = rng.integers(100, 1023, (3, 4, 2)).astype(np.float32)
    cube = ((counts - dark[:, None]) / white).astype(np.float32)
    stored = read_white(write_cube(tmp_path / "EqBinWhiteCube.dat", white))
    np.testing.assert_allclose(raw_counts(cube, stored, dark), counts, rtol=1e-5)
    with pytest.raises(InvalidData, match="do not belong together"):
        raw_counts(cube, stored, dark.T)


def test_a_pixel_is_oversaturated_when_any_channel_is_above_the_threshold():
    counts = np.array([[[0, 1000], [1001, 0]]])
    assert oversaturated(counts).tolist() == [[False, True]]


def problems(tmp_path, change, **options):
    cube = np.full((4, 70, 3), 0.5, np.float32)
    change(cube)
    return [
        (problem.check, problem.is_fatal)
        for problem in check_cube(write_cube(tmp_path / "a_SpecCube.dat", cube), **{"shape": (4, 70, 3), **options})
    ]


def put(index, value):
    return lambda cube: cube.__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda cube: None, []),
        (put((1, 69, 2), np.nan), [("not_finite", True)]),
        (put((1, 2, 2), np.inf), [("not_finite", True)]),
        (put((1, 65), 0), [("zero_pixel", True)]),
        (put(slice(None), -1), [("all_negative", True)]),
        (put((1, 2, 0), 0), [("zero_value", False)]),
        (put((1, 2), -1), [("negative_pixel", False)]),
        (put((1, 2, 0), -1), []),
    ],
)
def test_what_is_wrong_with_a_cube(tmp_path, change, found):
    assert problems(tmp_path, change) == found


def test_the_reasons_have_numbers(tmp_path):
    path = write_cube(tmp_path / "a_SpecCube.dat", np.zeros((2, 3, 4)))
    shape, zero = check_cube(path)
    assert shape.reason == "is 3×2×4 (width×height×channels), not 640×480×100 (width×height×channels)"
    assert zero.reason == "6 of 6 pixels are all 0"
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = check_cube(path)
    assert (problem.check, problem.is_fatal) == ("unreadable", True)
    assert "is 107 bytes" in problem.reason


def framed(folder, name, size, inner, value=15):
    top, bottom, left, right = FRAMES[size]
    picture = np.full((*size, 3), value, np.uint8)
    picture[top : size[0] - bottom, left : size[1] - right] = inner
    Pillow.fromarray(picture).save(folder / name)
    return folder / name


@pytest.mark.parametrize("size", FRAMES)
def test_the_frame_is_cut_off_and_must_be_the_cameras(tmp_path, size):
    inner = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_tivita_rgb(framed(tmp_path, "a.png", size, inner)), inner)
    with pytest.raises(InvalidData, match=r"a\.png: has a top border with the value 16"):
        read_tivita_rgb(framed(tmp_path, "a.png", size, inner, value=16))


def test_text_in_the_top_border_is_allowed(tmp_path):
    for size, column in (((513, 646), 10), ((550, 680), 400)):
        path = framed(tmp_path, "a.png", size, 1)
        picture = np.array(Pillow.open(path))
        picture[5, column] = 255
        Pillow.fromarray(picture).save(path)
        assert (read_tivita_rgb(path) == 1).all()


def test_which_picture_is_reconstructed_and_which_is_of_the_sensor(tmp_path):
    cube = tmp_path / "1_SpecCube.dat"

    def save(name, value):
        Pillow.fromarray(np.full((2, 3, 3), value, np.uint8)).save(tmp_path / f"1_{name}.png")

    def seen(kind):
        return read_camera_rgb(cube, 2, 3, kind)[0, 0, 0]

    with pytest.raises(MissingFile, match=r"1_RGB-Image\.png"):
        seen("reconstructed")
    save("RGB-Image", 1)
    assert seen("reconstructed") == 1
    with pytest.raises(MissingFile, match=r"1_RGB-Capture\.png"):
        seen("sensor")
    save("HSI-RGB-Image", 2)
    assert (seen("reconstructed"), seen("sensor")) == (2, 1)
    save("RGB-Capture", 3)
    assert seen("sensor") == 3


def test_the_colour_scale_at_its_stops():
    assert tivita_colours(np.array([0.0, 0.05, 0.4, 1.0, 7.0])).tolist() == [
        [0, 0, 101],
        [0, 0, 138],
        [0, 253, 1],
        [102, 0, 0],
        [102, 0, 0],
    ]


def test_values_come_back_from_their_colours_within_the_stated_error():
    values = np.linspace(0, 1, 20_001).reshape(3, -1)
    found, distance = tivita_values(tivita_colours(values))
    assert np.abs(found - values).max() <= LOOKUP_ERROR
    assert distance.max() <= np.sqrt(3) / 2


def test_a_parameter_picture_gives_values_and_leaves_out_what_is_no_value(tmp_path):
    values = np.random.default_rng(0).random((480, 640))
    colours = tivita_colours(values)
    colours[7, :9] = (90, 90, 90)
    path = framed(tmp_path, "1_Oxygenation.png", (513, 646), colours)
    found = read_parameter_picture(tmp_path / "1_SpecCube.dat", "StO2")
    assert np.isnan(found.values).sum() == 9
    assert np.isnan(found.values[7, :9]).all()
    np.testing.assert_allclose(found.values[8:], values[8:], atol=LOOKUP_ERROR)
    np.testing.assert_array_equal(read_parameter_picture(path).values, found.values)
    with pytest.raises(UsageError, match="no parameter 'StO'.*StO2"):
        read_parameter_picture(tmp_path / "1_SpecCube.dat", "StO")
    with pytest.raises(MissingFile, match=r"1_THI\.png"):
        read_parameter_picture(tmp_path / "1_SpecCube.dat", "THI")
