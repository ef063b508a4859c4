"""Colour checkers painted with known chips: turned, near and far, from the side, in other light, with noise."""

import numpy as np
import pytest
from scipy import ndimage

from stroma.core.errors import InvalidData, UsageError
from stroma.spectra.colour_boards import BOARDS
from stroma.spectra.colour_checker import find_colour_checker
from stroma.spectra.colour_lattice import fit_homography, project

CLASSIC = BOARDS["cc_classic"].rgb[0]
PER_CHIP = 60  # pixels of a lattice step when painted flat


def flat(colours=CLASSIC, gap=0.14, first=1):
    """A field painted flat: the picture and its mask of chips, with a dark frame of half a chip around it."""
    rows, columns = colours.shape[:2]
    picture = np.full(((rows + 1) * PER_CHIP, (columns + 1) * PER_CHIP, 3), 25.0)
    mask = np.zeros(picture.shape[:2], np.uint8)
    for row in range(rows):
        for column in range(columns):
            low = [round((place + 0.5 + gap / 2) * PER_CHIP) for place in (row, column)]
            high = [round((place + 1.5 - gap / 2) * PER_CHIP) for place in (row, column)]
            area = slice(low[0], high[0]), slice(low[1], high[1])
            picture[area] = colours[row, column]
            mask[area] = first + row * columns + column
    return picture, mask


def photographed(picture, mask, *, angle=0.0, width=400.0, tilt=(0.0, 0.0), size=(480, 640), light=None, seed=0):
    """A photograph of a flat board on a cloth: turned by `angle` degrees, `width` pixels wide, tilted."""
    rng = np.random.default_rng(seed)
    h, w = picture.shape[:2]
    turn = np.deg2rad(angle)
    scale = width / w
    rotate = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    centre = np.array([[1, 0, -w / 2], [0, 1, -h / 2], [0, 0, 1]])
    place = np.array([[scale, 0, size[1] / 2 + 7], [0, scale, size[0] / 2 - 5], [0, 0, 1]])
    perspective = np.array([[1, 0, 0], [0, 1, 0], [tilt[0] / w, tilt[1] / h, 1]])
    back = np.linalg.inv(place @ rotate @ perspective @ centre)
    y, x = np.mgrid[: size[0], : size[1]]
    source = project(back, np.stack([x, y], -1).astype(float))
    cloth = ndimage.gaussian_filter(rng.random(size), 3)
    cloth = 70 + 500 * (cloth - cloth.mean())
    photo = np.empty((*size, 3))
    inside = (source[..., 0] >= 0) & (source[..., 0] <= w - 1) & (source[..., 1] >= 0) & (source[..., 1] <= h - 1)
    for channel in range(3):
        smooth = ndimage.gaussian_filter(picture[:, :, channel], 0.6 / scale)
        sampled = ndimage.map_coordinates(smooth, source[..., ::-1].transpose(2, 0, 1), order=1)
        photo[:, :, channel] = np.where(inside, sampled, cloth * (1.0, 1.2, 1.0)[channel])
    truth = ndimage.map_coordinates(mask, source[..., ::-1].transpose(2, 0, 1), order=0)
    truth[~inside] = 0
    shade = 1 - 0.25 * x / size[1]
    photo = photo * shade[..., None] * (np.ones(3) if light is None else np.array(light))
    photo += rng.normal(0, 2, photo.shape)
    return np.clip(photo, 0, 255).astype(np.uint8), truth


def check(found, truth):
    """Every chip has a mask, all of it inside the true chip, and at least a third of that."""
    mask = found.mask(*truth.shape)
    for chip in range(1, int(truth.max()) + 1):
        of_chip = truth[mask == chip]
        assert of_chip.size, f"chip {chip} has no mask"
        assert (of_chip == chip).mean() > 0.995, f"chip {chip} lies on {np.unique(of_chip)}"
        assert of_chip.size > (truth == chip).sum() / 3
    assert mask.max() == truth.max()


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133, 180, 270, 301])
def test_turned_by_any_angle(angle):
    photo, truth = photographed(*flat(), angle=angle)
    found = find_colour_checker(photo)
    assert found.likeness > 0.95
    check(found, truth)


