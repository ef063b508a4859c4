"""Stains: HistoPrep's and torchstain's values on real pictures, and pictures mixed of known stains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import nnls

from stroma.core.errors import InvalidData, UsageError
from stroma.images.open import open_image
from stroma.slides.stain import (
    REFERENCE_STAINS,
    Stains,
    adjust,
    concentrations,
    normalise,
    optical_density,
    separate,
    unmix,
)
from stroma.slides.stain_fit import StainMethod, fit_slide_stains, fit_stains
from stroma.slides.tissue import tissue_mask

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PAIR = DATA / "stain_pair_torchstain"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not beside the checkout")

TRUTH = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])
TRUTH /= np.linalg.norm(TRUTH, axis=1, keepdims=True)
METHODS: tuple[StainMethod, ...] = ("macenko", "vahadane")


def picture(
    amounts: NDArray[np.float64], vectors: NDArray[np.float64] = TRUTH, white: float = 255.0
) -> NDArray[np.uint8]:
    """What concentrations (H, W, 2) of the stains `vectors` look like."""
    return np.clip(np.rint(white * np.exp(-amounts @ vectors)), 0, 255).astype(np.uint8)


def mixed(size: int = 120, seed: int = 0) -> NDArray[np.float64]:
    """Concentrations of nuclei, stroma and glass: a fifth of the pixels pure haematoxylin, a fifth pure eosin."""
    generator = np.random.default_rng(seed)
    amounts = generator.uniform(0.8, 1.8, (size, size, 2))
    kind = generator.integers(0, 5, (size, size))
    amounts[kind == 0, 1] = 0
    amounts[kind == 1, 0] = 0
    amounts[kind == 4] = 0
    return amounts


def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.asarray(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


@needs_data
def test_without_a_smallest_density_the_stains_are_those_of_histoprep() -> None:
    slide = Image.open(DATA / "slides_jpeg_histoprep" / "slide.jpeg").convert("RGB")
    crop = np.asarray(slide.resize((625, 625), Image.Resampling.NEAREST))[:500, :500]
    stains = fit_stains(crop, min_density=0)
    np.testing.assert_allclose(stains.matrix, [[0.7248, 0.6016, 0.3358], [0.0147, 0.8331, 0.5529]], atol=1e-4)
    mean = normalise(crop, stains).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(mean, [192.143 + 0.5, 151.081 + 0.5, 179.082 + 0.5], atol=0.02)  # it truncates


@needs_data
def test_in_the_tissue_the_stains_are_those_of_histoprep() -> None:
    slide = Image.open(DATA / "slides_jpeg_histoprep" / "slide.jpeg").convert("RGB")
    crop = np.asarray(slide.resize((625, 625), Image.Resampling.NEAREST))[:500, :500]
    _, mask = tissue_mask(crop, multiplier=1.0)
    assert np.count_nonzero(mask) == 184158
    stains = fit_stains(crop, mask=mask, min_density=0)
    np.testing.assert_allclose(stains.matrix, [[0.5260, 0.7268, 0.4417], [0.0356, 0.8126, 0.5818]], atol=6e-5)


@needs_data
@pytest.mark.parametrize(
    ("white", "source", "target", "mean"),
    [  # torchstain 1.4.1, NumPy back end, Io = white: vectors and 99th percentiles of both, mean of the result
        (
            240,
            ([[0.66701634, 0.72534962, 0.17016796], [0.35669254, 0.9168908, 0.17911366]], [1.19948822, 1.1541338]),
            ([[0.72163719, 0.66203828, 0.20234891], [0.34971436, 0.91014126, 0.22213227]], [1.7769213, 0.73885624]),
            [209.72933477, 187.33564771, 223.44084256],
        ),
        (
            255,
            ([[0.66001053, 0.72822246, 0.1846027], [0.31453329, 0.92832471, 0.198197]], [1.37351041, 1.02622837]),
            ([[0.71308565, 0.66408114, 0.22473338], [0.48369372, 0.84018389, 0.24521708]], [1.6473546, 1.0908604]),
            [184.69880606, 159.75048086, 218.52445346],
        ),
    ],
)
def test_macenko_equals_torchstain(
    white: float,
    source: tuple[list[list[float]], list[float]],
    target: tuple[list[list[float]], list[float]],
    mean: list[float],
) -> None:
    fitted = []
    for name, (matrix, largest) in (("source", source), ("target", target)):
        rgb = np.asarray(Image.open(PAIR / f"{name}.png").convert("RGB"))
        brighter = np.minimum(rgb.astype(int) + 1, 255).astype(np.uint8)  # torchstain adds 1 to avoid ln 0
        fitted.append((brighter, fit_stains(brighter, white=white)))
        np.testing.assert_allclose(fitted[-1][1].matrix, matrix, atol=1e-7)
        np.testing.assert_allclose(fitted[-1][1].max_concentrations, largest, atol=1e-4)
    result = normalise(fitted[0][0], fitted[0][1], fitted[1][1])
    np.testing.assert_allclose(result.reshape(-1, 3).mean(axis=0), np.add(mean, 0.5), atol=0.3)  # it truncates


@pytest.mark.parametrize("method", METHODS)
def test_the_stains_that_a_picture_is_mixed_of_are_found(method: StainMethod) -> None:
    amounts = mixed()
    stains = fit_stains(picture(amounts), method, sparsity=1e-3)
    assert (angle_deg(stains.matrix, TRUTH) < 2).all()
    np.testing.assert_allclose(np.linalg.norm(stains.matrix, axis=1), 1, atol=1e-9)
    largest = np.quantile(amounts.reshape(-1, 2), 0.99, axis=0)
    np.testing.assert_allclose(stains.max_concentrations, largest, rtol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_in_other_stains_and_paler_is_normalised_to_the_same(method: StainMethod) -> None:
    amounts = mixed()
    wanted = picture(amounts)
    other = np.array([[0.55, 0.75, 0.37], [0.20, 0.90, 0.38]])
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    given = picture(0.7 * amounts, other)
    truth = Stains(TRUTH, np.quantile(amounts.reshape(-1, 2), 0.99, axis=0))
    result = normalise(given, fit_stains(given, method, sparsity=1e-3), truth)
    before, after = (np.abs(image.astype(int) - wanted).mean() for image in (given, result))
    assert after < 4 < 20 < before


def test_normalising_to_its_own_stains_changes_nothing() -> None:
    rgb = picture(mixed())
    stains = Stains(TRUTH, np.array([1.5, 1.5]))
    assert np.abs(normalise(rgb, stains, stains).astype(int) - rgb).max() <= 1


def test_glass_stays_white() -> None:
    glass = np.full((4, 4, 3), 255, dtype=np.uint8)
    assert (normalise(glass, Stains(TRUTH, np.array([1.0, 2.0]))) == 255).all()


def test_concentrations_are_those_mixed() -> None:
    amounts = mixed()
    found = concentrations(picture(amounts), Stains(TRUTH, np.array([1.0, 1.0])))
    assert found.dtype == np.float32
    assert np.abs(found - amounts).max() < 0.07  # 8 bit: one grey level of about 25 is a density of 0.04


def test_separated_stains_multiply_to_the_picture() -> None:
    rgb = picture(mixed())
    stains = Stains(TRUTH, np.array([1.5, 1.5]))
    blue, pink = separate(rgb, stains)
    together = optical_density(blue) + optical_density(pink)
    assert np.abs(together - optical_density(rgb)).max() < 0.1
    pure = mixed()[..., 1] == 0
    assert pink[pure].min() >= 250  # nothing of eosin where there is none


def test_a_stain_can_be_made_stronger() -> None:
    amounts = mixed()
    stains = Stains(TRUTH, np.array([1.0, 1.0]))
    result = adjust(picture(amounts), stains, haematoxylin=0.5, eosin=1.5)
    assert np.abs(result.astype(int) - picture(amounts * [0.5, 1.5])).max() <= 6
    assert np.abs(adjust(picture(amounts), stains).astype(int) - picture(amounts)).max() <= 1


def test_concentrations_of_0_or_more_are_those_of_scipy() -> None:
    density = np.random.default_rng(0).normal(0.3, 0.6, (300, 3))
    expected = np.array([nnls(TRUTH.T, pixel)[0] for pixel in density])
    np.testing.assert_allclose(unmix(density, TRUTH, non_negative=True), expected, atol=1e-9)


def test_vahadane_reaches_the_minimum_that_scikit_learn_finds() -> None:
    from sklearn.decomposition import DictionaryLearning

    rgb = picture(np.random.default_rng(1).gamma(1.5, 0.5, (20, 25, 2)))
    density = optical_density(rgb).reshape(-1, 3).astype(np.float64)
    density = density[(density >= 0.15).all(axis=1)]
    learned = DictionaryLearning(
        2, alpha=0.1, max_iter=200, fit_algorithm="cd", transform_algorithm="lasso_cd", transform_alpha=0.1,
        positive_code=True, positive_dict=True, dict_init=REFERENCE_STAINS.matrix, random_state=0, tol=1e-8,
        code_init=np.ones((len(density), 2)),
    ).fit(density)  # fmt: skip

    def cost(matrix: NDArray[np.float64]) -> float:
        amounts = unmix(density, matrix, non_negative=True, sparsity=0.1)
        return float((0.5 * (density - amounts @ matrix) ** 2).sum() + 0.1 * amounts.sum())

    stains = fit_stains(rgb, "vahadane")
    assert cost(stains.matrix) <= cost(learned.components_) * (1 + 1e-6)
    assert (stains.matrix >= 0).all()
    assert stains.non_negative
    assert concentrations(rgb, stains).min() == 0


def test_the_stain_with_more_red_is_haematoxylin() -> None:
    for method in METHODS:
        for amounts in (mixed(), mixed()[..., ::-1]):
            matrix = fit_stains(picture(amounts), method).matrix
            assert matrix[0, 0] > matrix[1, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [255, 0, 128])
def test_a_tile_of_one_shade_has_no_stains(method: StainMethod, value: int) -> None:
    with pytest.raises(InvalidData, match="too few to fit|one colour"):
        fit_stains(np.full((40, 40, 3), value, dtype=np.uint8), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_gray_picture_has_no_stains(method: StainMethod) -> None:
    shades = np.random.default_rng(0).integers(20, 230, (60, 60, 1)).astype(np.uint8)
    with pytest.raises(InvalidData, match="one colour"):
        fit_stains(np.repeat(shades, 3, axis=2), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_of_one_stain_is_refused(method: StainMethod) -> None:
    amounts = np.random.default_rng(0).uniform(0.5, 1.0, (60, 60, 2)) * [1.0, 0.0]
    with pytest.raises(InvalidData, match="one colour"):
        fit_stains(picture(amounts, np.array([[0.577, 0.577, 0.577], TRUTH[1]])), method)


def test_an_empty_mask_and_one_of_another_size_are_refused() -> None:
    rgb = picture(mixed())
    with pytest.raises(InvalidData, match="no tissue"):
        fit_stains(rgb, mask=np.zeros(rgb.shape[:2], dtype=bool))
    with pytest.raises(UsageError, match="does not fit"):
        fit_stains(rgb, mask=np.ones((3, 3), dtype=bool))


@pytest.mark.parametrize("rgb", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_picture_is_refused(rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="pictures"):
        fit_stains(rgb)
    with pytest.raises(UsageError, match="pictures"):
        normalise(rgb, REFERENCE_STAINS)


def test_stains_that_cannot_be_are_refused() -> None:
    for matrix, largest in ((TRUTH[[0, 0]], [1, 1]), (TRUTH, [1, 0]), (TRUTH * np.nan, [1, 1]), (TRUTH.T, [1, 1])):
        with pytest.raises(UsageError):
            Stains(np.asarray(matrix), np.asarray(largest))
    with pytest.raises(UsageError, match="0 or more"):
        adjust(picture(mixed()), REFERENCE_STAINS, eosin=-1)
    with pytest.raises(UsageError, match="percentile 50"):
        fit_stains(picture(mixed()), percentile=50)


def test_the_stains_of_a_slide_come_from_tiles_all_over_it(tmp_path: Path) -> None:
    Image.fromarray(picture(mixed(200))).save(tmp_path / "slide.png")
    boxes = np.array([(x, y, 50, 50) for y in range(0, 200, 50) for x in range(0, 200, 50)])
    with open_image(tmp_path / "slide.png") as image:
        stains = fit_slide_stains(image, boxes, tiles=6)
        assert (angle_deg(stains.matrix, TRUTH) < 2).all()
        with pytest.raises(InvalidData, match=r"slide\.png.*no tiles"):
            fit_slide_stains(image, boxes[:0])
    Image.fromarray(np.full((60, 60, 3), 255, np.uint8)).save(tmp_path / "white.png")
    with open_image(tmp_path / "white.png") as image, pytest.raises(InvalidData, match=r"white\.png"):
        fit_slide_stains(image, boxes[:1])
