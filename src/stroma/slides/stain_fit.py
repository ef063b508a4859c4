"""Finding the stains of a picture or a slide: Macenko et al. 2009, Vahadane et al. 2016."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.images.image import Image
from stroma.slides.stain import REFERENCE_STAINS, Stains, check_rgb, optical_density, unmix

StainMethod = Literal["macenko", "vahadane"]

TOP_QUANTILE = 0.99
_FEWEST_PIXELS = 10
_ONE_STAIN = 1e-4
MAX_PIXELS = 100_000
_MAX_SLIDE_PIXELS = 1_000_000
ITERATIONS = 500
CONVERGED = 1e-6


def fit_stains(
    rgb: NDArray[np.uint8],
    method: StainMethod = "macenko",
    *,
    mask: NDArray[np.bool_] | None = None,
    min_density: float = 0.15,
    percentile: float = 1.0,
    sparsity: float = 0.1,
    white: float = 255.0,
) -> Stains:
    """Find the haematoxylin and the eosin of a picture.

    Pixels count that absorb enough of red, green and blue each, as in the implementations of both methods. Pure eosin
    hardly absorbs red, so where stains come out too alike, a smaller `min_density` brings them apart.

    `macenko` (Macenko et al. 2009): the optical densities lie in a plane, spanned by the first two axes of their
    covariance; in it, the stains are the directions at the ends of the range of angles. (The covariance is what
    implementations take; with a `min_density` of 0 they are the values of HistoPrep, with `white` 240 those of
    torchstain.)

    `vahadane` (Vahadane et al. 2016): the stains are the two vectors w ≥ 0 of length 1 of which the densities v are
    mixed with the fewest and smallest concentrations h ≥ 0, at the minimum of ½ |v − h w|² + sparsity · |h|₁.

    Args:
        rgb: (H, W, 3) uint8 with tissue; best at 0.25 to 1 µm a pixel, where stains are not yet blended.
        method: `macenko` or `vahadane`.
        mask: (H, W) bool, where the tissue is; elsewhere pixels do not count.
        min_density: Smallest optical density (natural logarithm) of a pixel that counts, in every channel.
        percentile: Of the angles, below and above which they are outliers (`macenko` only).
        sparsity: Penalty on concentrations (`vahadane` only).
        white: Value of a pixel without any stain.

    Returns:
        The stains. Their 99th percentiles are over all pixels of the picture, or of the mask.

    Raises:
        InvalidData: there is no tissue in the picture or the mask, or the tissue has one colour only.
        UsageError: `rgb` is not (H, W, 3) uint8, the mask has another size, or a parameter is out of its range.
    """
    check_rgb(rgb)
    if mask is not None and (mask.shape != rgb.shape[:2] or mask.dtype != np.bool_):
        raise UsageError(f"a mask of {mask.shape} {mask.dtype} does not fit a picture of {rgb.shape[:2]}; it is bool")
    if method not in ("macenko", "vahadane") or not (0 <= percentile < 50 and sparsity >= 0):
        raise UsageError(f"stains cannot be fitted by {method}, percentile {percentile}, sparsity {sparsity}")
    pixels = rgb.reshape(-1, 3) if mask is None else rgb[mask]
    if not len(pixels):
        raise InvalidData("the mask has no tissue", next_step="Fit the stains of a picture with tissue")
    every = optical_density(pixels, white).astype(np.float64)
    density = every[(every >= min_density).all(axis=1)]
    check_two_colours(density.T @ density, len(density), len(every))
    matrix = _macenko(density, percentile) if method == "macenko" else _vahadane(density, sparsity)
    matrix = haematoxylin_first(matrix)
    amounts = unmix(every, matrix, non_negative=method == "vahadane")
    return stains_of(matrix, np.quantile(amounts, TOP_QUANTILE, axis=0), white, non_negative=method == "vahadane")


def fit_slide_stains(
    image: Image,
    boxes: NDArray[np.int64],
    method: StainMethod = "macenko",
    *,
    mpp: float | None = None,
    tiles: int = 32,
    white: float = 255.0,
) -> Stains:
    """Find the stains of a slide from a few of its tiles, spread evenly over all of them, and a million pixels.

    Args:
        image: The slide.
        boxes: (n, 4): x, y, w, h of tiles with tissue in level-0 pixels, as `stroma tile` finds them.
        method: `macenko` or `vahadane`.
        mpp: Resolution to read at; default level 0.
        tiles: How many to read at most.
        white: Value of a pixel without any stain.

    Raises:
        InvalidData: there are no tiles, or they show less than two stains.
        UnreadableImage: the slide is damaged.
    """
    if not len(boxes):
        raise InvalidData("has no tiles to fit stains on", where=image.path)
    chosen = boxes[np.unique(np.linspace(0, len(boxes) - 1, tiles).round().astype(np.int64))]
    read = (image.read(*(int(value) for value in box), mpp=mpp) for box in chosen)
    return fit_tile_stains(read, len(chosen), method, white=white, where=image.path)


def fit_tile_stains(
    tiles: Iterable[NDArray[np.uint8]], count: int, method: StainMethod, *, white: float, where: Path
) -> Stains:
    """Find the stains of `count` RGB tiles together, on at most about a million of their pixels.

    Raises:
        InvalidData: there are no tiles, or they show less than two stains; `where` is named.
    """
    taken = []
    for tile in tiles:
        pixels = tile.reshape(-1, 1, 3)
        step = -(-len(pixels) * count // _MAX_SLIDE_PIXELS) | 1  # odd, so that it is not of every row the same
        taken.append(pixels[::step])
    if not taken:
        raise InvalidData("has no tiles to fit stains on", where=where)
    try:
        return fit_stains(np.concatenate(taken), method, white=white)
    except InvalidData as error:
        raise InvalidData(error.what, where=where, next_step=error.next_step) from error


def check_two_colours(second_moment: NDArray[np.float64], stained: int, pixels: int) -> None:
    """Check that stains can be fitted.

    Args:
        second_moment: (3, 3), sum of the outer products of the densities with themselves, over the stained pixels.
        stained: Number of stained pixels.
        pixels: Number of all pixels.

    Raises:
        InvalidData: too few pixels are stained, or all have one colour.
    """
    if stained < _FEWEST_PIXELS:
        raise InvalidData(
            f"{stained} of {pixels:,} pixels are stained, too few to fit stains",
            next_step="Fit them on a picture with tissue, for example on tiles of the whole slide",
        )
    strengths = np.linalg.eigvalsh(second_moment)
    if strengths[1] < _ONE_STAIN * strengths[2]:
        raise _one_colour()


def haematoxylin_first(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The stain that absorbs more red first."""
    return matrix[::-1] if matrix[0, 0] < matrix[1, 0] else matrix