@pytest.mark.parametrize("width", [120, 250, 600])
def test_near_and_far(width):
    check(find_colour_checker((p := photographed(*flat(), width=width))[0]), p[1])


@pytest.mark.parametrize("tilt", [(0.35, 0.0), (0.0, 0.4), (-0.3, 0.25)])
def test_from_the_side(tilt):
    photo, truth = photographed(*flat(), tilt=tilt, angle=20)
    check(find_colour_checker(photo), truth)


@pytest.mark.parametrize("light", [(1.0, 0.7, 0.5), (0.4, 0.4, 0.4), (0.8, 1.0, 1.2)])
def test_in_other_light(light):
    photo, truth = photographed(*flat(), light=light, seed=3)
    check(find_colour_checker(photo), truth)


@pytest.mark.parametrize("gap", [0.06, 0.14, 0.4])
def test_narrow_and_wide_frames(gap):
    photo, truth = photographed(*flat(gap=gap), width=480)
    check(find_colour_checker(photo), truth)


def test_chips_that_are_covered_follow_from_the_others():
    picture, mask = flat()
    picture[:90, :200] = 128  # a finger over the first two chips
    photo, truth = photographed(picture, mask)
    found = find_colour_checker(photo)
    assert found.chips_seen < 24
    check(found, truth)


def test_a_large_photograph():
    picture, mask = flat()
    photo, truth = photographed(picture, mask, width=1600, size=(1500, 2000), angle=8)
    check(find_colour_checker(photo), truth)


@pytest.mark.parametrize("angle", [0, 90, 185])
def test_a_passport_has_two_fields(angle):
    fields = [flat(np.rot90(colours), first=1) for colours in BOARDS["cc_passport"].rgb]
    masks = [np.rot90(np.arange(1, 25).reshape(4, 6)), np.rot90(np.arange(25, 49).reshape(4, 6))]
    for (_, mask), numbers in zip(fields, masks, strict=True):
        mask[...] = np.concatenate([[0], numbers.ravel()])[mask]
    picture = np.concatenate([fields[0][0], fields[1][0]], axis=1)
    mask = np.concatenate([fields[0][1], fields[1][1]], axis=1)
    photo, truth = photographed(picture, mask, angle=angle, width=440)
    found = find_colour_checker(photo, "cc_passport")
    assert len(found.corners) == 48
    check(found, truth)


def test_none_is_said():
    rng = np.random.default_rng(0)
    cloth = ndimage.gaussian_filter(rng.integers(0, 256, (200, 300, 3)).astype(float), (4, 4, 0))
    with pytest.raises(InvalidData, match="photo.png: shows no colour checker cc_classic"):
        find_colour_checker(cloth.astype(np.uint8), where="photo.png")
    grid, _ = flat(rng.permutation(CLASSIC.reshape(-1, 3)).reshape(4, 6, 3))
    with pytest.raises(InvalidData, match="none with its colours"):
        find_colour_checker(photographed(grid, np.zeros(grid.shape[:2], np.uint8))[0])
    with pytest.raises(UsageError, match="no colour checker 'cc_clasic'.*Did you mean 'cc_classic'"):
        find_colour_checker(np.zeros((9, 9, 3), np.uint8), "cc_clasic")


def test_a_homography_is_found_in_spite_of_a_stray_point():
    matrix = np.array([[40, 3, 20], [-2, 38, 30], [0.01, 0.02, 1]])
    places = np.stack(np.meshgrid(np.arange(6.0), np.arange(4.0)), -1).reshape(-1, 2)
    centres = project(matrix, places)
    centres[5] += 25
    np.testing.assert_allclose(fit_homography(places, centres), matrix, atol=1e-6)
