"""Superpixels: simple linear iterative clustering (SLIC) of images with any number of channels.

SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120) is k-means over colour and position in which a pixel only
looks at centres nearby. Here those are the centres that began in its own and the eight neighbouring cells of a grid,
so that all distances of a cell are one matrix product. Images of many channels are first clustered along their
principal components; the last assignment uses all channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from threadpoolctl import threadpool_limits

from stroma.core.errors import ConfigError, InvalidData
from stroma.core.threads import in_threads
from stroma.regions.components import join_small

COMPONENTS = 8  # principal components in the first steps
_BLOCKS = 32  # parts that threads take
_CELLS_AT_ONCE = 32  # their spectra fit into the cache
_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass(frozen=True)
class SlicOptions:
    """Options of `slic`.

    Attributes:
        segments: About how many superpixels.
        compactness: Weight of nearness against likeness, as in scikit-image: a difference of `compactness` in the
            channels (scaled so that the image spans 0 to 1; L*a*b* for RGB) counts like one side of a superpixel.
            None takes 10 for RGB and 0.1 for other images.
        sigma_px: Width of the Gaussian that smooths each channel before, in pixels. Of more than 10 channels it is
            the first principal components that are smoothed, and the exact last assignment is left out.
    """

    segments: int = 1000
    compactness: float | None = None
    sigma_px: float = 0.0

    def __post_init__(self) -> None:
        if self.segments < 1 or (self.compactness is not None and not self.compactness > 0) or not self.sigma_px >= 0:
            raise ConfigError(f"superpixels need segments ≥ 1, compactness > 0 and sigma_px ≥ 0, not {self}")


def slic(image: NDArray[Any], options: SlicOptions | None = None) -> NDArray[np.int32]:
    """Divide an image into connected superpixels. Equal images give equal superpixels.

    Args:
        image: (H, W, C) real numbers; three channels are RGB and compared in L*a*b*. Values that are not finite count
            as 0.
        options: How many, how compact.

    Returns:
        (H, W) int32, 0 to n - 1, each number one 4-connected area of at least half the mean size.

    Raises:
        InvalidData: `image` is not (H, W, C).
    """
    options = options or SlicOptions()
    if image.ndim != 3 or 0 in image.shape or not np.issubdtype(image.dtype, np.number):
        raise InvalidData(f"superpixels need (height, width, channels) of numbers, not {image.shape} {image.dtype}")
    grid = Grid.of(image.shape[0], image.shape[1], options.segments)
    if grid.count == 1:
        return np.zeros(image.shape[:2], dtype=np.int32)
    features, span = colour_features(image)
    compactness = options.compactness or default_compactness(image.shape[2])
    with threadpool_limits(
        1, "blas"
    ):  # many small products: more threads wait for each other, and bytes would differ
        labels = _cluster(features, grid, options, span * compactness)
    return join_small(labels, minimum_px=max(1, image.shape[0] * image.shape[1] // (2 * grid.count)))


def default_compactness(channels: int) -> float:
    """10 for RGB (in L*a*b*), else 0.1 of the span of values."""
    return 10.0 if channels == 3 else 0.1


def colour_features(image: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Channels as SLIC compares them, and the difference that counts as 1.

    Returns:
        (H, W, C) float32: L*a*b* of RGB scaled to 0-1, else the channels themselves; then 1 for RGB, else the span of
        the image's values.
    """
    features = image.astype(np.float32, copy=False)
    low, high = _limits(features)
    if not np.isfinite(high - low):
        features = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(features.min()), float(features.max())
    span = high - low if high > low else 1.0
    if image.shape[2] == 3:
        from skimage.color import rgb2lab

        return rgb2lab((features - np.float32(low)) / np.float32(span)), 1.0
    if abs(low) > span:
        features = features - np.float32(low)  # products of large numbers would swallow small differences
    return features, span


