"""Correction of p-values for many comparisons."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Correction = Literal["holm", "bh", "none"]


def corrected(p_values: ArrayLike, method: Correction = "holm") -> NDArray[np.float64]:
    """Correct the p-values of one family of comparisons.

    `holm` bounds the chance of a single false finding (Holm 1979), `bh` the expected share of false ones among the
    findings (Benjamini and Hochberg 1995).

    Args:
        p_values: (n,) p-values, 0-1; NaN where nothing was tested, which counts for nothing.
        method: `holm`, `bh` or `none`.

    Returns:
        (n,) corrected p-values, 0-1, in the given order.
    """
    p = np.asarray(p_values, dtype=np.float64)
    result = p.copy()
    tested = np.flatnonzero(~np.isnan(p))
    count = len(tested)
    if method == "none" or count == 0:
        return result
    order = tested[np.argsort(p[tested], kind="stable")]
    if method == "holm":
        adjusted = np.maximum.accumulate(p[order] * (count - np.arange(count)))
    else:
        adjusted = np.minimum.accumulate((p[order] * count / np.arange(1, count + 1))[::-1])[::-1]
    result[order] = np.minimum(adjusted, 1.0)
    return result