def stains_of(
    matrix: NDArray[np.float64], largest: NDArray[np.float64], white: float, *, non_negative: bool = False
) -> Stains:
    """Put fitted stains together.

    Raises:
        InvalidData: the two vectors are one, or there is nothing of a stain.
    """
    if not (largest > 0).all() or np.linalg.matrix_rank(matrix, tol=1e-6) < 2:
        raise _one_colour()
    return Stains(matrix, largest, white, non_negative)


def plane_of(covariance: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 2), the first two axes of the densities, pointing to where their mean is."""
    _, axes = np.linalg.eigh(covariance)
    plane = axes[:, [2, 1]]
    result: NDArray[np.float64] = plane * np.where(mean @ plane < 0, -1.0, 1.0)
    return result


def vectors_at(angles: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3), the directions at two angles in a plane (3, 2), from its first axis towards its second."""
    result: NDArray[np.float64] = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T
    return result


def _one_colour() -> InvalidData:
    return InvalidData(
        "the tissue has one colour, so two stains cannot be told apart",
        next_step="Fit the stains of a picture with both haematoxylin and eosin, or use those of another",
    )


def _macenko(density: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """(2, 3), the directions at the percentiles of the angles in the plane of the densities (n, 3)."""
    plane = plane_of(np.cov(density, rowvar=False), density.mean(axis=0))
    along, across = (density @ plane).T
    angles = np.percentile(np.arctan2(across, along), [percentile, 100 - percentile])
    return vectors_at(angles, plane)


def _vahadane(density: NDArray[np.float64], sparsity: float) -> NDArray[np.float64]:
    """(2, 3), by turns the best concentrations, and then each stain (Mairal et al. 2010, algorithm 2)."""
    sample = density[:: -(-len(density) // MAX_PIXELS)]
    stains: NDArray[np.float64] = REFERENCE_STAINS.matrix / np.linalg.norm(
        REFERENCE_STAINS.matrix, axis=1, keepdims=True
    )
    for _ in range(ITERATIONS):
        before = stains
        amounts = unmix(sample, stains, non_negative=True, sparsity=sparsity)
        weights, sums = amounts.T @ amounts, amounts.T @ sample
        if not np.diag(weights).all():
            raise _one_colour()
        stains = stains.copy()
        for j in range(2):
            wanted = np.maximum(stains[j] + (sums[j] - weights[j] @ stains) / weights[j, j], 0)
            stains[j] = wanted / max(float(np.linalg.norm(wanted)), np.finfo(float).tiny)
        if np.abs(stains - before).max() < CONVERGED:
            break
    return stains
