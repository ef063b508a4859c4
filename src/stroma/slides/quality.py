"""What a tile looks like in numbers: the 67 metrics of HistoPrep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import UsageError
from stroma.slides.tissue import gaussian_blur, gray

CHANNELS = ("gray", "red", "green", "blue", "hue", "saturation", "brightness")
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
METRIC_COLUMNS: tuple[str, ...] = (
    "background",
    "black_pixels",
    "white_pixels",
    "laplacian_std",
    *(f"{channel}_{statistic}" for channel in CHANNELS for statistic in ("mean", "std")),
    *(f"{channel}_q{int(100 * q)}" for channel in CHANNELS for q in QUANTILES),
)
"""Names of the metrics, in HistoPrep's order: four of the whole tile, then means, deviations and quantiles."""

SHARPNESS_COLUMNS = ("tenengrad", "laplacian_variance")

_SHAPE = (64, 64)
_CHUNK = 65_536
_ROWS = 32
_FEW_TISSUE_PIXELS = 10
_HSV_BITS = 12
_SPAN = np.maximum(np.arange(256), 1)
_SATURATION_OF = np.rint((255 << _HSV_BITS) / _SPAN).astype(np.int32)
_HUE_OF = np.rint((180 << _HSV_BITS) / (6.0 * _SPAN)).astype(np.int32)


def tile_metrics(rgb: NDArray[np.uint8], threshold: int) -> dict[str, float | int]:
    """The metrics of one tile, equal to those of HistoPrep 2.0.5.

    `background`, `black_pixels` and `white_pixels` are fractions of the tile, 0-1: what is paler than the tissue
    threshold after a Gaussian blur of 1 px, and what has gray 0 and 255. `laplacian_std` is the standard deviation
    of the four-neighbour Laplacian of gray. The others describe a sample of 64 × 64 pixels, in gray levels (hue
    0-179): mean and standard deviation of all of them, quantiles of those on tissue, or of all where fewer than
    10 are.

    Args:
        rgb: The tile, (H, W, 3) uint8.
        threshold: Tissue threshold of its slide, 0-255.

    Returns:
        Value of each of `METRIC_COLUMNS`, in that order; quantiles are int.

    Raises:
        UsageError: `rgb` is not (H, W, 3) uint8 or is empty, or the threshold is out of its range.
    """
    shades, tissue = _gray_and_tissue(rgb, threshold)
    return _metrics(rgb, shades, tissue, laplacian(shades))


def tile_quality(rgb: NDArray[np.uint8], threshold: int) -> dict[str, float | int | None]:
    """The metrics of one tile and how sharp its tissue is.

    `tenengrad` is the mean squared gradient after Sobel (Tenenbaum 1970), `laplacian_variance` the variance of the
    Laplacian (Pech-Pacheco et al. 2000), both of gray over the tissue. Both fall with blur, and both depend on the
    resolution and on the tissue, so they serve to compare tiles of one resolution.

    Args:
        rgb: The tile, (H, W, 3) uint8.
        threshold: Tissue threshold of its slide, 0-255.

    Returns:
        Value of each of `METRIC_COLUMNS`, then of `SHARPNESS_COLUMNS`, which are None without tissue.

    Raises:
        UsageError: as `tile_metrics`.
    """
    shades, tissue = _gray_and_tissue(rgb, threshold)
    curvature = laplacian(shades)
    metrics = _metrics(rgb, shades, tissue, curvature)
    count = int(np.count_nonzero(tissue))
    if not count:
        return {**metrics, "tenengrad": None, "laplacian_variance": None}
    _, deviation = moments(np.multiply(curvature, tissue), count)
    return {**metrics, "tenengrad": _tenengrad(shades, tissue, count), "laplacian_variance": deviation**2}


