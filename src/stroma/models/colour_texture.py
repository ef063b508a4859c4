"""`colour-texture`: a tile's colour and texture as classical descriptors, without a network and without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.images.image import resize_area

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PATTERNS = ((8, 1), (16, 2))  # (points, radius in pixels)
_SCALES_PX = (1, 2, 4)
_TISSUE_DENSITY = 0.15
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

_STATISTICS = ("mean", "std", *(f"q{round(100 * q):02d}" for q in _QUANTILES))
FEATURE_NAMES: tuple[str, ...] = (
    *(f"od_{channel}_{s}" for channel in ("red", "green", "blue") for s in _STATISTICS),
    *(f"{stain}_{s}" for stain in ("haematoxylin", "eosin", "dab") for s in _STATISTICS),
    "tissue",
    *(f"lbp_p{points}_r{radius}_{i}" for points, radius in _PATTERNS for i in range(points + 2)),
    *(f"edge_{scale}px_{s}" for scale in _SCALES_PX for s in ("mean", "std")),
)
"""What each number of a feature vector is, in order."""


class ColourTexture:
    """An encoder made of classical descriptors: a baseline that runs anywhere and whose every number can be read.

    A vector holds, in the order of `FEATURE_NAMES`:

    * mean, standard deviation and five quantiles (5, 25, 50, 75, 95 %) of the optical density -log10(I / 255) of red,
      green and blue (0 to 2.41; Beer-Lambert; Ruifrok and Johnston, Anal Quant Cytol Histol 23, 2001);
    * the same of haematoxylin, eosin and DAB after colour deconvolution with the stain vectors of that paper, in the
      units of `skimage.color.rgb2hed`;
    * the fraction of pixels that hold tissue: mean optical density over 0.15;
    * histograms of rotation-invariant uniform local binary patterns of the brightness at (8 points, radius 1 px) and
      (16 points, radius 2 px), each summing to 1 (Ojala, Pietikäinen and Mäenpää, IEEE TPAMI 24(7), 2002);
    * mean and standard deviation of the length of the brightness gradient (Gaussian derivative, brightness 0 to 1) at
      scales of 1, 2 and 4 px: energy of fine, middle and coarse edges.

    All are means over pixels, so they do not depend on the tile's size, but they do depend on its resolution and on
    stain and scanner. The result is deterministic.

    Args:
        input_px: Side to which tiles are resized first (area averaging); by default they keep their size.
    """

    name = "colour-texture"
    dim = len(FEATURE_NAMES)
    mpp: float | None = None

    def __init__(self, input_px: int | None = None) -> None:
        self.side = input_px
        self.identity: Mapping[str, Any] = {"name": self.name, "version": 1, "input_px": input_px}

    def __call__(self, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Describe RGB tiles, each (h, w, 3) uint8, as (len(tiles), 77) float32.

        Raises:
            InvalidData: a tile is no RGB image of 8 bit.
        """
        with stage("forward"):
            rows = [
                describe(tile if self.side is None else resize_area(tile, self.side, self.side)) for tile in tiles
            ]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dim)


def describe(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The descriptors of one RGB tile (h, w, 3) uint8 as (77,) float32; see `ColourTexture`.

    Raises:
        InvalidData: the tile is no RGB image of 8 bit.
    """
    if tile.ndim != 3 or tile.shape[2] != 3 or tile.dtype != np.uint8:
        raise InvalidData(f"colour-texture describes RGB images of 8 bit, not {tile.dtype} of shape {tile.shape}")
    from skimage.color import rgb2hed  # takes a second, and other encoders do without

    density = _channels_first(optical_density(tile))
    stains = _channels_first(rgb2hed(tile))
    brightness = (tile @ _LUMA).astype(np.float32)
    return np.concatenate(
        [
            _statistics(density),
            _statistics(stains),
            [np.mean(density.mean(axis=0) > _TISSUE_DENSITY)],
            *(_pattern_histogram(np.rint(brightness).astype(np.uint8), p, r) for p, r in _PATTERNS),
            *(_edge_energy(brightness / 255, scale) for scale in _SCALES_PX),
        ]
    ).astype(np.float32)


def optical_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density -log10(I / 255) of 8-bit values, 0 counted as 1: 0 for white, 2.41 for black."""
    table = -np.log10(np.maximum(np.arange(256), 1) / 255)
    density: NDArray[np.float32] = table.astype(np.float32)[image]
    return density


def _channels_first(image: NDArray[Any]) -> NDArray[np.float32]:
    """(h, w, 3) as (3, h * w) float32."""
    return np.ascontiguousarray(image.reshape(-1, 3).T, dtype=np.float32)


def _statistics(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean, standard deviation and quantiles of each row of (3, n), one row after the other: (21,)."""
    columns = [values.mean(axis=1), values.std(axis=1), *np.quantile(values, _QUANTILES, axis=1)]
    return np.stack(columns, axis=1).astype(np.float32).ravel()


def _pattern_histogram(brightness: NDArray[np.uint8], points: int, radius: int) -> NDArray[np.float64]:
    """Share of each of the `points` + 2 uniform rotation-invariant patterns; the shares sum to 1."""
    from skimage.feature import local_binary_pattern

    padded = np.pad(brightness, radius, mode="edge")  # scikit-image takes what lies outside for black
    codes = local_binary_pattern(padded, points, radius, method="uniform").astype(np.intp)
    codes = codes[radius:-radius, radius:-radius]
    shares: NDArray[np.float64] = np.bincount(codes.ravel(), minlength=points + 2) / codes.size
    return shares


def _edge_energy(brightness: NDArray[Any], scale_px: float) -> list[float]:
    """Mean and standard deviation of the gradient's length at a scale."""
    length = ndimage.gaussian_gradient_magnitude(brightness, scale_px, mode="nearest")
    return [float(length.mean()), float(length.std())]
