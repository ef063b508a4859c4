"""Pen ink and folds: what light they absorb, on made-up colours and on the shared slides."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from stroma.core.errors import UsageError
from stroma.images.open import open_image
from stroma.slides.folds import fold_mask
from stroma.slides.overview import read_overview
from stroma.slides.pen_ink import ink_mask, optical_density
from stroma.slides.tissue import smooth_mask, tissue_mask

HISTOPREP = Path(__file__).parents[2].parent / "shared" / "data" / "slides_jpeg_histoprep"
needs_data = pytest.mark.skipif(not HISTOPREP.is_dir(), reason="the shared data are not beside the checkout")

# Ruifrok and Johnston 2001: optical densities of haematoxylin, eosin and DAB
STAINS = {"haematoxylin": (0.65, 0.70, 0.29), "eosin": (0.07, 0.99, 0.11), "dab": (0.27, 0.57, 0.78)}
PENS = {
    "blue": (20, 60, 170),
    "green": (20, 130, 60),
    "red": (215, 30, 25),
    "yellow": (240, 220, 30),
    "black": (20, 20, 22),
}


def painted(*density: float) -> tuple[int, ...]:
    return tuple(round(255 * 10**-d) for d in density)


def with_block(colour: tuple[int, ...], size: int = 20) -> np.ndarray:
    rgb = np.full((60, 60, 3), 240, dtype=np.uint8)
    rgb[20 : 20 + size, 20 : 20 + size] = colour
    return rgb


@pytest.mark.parametrize("pen", PENS)
def test_ink_of_every_colour_is_found(pen: str) -> None:
    mask = ink_mask(with_block(PENS[pen]))
    assert mask[21:39, 21:39].all()
    assert not mask[:18].any()


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0, 1.5])
@pytest.mark.parametrize("mix", ["haematoxylin", "eosin", "dab", "haematoxylin eosin", "haematoxylin dab"])
def test_stains_and_their_mixtures_are_no_ink(mix: str, strength: float) -> None:
    density = strength * np.sum([STAINS[name] for name in mix.split()], axis=0)
    assert not ink_mask(with_block(painted(*density))).any()


def test_single_dark_pixels_are_no_ink() -> None:
    assert not ink_mask(with_block(PENS["black"], size=2)).any()


def test_ink_is_the_same_in_strips_as_whole() -> None:
    rgb = np.tile(with_block(PENS["blue"]), (10, 1, 1))  # 600 rows, over strips of 256
    mask = ink_mask(rgb)
    np.testing.assert_array_equal(mask, np.tile(mask[:60], (10, 1)))


def test_optical_density_of_white_black_and_a_tenth() -> None:
    assert optical_density(np.array([[255, 0, 26]], dtype=np.uint8)) == pytest.approx(
        np.array([[0, 2.40654, 0.99157]]), abs=1e-4
    )


def test_a_band_of_double_thickness_is_a_fold() -> None:
    rng = np.random.default_rng(0)
    stain = np.array(STAINS["haematoxylin"]) * 0.2 + np.array(STAINS["eosin"]) * 0.3
    density = stain * rng.uniform(0.8, 1.2, (200, 200, 1))
    density[90:110] *= 2
    rgb = np.round(255 * 10**-density).astype(np.uint8)
    tissue = np.ones((200, 200), dtype=bool)
    folded = fold_mask(rgb, tissue)
    assert folded[94:106].all()
    assert not folded[:80].any()
    assert not folded[120:].any()
    assert not fold_mask(rgb[:80], tissue[:80]).any()
    assert not fold_mask(rgb, np.zeros_like(tissue)).any()


def test_images_that_are_no_rgb_are_refused() -> None:
    with pytest.raises(UsageError, match="uint8"):
        ink_mask(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(UsageError, match="one size"):
        fold_mask(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((5, 4), dtype=bool))


def test_smoothing_removes_threads_and_gaps_and_keeps_areas() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[10:50, 10:50] = True
    mask[30, 50:] = True  # a thread of one pixel
    mask[10:50, 29] = False  # a gap of one pixel
    smooth = smooth_mask(mask, 3)
    assert not smooth[30, 55:].any()
    assert smooth[20:40, 29].all()
    assert abs(int(smooth.sum()) - 1600) < 60
    np.testing.assert_array_equal(smooth_mask(mask, 0), mask)
    assert smooth_mask(np.ones((5, 5), dtype=bool), 2).all()
    assert not smooth_mask(np.zeros((5, 5), dtype=bool), 2).any()


@needs_data
def test_the_ink_on_the_shared_slide_is_found_and_none_elsewhere() -> None:
    """The blue blot covers columns 3,640 to 4,030 below row 680, the black drops lie at columns 4,050 to 4,610."""
    with open_image(HISTOPREP / "slide_with_ink.jpeg") as image:
        overview = read_overview(image, 2048)
    mask = ink_mask(overview.rgb)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) * 3 for axis in (1, 0))  # 3 level-0 pixels a pixel
    assert 0.005 < mask.mean() < 0.01
    assert columns.min() > 3600
    assert columns.max() < 4700
    assert mask[800 // 3 : 900 // 3, 3800 // 3 : 3900 // 3].mean() > 0.95
    assert mask[340 // 3 : 440 // 3, 4050 // 3 : 4300 // 3].any()
    assert rows.min() > 300
    for name in ("slide", "tma_spots"):
        with open_image(HISTOPREP / f"{name}.jpeg") as image:
            assert not ink_mask(read_overview(image, 2048).rgb).any()


@needs_data
def test_hardly_any_fold_is_found_where_there_is_none() -> None:
    with open_image(HISTOPREP / "slide.jpeg") as image:
        rgb = read_overview(image, 1024).rgb
    _, tissue = tissue_mask(rgb)
    assert fold_mask(rgb, tissue).mean() < 0.002


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_smoothing_is_closing_and_opening_by_a_disc(radius: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(radius).normal(size=(70, 90)), 2.0)
    mask = noise > 0
    place = np.arange(-radius, radius + 1)
    disc = place[:, None] ** 2 + place[None, :] ** 2 <= radius**2
    padded = np.pad(mask, 4 * radius, mode="edge")
    expected = ndimage.binary_opening(ndimage.binary_closing(padded, disc), disc)
    inner = slice(4 * radius, -4 * radius)
    np.testing.assert_array_equal(smooth_mask(mask, radius), expected[inner, inner])