def _gray_and_tissue(rgb: NDArray[np.uint8], threshold: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise UsageError(f"a tile is (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    if not 0 <= threshold <= 255:
        raise UsageError(f"the tissue threshold {threshold} is outside 0 to 255")
    shades = gray(rgb)
    return shades, gaussian_blur(shades, 1.0) <= threshold


def _metrics(
    rgb: NDArray[np.uint8], shades: NDArray[np.uint8], tissue: NDArray[np.bool_], curvature: NDArray[np.int16]
) -> dict[str, float | int]:
    _, deviation = moments(curvature)
    result: dict[str, float | int] = {
        "background": round(1 - _fraction(tissue), 3),
        "black_pixels": _fraction(shades == 0),
        "white_pixels": _fraction(shades == 255),
        "laplacian_std": deviation,
    }
    sample = _sample(rgb)
    planes = np.concatenate([_sample(shades)[..., None], sample, hsv(sample)], axis=2).reshape(-1, len(CHANNELS)).T
    chosen = _sample(tissue).ravel()
    if np.count_nonzero(chosen) < _FEW_TISSUE_PIXELS:
        chosen = np.ones_like(chosen)
    quantiles: dict[str, int] = {}
    for name, plane in zip(CHANNELS, planes, strict=True):
        mean, deviation = moments(plane)
        result[f"{name}_mean"], result[f"{name}_std"] = round(mean, 3), round(deviation, 3)
        quantiles |= {f"{name}_q{int(100 * q)}": v for q, v in zip(QUANTILES, _quantiles(plane[chosen]), strict=True)}
    return {**result, **quantiles}


def laplacian(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Sum of the four neighbours minus four times the pixel, (H, W); borders are mirrored about the edge pixel."""
    padded = np.pad(image, 1, mode="reflect").astype(np.int16)
    result: NDArray[np.int16] = padded[:-2, 1:-1] + padded[2:, 1:-1]
    result += padded[1:-1, :-2]
    result += padded[1:-1, 2:]
    result -= 4 * padded[1:-1, 1:-1]
    return result


def squared_gradient(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Squared length of the gradient after Sobel, (H, W); borders are mirrored about the edge pixel."""
    padded = np.pad(image, 1, mode="reflect").astype(np.int16)
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    horizontal = (down[:, 2:] - down[:, :-2]).astype(np.float32)
    vertical = (across[2:] - across[:-2]).astype(np.float32)
    result: NDArray[np.float32] = horizontal * horizontal + vertical * vertical
    return result


def _tenengrad(shades: NDArray[np.uint8], tissue: NDArray[np.bool_], count: int) -> float:
    """Mean squared gradient over the `count` pixels of tissue, in strips of rows that fit into the cache."""
    total = 0.0
    for start in range(0, len(shades), _ROWS):
        strip = slice(start, start + _ROWS)
        above = min(start, 1)
        gradient = squared_gradient(shades[start - above : start + _ROWS + 1])[above : above + len(tissue[strip])]
        total += float(np.multiply(gradient, tissue[strip]).sum(dtype=np.float64))
    return total / count


def moments(values: NDArray[np.integer[Any]], count: int | None = None) -> tuple[float, float]:
    """Mean and population standard deviation of whole numbers, from exact sums.

    Args:
        values: The numbers.
        count: How many of them count; the others have been set to 0. By default all.
    """
    flat = values.ravel()
    count = flat.size if count is None else count
    total = squares = 0.0
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].astype(np.float64)
        total += float(chunk.sum())
        squares += float(np.einsum("i,i->", chunk, chunk))  # BLAS would wait for threads
    return total / count, math.sqrt(max(0.0, count * squares - total * total)) / count


def hsv(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Hue (0-179, half degrees), saturation and value (0-255) of (H, W, 3) uint8, as OpenCV rounds them."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), 2, 0)
    value = np.maximum(np.maximum(red, green), blue)
    span = value - np.minimum(np.minimum(red, green), blue)
    saturation = _rounded(span * _SATURATION_OF[value])
    sector = np.where(
        value == red, green - blue, np.where(value == green, blue - red + 2 * span, red - green + 4 * span)
    )
    hue = _rounded(sector * _HUE_OF[span])
    hue[hue < 0] += 180
    return np.stack([hue, saturation, value], axis=2).astype(np.uint8)


def _rounded(fixed: NDArray[np.int32]) -> NDArray[np.int32]:
    result: NDArray[np.int32] = (fixed + (1 << (_HSV_BITS - 1))) >> _HSV_BITS
    return result


def _fraction(mask: NDArray[np.bool_]) -> float:
    return np.count_nonzero(mask) / mask.size


def _sample(image: NDArray[Any]) -> NDArray[Any]:
    """64 × 64 pixels, each the one at the upper left corner of its part of the image."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(_SHAPE, image.shape[:2], strict=True))
    sampled: NDArray[Any] = image[rows[:, None], columns]
    return sampled


def _quantiles(values: NDArray[np.uint8]) -> list[int]:
    """For each of `QUANTILES` the smallest value that more than int(q n) pixels do not exceed."""
    ranks = [int(q * values.size) for q in QUANTILES]
    ordered = np.sort(values)
    return [int(ordered[rank]) for rank in ranks]


def mean_and_std(metrics: pl.DataFrame) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of red, green and blue over many tiles, 0-1, as HistoPrep's OutlierDetector.

    Args:
        metrics: A table with the columns of `METRIC_COLUMNS`, one row a tile.

    Returns:
        (means, deviations). Both are averages over tiles: the deviations are those within tiles, not pooled.
    """
    columns = ([f"{channel}_{statistic}" for channel in ("red", "green", "blue")] for statistic in ("mean", "std"))
    means, deviations = (tuple((metrics.select(names).mean() / 255).row(0)) for names in columns)
    return means, deviations
