"""Mean and covariance of features that stream past, and the standardisation and projection that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

_CONSTANT = 1e-6


class Moments:
    """Count, mean and covariance of rows added batch by batch, exact and independent of the batches but for rounding.

    Sums are kept of the rows' distances from the first row, which avoids the cancellation of large means.

    Args:
        dim: Length of a row, D.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self._shift: NDArray[np.float64] | None = None
        self._sum = np.zeros(dim)
        self._products = np.zeros((dim, dim))

    def add(self, rows: NDArray[Any]) -> None:
        """Add rows (n, D)."""
        rows = rows.astype(np.float64)
        if self._shift is None and len(rows):
            self._shift = rows[0]
        shifted = rows - self._shift
        self.count += len(rows)
        self._sum += shifted.sum(axis=0)
        self._products += shifted.T @ shifted

    def standard(self) -> Standard:
        """Standardisation to mean 0 and variance 1 over all rows added; features that are constant become 0."""
        shift = np.zeros_like(self._sum) if self._shift is None else self._shift
        offset = self._sum / max(1, self.count)
        covariance = self._products / max(1, self.count) - np.outer(offset, offset)
        mean = shift + offset
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        varies = std > _CONSTANT * np.abs(mean)
        scale = np.where(varies, 1 / np.where(varies, std, 1), 0)
        return Standard(mean, scale, covariance * scale[:, None] * scale)


@dataclass(frozen=True)
class Standard:
    """A standardisation.

    Attributes:
        mean: (D,).
        scale: (D,), 1 / standard deviation; 0 for constant features.
        correlation: (D, D), the covariance after standardisation.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    correlation: NDArray[np.float64]

    def apply(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Standardise rows (n, D)."""
        return ((rows - self.mean) * self.scale).astype(np.float32)

    def principal_axes(self, count: int = 2) -> NDArray[np.float64]:
        """Directions of largest variance of the standardised features, (D, count), largest first.

        Principal component analysis (Pearson 1901; Hotelling 1933) of the correlation matrix. The sign of an axis is
        free; it is chosen so that the entry of largest size is positive. Where D is smaller than `count`, the last
        axes are 0.
        """
        dim = len(self.mean)
        first = max(0, dim - count)
        _, vectors = linalg.eigh(self.correlation, subset_by_index=(first, dim - 1))
        vectors = vectors[:, ::-1]
        largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
        axes = np.zeros((dim, count))
        axes[:, : vectors.shape[1]] = vectors * np.sign(largest)
        return axes