def _limits(features: NDArray[np.float32]) -> tuple[float, float]:
    """Smallest and largest value in one pass through memory; NaN where there is one."""
    some_rows = max(1, 262_144 // features[0].size)
    parts = [features[start : start + some_rows] for start in range(0, len(features), some_rows)]
    return float(np.min([part.min() for part in parts])), float(np.max([part.max() for part in parts]))


@dataclass(frozen=True)
class Grid:
    """Cells of the image in which the centres begin.

    Attributes:
        height, width: Of the image in pixels.
        rows, columns: Number of cells.
    """

    height: int
    width: int
    rows: int
    columns: int

    @classmethod
    def of(cls, height: int, width: int, segments: int) -> Grid:
        """About `segments` cells that are about square."""
        side = max(1.0, np.sqrt(height * width / segments))
        return cls(height, width, max(1, round(height / side)), max(1, round(width / side)))

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    @property
    def side_px(self) -> float:
        """Side of a square as large as the mean cell."""
        return float(np.sqrt(self.height * self.width / self.count))

    def steps(self) -> tuple[int, int]:
        """How often centres move on every second row and column, and then on all pixels."""
        return (0, 6) if self.side_px < 6 else (5, 1)

    def neighbours(self) -> NDArray[np.int64]:
        """(cells, 9) numbers of the centres a cell's pixels look at; beyond the border the cell's own."""
        row, column = np.divmod(np.arange(self.count), self.columns)
        found = []
        for dy, dx in _NEIGHBOURS:
            r, c = row + dy, column + dx
            inside = (r >= 0) & (r < self.rows) & (c >= 0) & (c < self.columns)
            found.append(np.where(inside, r * self.columns + c, np.arange(self.count)))
        return np.stack(found, axis=1)

    def pixels(self, step: int = 1) -> NDArray[np.int64]:
        """(cells, P) flat positions of each cell's pixels, of every `step`-th row and column; -1 for none."""
        rows = _cells_of(self.height, self.rows, step)
        columns = _cells_of(self.width, self.columns, step)
        flat = rows[:, None, :, None] * self.width + columns[None, :, None, :]
        flat[(rows < 0)[:, None, :, None] | (columns < 0)[None, :, None, :]] = -1
        return flat.reshape(self.count, -1)


def _cells_of(length: int, cells: int, step: int) -> NDArray[np.int64]:
    positions = np.arange(step // 2, length, step) if length > step else np.arange(length)
    cell = positions * cells // length
    counts = np.bincount(cell, minlength=cells)
    table = np.full((cells, counts.max()), -1, dtype=np.int64)
    table[cell, np.arange(len(positions)) - np.concatenate([[0], np.cumsum(counts)[:-1]])[cell]] = positions
    return table


def _cluster(
    features: NDArray[np.float32], grid: Grid, options: SlicOptions, compactness: float
) -> NDArray[np.int64]:
    """Number of the nearest centre of each pixel, (H, W); `compactness` is in the units of `features`."""
    height, width, channels = features.shape
    reduced = _principal(features) if channels > COMPONENTS + 2 else features
    if options.sigma_px > 0:
        reduced = ndimage.gaussian_filter(reduced, (options.sigma_px, options.sigma_px, 0))
    spaced = _with_position(reduced, grid, compactness)
    centres = _first_centres(spaced, grid)
    neighbours = grid.neighbours()
    exact = reduced is not features and options.sigma_px == 0
    on_half, on_all = grid.steps()
    if on_half:
        coarse = _Cells(spaced, grid.pixels(2), neighbours)
        for _ in range(on_half):
            centres = coarse.moved(centres, coarse.nearest(centres))
    fine = _Cells(spaced, grid.pixels(), neighbours)
    for _ in range(on_all):
        centres = fine.moved(centres, fine.nearest(centres))
    if not exact:
        return fine.labels(fine.nearest(centres), (height, width))
    return _refined(features, fine, fine.labels(fine.nearest(centres), (height, width)), compactness)


def _principal(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first principal components of the channels, (H, W, 8); distances shrink by what the others hold."""
    pixels = features.reshape(-1, features.shape[2])
    sample = pixels[:: max(1, len(pixels) // 8_192)]
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    chosen = np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS])
    centre = mean @ chosen
    projected = np.empty((len(pixels), COMPONENTS), dtype=np.float32)

    def project(block: int) -> None:
        part = _part(len(pixels), block)
        np.matmul(pixels[part], chosen, out=projected[part])
        projected[part] -= centre

    in_threads(project, _BLOCKS)
    return projected.reshape(*features.shape[:2], COMPONENTS)


def _with_position(features: NDArray[np.float32], grid: Grid, compactness: float) -> NDArray[np.float32]:
    """(H·W, C + 3): channels over compactness, then row and column in sides of a superpixel, then 1."""
    height, width, channels = features.shape
    spaced = np.empty((height, width, channels + 3), dtype=np.float32)
    np.multiply(features, np.float32(1 / compactness), out=spaced[:, :, :channels])
    spaced[:, :, channels] = (np.arange(height, dtype=np.float32) / grid.side_px)[:, None]
    spaced[:, :, channels + 1] = (np.arange(width, dtype=np.float32) / grid.side_px)[None, :]
    spaced[:, :, channels + 2] = 1
    flat: NDArray[np.float32] = spaced.reshape(-1, channels + 3)
    return flat


def _first_centres(spaced: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """The pixel in the middle of each cell."""
    rows = ((np.arange(grid.rows) + 0.5) * grid.height / grid.rows).astype(np.int64)
    columns = ((np.arange(grid.columns) + 0.5) * grid.width / grid.columns).astype(np.int64)
    middle: NDArray[np.float32] = spaced[(rows[:, None] * grid.width + columns[None, :]).ravel(), :-1]
    return middle


class _Cells:
    """Pixels gathered by cell, so that their distances to nine centres are one matrix product.

    Args:
        spaced: (H·W, F + 1) from `_with_position`.
        pixels: (cells, P) flat positions, -1 for none.
        neighbours: (cells, 9) numbers of centres.
    """

    def __init__(self, spaced: NDArray[np.float32], pixels: NDArray[np.int64], neighbours: NDArray[np.int64]) -> None:
        self.pixels, self.neighbours = pixels, neighbours
        self.missing = pixels < 0 if (pixels < 0).any() else None
        self.position = spaced[:, -3:-1]
        self.values: NDArray[np.float32] = np.take(spaced, np.maximum(pixels, 0), axis=0)
        cells = neighbours.size
        self.gather = sparse.csr_matrix(
            (np.ones(cells, np.float32), (neighbours.ravel(), np.arange(cells))), shape=(len(neighbours), cells)
        )

    def nearest(self, centres: NDArray[np.float32]) -> NDArray[np.int8]:
        """(cells, P) which of the nine centres is nearest; -1 where there is no pixel. Equal ones: the first."""
        around = centres[self.neighbours]
        weights = np.empty((len(around), centres.shape[1] + 1, 9), dtype=np.float32)
        weights[:, :-1] = -2 * around.transpose(0, 2, 1)
        weights[:, -1] = (around**2).sum(axis=2)
        return _first_smallest(np.matmul(self.values, weights), self.missing)

    def moved(self, centres: NDArray[np.float32], chosen: NDArray[np.int8]) -> NDArray[np.float32]:
        """Centres at the mean of their pixels; one without pixels stays."""
        members = (chosen[:, None, :] == np.arange(9, dtype=np.int8)[None, :, None]).astype(np.float32)
        total = self.gather @ np.matmul(members, self.values).reshape(self.neighbours.size, -1)
        count = total[:, -1:]
        return np.where(count > 0, total[:, :-1] / np.maximum(count, 1), centres)

    def labels(self, chosen: NDArray[np.int8], shape: tuple[int, int]) -> NDArray[np.int64]:
        """(H, W) number of the centre of each pixel."""
        result = np.empty(shape[0] * shape[1], dtype=np.int64)
        number = np.take_along_axis(self.neighbours, np.maximum(chosen, 0).astype(np.int64), axis=1)
        inside = slice(None) if self.missing is None else ~self.missing
        result[self.pixels[inside]] = number[inside]
        return result.reshape(shape)


def _first_smallest(costs: NDArray[np.float32], missing: NDArray[np.bool_] | None) -> NDArray[np.int8]:
    """Index of the smallest of nine costs (..., 9), -1 where missing."""
    chosen: NDArray[np.int8] = costs.argmin(axis=-1).astype(np.int8)
    if missing is not None:
        chosen[missing] = -1
    return chosen


def _members(labels: NDArray[np.int64], count: int) -> Any:
    """Sparse (count, pixels) matrix of ones: its product with pixels sums them by label."""
    order = np.argsort(labels.astype(np.uint16 if count <= 1 << 16 else np.int64), kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=count))])
    return sparse.csr_matrix((np.ones(len(labels), np.float32), order, ends), shape=(count, len(labels)))


def _refined(
    features: NDArray[np.float32], fine: _Cells, labels: NDArray[np.int64], compactness: float
) -> NDArray[np.int64]:
    """One exact step: centres are means over all channels, and each pixel takes the nearest by all channels."""
    flat, cells = features.reshape(-1, features.shape[2]), len(fine.neighbours)
    members = _members(labels.ravel(), cells)
    count = np.maximum(np.bincount(labels.ravel(), minlength=cells), 1).astype(np.float32)[:, None]
    centres = np.empty((cells, features.shape[2]), dtype=np.float32)

    def sum_spectra(block: int) -> None:
        part = _part(cells, block)
        centres[part] = np.asarray(members[part] @ flat) / count[part]

    in_threads(sum_spectra, _BLOCKS)
    places = np.asarray(members @ fine.position) / count
    lengths = (centres.astype(np.float64) ** 2).sum(axis=1) / compactness**2 + (places**2).sum(axis=1)
    nearness = np.concatenate([-2 * places, lengths[:, None]], axis=1).astype(np.float32)
    spectra = centres * np.float32(-2 / compactness**2)
    result = np.empty(len(flat), dtype=np.int64)

    def assign(block: int) -> None:
        for start in range(_part(cells, block).start, _part(cells, block).stop, _CELLS_AT_ONCE):
            some = slice(start, min(start + _CELLS_AT_ONCE, _part(cells, block).stop))
            pixels, around = fine.pixels[some], fine.neighbours[some]
            costs = np.matmul(np.take(flat, np.maximum(pixels, 0), axis=0), spectra[around].transpose(0, 2, 1))
            costs += np.matmul(fine.values[some, :, -3:], nearness[around].transpose(0, 2, 1))
            number = np.take_along_axis(around, costs.argmin(axis=2), axis=1)
            inside = pixels >= 0
            result[pixels[inside]] = number[inside]

    in_threads(assign, _BLOCKS)
    return result.reshape(labels.shape)


def _part(length: int, block: int) -> slice:
    return slice(block * length // _BLOCKS, (block + 1) * length // _BLOCKS)
