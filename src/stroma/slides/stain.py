"""Stains of a picture: how much light each absorbs, how much there is of each, and pictures with other amounts.

Tiles of a slide stay comparable when their stains are fitted once, on the slide:

    from stroma import open_image
    from stroma.slides import fit_slide_stains, normalise

    with open_image("slide.svs") as image:
        boxes = polars.read_parquet("tiles/slide.parquet").select("x", "y", "w", "h").to_numpy()
        stains = fit_slide_stains(image, boxes)
        tile = normalise(image.read(*boxes[0]), stains)

For batches of tensors there are the same functions in `stroma.slides.stain_torch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UsageError

_ROWS = 64
_TINY = 1e-12

Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True)
class Stains:
    """The two stains of a picture, haematoxylin first.

    After Beer and Lambert the optical density −ln(value / white) of a pixel is the sum of the stains' vectors,
    each times its concentration.

    Attributes:
        matrix: (2, 3), what a unit of each stain absorbs of red, green and blue; rows have length 1.
        max_concentrations: (2,), 99th percentile of the concentrations, which normalisation makes equal.
        white: Value of a pixel without any stain.
        non_negative: Whether concentrations are the best ones of 0 or more (as Vahadane et al. 2016 have them)
            rather than the best ones of any sign (as Macenko et al. 2009).
    """

    matrix: NDArray[np.float64]
    max_concentrations: NDArray[np.float64]
    white: float = 255.0
    non_negative: bool = False

    def __post_init__(self) -> None:
        matrix, largest = (np.asarray(values, dtype=np.float64) for values in (self.matrix, self.max_concentrations))
        if matrix.shape != (2, 3) or largest.shape != (2,):
            raise UsageError(
                f"two stains need a (2, 3) matrix and 2 concentrations, not {matrix.shape}, {largest.shape}"
            )
        if not (np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix, tol=1e-6) == 2):
            raise UsageError(f"the vectors of the stains are not two different ones: {matrix.tolist()}")
        if not (np.isfinite(largest).all() and (largest > 0).all() and self.white > 0):
            raise UsageError(f"concentrations {largest.tolist()} and white {self.white} have to be above 0")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "max_concentrations", largest)


REFERENCE_STAINS = Stains(np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]), np.array([1.9705, 1.0308]))
"""The customary target of haematoxylin and eosin, also that of HistoPrep and torchstain."""


def optical_density(rgb: NDArray[np.uint8], white: float = 255.0) -> NDArray[np.float32]:
    """−ln(value / white) of uint8 values, with 0 counted as 1; negative for what is brighter than `white`."""
    density: NDArray[np.float32] = _density_table(white)[rgb]
    return density


def concentrations(rgb: NDArray[np.uint8], stains: Stains) -> NDArray[np.float32]:
    """How much there is of each stain in each pixel, by least squares.

    Args:
        rgb: (H, W, 3) uint8.
        stains: Of this picture.

    Returns:
        (H, W, 2); unless they are `non_negative`, slightly negative where a pixel is outside of what the stains mix.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8.
    """
    check_rgb(rgb)
    return unmix(optical_density(rgb, stains.white), stains.matrix, non_negative=stains.non_negative)


def unmix(
    density: NDArray[Real], matrix: NDArray[np.float64], *, non_negative: bool, sparsity: float = 0.0
) -> NDArray[Real]:
    """The concentrations h at the minimum of ½ |v − h w|² + sparsity · |h|₁, exactly.

    Args:
        density: (…, 3), the v.
        matrix: (2, 3), the w, rows of length 1.
        non_negative: Only h ≥ 0 are allowed. Where the minimum over all h has a negative entry, one of the two is 0.
        sparsity: Penalty on concentrations; above 0 only with `non_negative`.

    Returns:
        (…, 2), of the type of `density`.
    """
    if not non_negative:
        unmixed: NDArray[Real] = density @ np.linalg.pinv(matrix).astype(density.dtype)
        return unmixed
    wanted = density @ matrix.T.astype(density.dtype)
    wanted -= sparsity
    cosine = float(matrix[0] @ matrix[1])
    other = wanted[..., ::-1]
    both = (wanted - cosine * other) / max(1 - cosine**2, _TINY)
    alone = np.where(wanted >= other, np.maximum(wanted, 0), 0)
    result: NDArray[Real] = np.where(both.min(axis=-1, keepdims=True) >= 0, both, alone)
    return result


def normalise(rgb: NDArray[np.uint8], source: Stains, target: Stains = REFERENCE_STAINS) -> NDArray[np.uint8]:
    """Give a picture the stains of another (Macenko et al. 2009).

    Its concentrations are scaled so that their 99th percentiles become those of `target`, and mixed with the vectors
    of `target`.

    Args:
        rgb: (H, W, 3) uint8.
        source: Stains of this picture, or of the slide it comes from (so that its tiles remain comparable).
        target: Stains to give it.

    Returns:
        (H, W, 3) uint8, rounded.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8.
    """
    return _restain(rgb, source, target.max_concentrations / source.max_concentrations, target)


def adjust(
    rgb: NDArray[np.uint8], stains: Stains, *, haematoxylin: float = 1.0, eosin: float = 1.0
) -> NDArray[np.uint8]:
    """A picture with more or less of its stains.

    Args:
        rgb: (H, W, 3) uint8.
        stains: Of this picture.
        haematoxylin: Factor on the concentrations of haematoxylin; 0 removes it.
        eosin: Factor on those of eosin.

    Returns:
        (H, W, 3) uint8, rounded. With both factors 1 it is the picture as far as the two stains can mix it.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8, or a factor is negative.
    """
    if not (haematoxylin >= 0 and eosin >= 0):
        raise UsageError(f"the factors on haematoxylin, {haematoxylin}, and eosin, {eosin}, have to be 0 or more")
    return _restain(rgb, stains, np.array([haematoxylin, eosin]), stains)


def separate(rgb: NDArray[np.uint8], stains: Stains) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two pictures (H, W, 3) uint8, one with the haematoxylin of `rgb` alone, one with the eosin; see `adjust`."""
    return adjust(rgb, stains, eosin=0), adjust(rgb, stains, haematoxylin=0)


def check_rgb(rgb: NDArray[np.generic]) -> None:
    """Check that `rgb` is a picture of 8 bit.

    Raises:
        UsageError: it is not (H, W, 3) uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise UsageError(f"stains are those of (H, W, 3) uint8 pictures, not of {rgb.shape} {rgb.dtype}")


def _density_table(white: float) -> NDArray[np.float32]:
    return -np.log(np.maximum(np.arange(256), 1) / white).astype(np.float32)


def _restain(
    rgb: NDArray[np.uint8], source: Stains, factors: NDArray[np.float64], target: Stains
) -> NDArray[np.uint8]:
    """Concentrations times `factors`, mixed with the vectors of `target`; in strips of rows to save memory."""
    check_rgb(rgb)
    exponents = -(factors[:, None] * target.matrix).astype(np.float32)
    result = np.empty_like(rgb)
    for start in range(0, len(rgb), _ROWS):
        light = concentrations(rgb[start : start + _ROWS], source) @ exponents
        np.exp(light, out=light)
        light *= np.float32(target.white)
        result[start : start + _ROWS] = np.minimum(np.rint(light, out=light), np.float32(255))
    return result
