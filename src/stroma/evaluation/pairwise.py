"""Order statistics of all pairs of values, found by counting where there are too many pairs to hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_MOST_HELD = 4_000_000
"""Pairs up to which they are made and sorted."""


class WalshAverages:
    """Means of all pairs of values, each value with itself among them.

    Args:
        values: (n,) values.
    """

    def __init__(self, values: Values) -> None:
        self.values = np.sort(values)
        self.size = len(values) * (len(values) + 1) // 2

    def all(self) -> Values:
        """Every one, in order."""
        return np.sort((self.values[:, None] + self.values)[np.triu_indices(len(self.values))] / 2)

    def up_to(self, limit: float) -> int:
        """How many are at most `limit`."""
        pairs = np.searchsorted(self.values, 2 * limit - self.values, side="right").sum()
        return (int(pairs) + int(np.searchsorted(self.values, limit, side="right"))) // 2

    def ends(self) -> tuple[float, float]:
        """The smallest and the largest."""
        return float(self.values[0]), float(self.values[-1])


class Differences:
    """Differences of all values of the second group from all of the first.

    Args:
        first: (n,) values.
        second: (m,) values.
    """

    def __init__(self, first: Values, second: Values) -> None:
        self.first, self.second = np.sort(first), np.sort(second)
        self.size = len(first) * len(second)

    def all(self) -> Values:
        """Every one, in order."""
        return np.sort(np.subtract.outer(self.second, self.first).ravel())

    def up_to(self, limit: float) -> int:
        """How many are at most `limit`."""
        return int(np.searchsorted(self.second, self.first + limit, side="right").sum())

    def ends(self) -> tuple[float, float]:
        """The smallest and the largest."""
        return float(self.second[0] - self.first[-1]), float(self.second[-1] - self.first[0])


def median_and_limits(pairs: WalshAverages | Differences, cut: int) -> tuple[float, float, float]:
    """The median of pairs, and the interval that leaves `cut` - 1 of them out on either side.

    Args:
        pairs: Walsh averages, or differences.
        cut: Place of the lower limit from below and of the upper one from above, from 1; 0 gives no limits (NaN).

    Returns:
        Median, lower and upper limit.
    """
    if pairs.size <= _MOST_HELD:
        ordered = pairs.all()
        limits = (float(ordered[cut - 1]), float(ordered[-cut])) if cut > 0 else (float("nan"), float("nan"))
        return float(np.median(ordered)), *limits
    middle = (_smallest(pairs, (pairs.size + 1) // 2) + _smallest(pairs, pairs.size // 2 + 1)) / 2
    return middle, _smallest(pairs, cut), _smallest(pairs, pairs.size + 1 - cut)


def _smallest(pairs: WalshAverages | Differences, place: int) -> float:
    """The value at a place (from 1) in the order of all, by halving the range that it lies in."""
    low, high = pairs.ends()
    for _ in range(100):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if pairs.up_to(middle) >= place else (middle, high)
    return high
