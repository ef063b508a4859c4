"""How far two measurements of the same thing agree: bias and limits of agreement after Bland and Altman."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

LIMITS_SD = 1.96
"""Limits of agreement lie so many standard deviations from the bias: 95 % of differences, if they are normal."""


@dataclass(frozen=True)
class Agreement:
    """Differences (first minus second) of one recording.

    Attributes:
        n: Number of pixels.
        bias: Mean difference.
        sd: Standard deviation of the differences (divisor n - 1); 0 for one pixel.
        rank: Spearman's correlation; None where one of the two is constant.
        mean_first: Mean of the first.
        mean_second: Mean of the second.
    """

    n: int
    bias: float
    sd: float
    rank: float | None
    mean_first: float
    mean_second: float

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper limit of agreement."""
        return self.bias - LIMITS_SD * self.sd, self.bias + LIMITS_SD * self.sd


def agreement(first: NDArray[Any], second: NDArray[Any]) -> Agreement | None:
    """Compare two maps pixel by pixel.

    J. M. Bland and D. G. Altman, The Lancet 327:307, 1986.

    Args:
        first: Values of any shape.
        second: Values of the same shape; pixels in which either is not finite are left out.

    Returns:
        The agreement, or None without a common pixel.
    """
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both].astype(np.float64), second[both].astype(np.float64)
    if not a.size:
        return None
    difference = a - b
    varies = np.ptp(a) > 0 and np.ptp(b) > 0
    return Agreement(
        n=a.size,
        bias=float(difference.mean()),
        sd=float(difference.std(ddof=1)) if a.size > 1 else 0.0,
        rank=float(spearmanr(a, b).statistic) if varies else None,
        mean_first=float(a.mean()),
        mean_second=float(b.mean()),
    )


def overall_agreement(rows: pl.DataFrame, by: str = "parameter") -> pl.DataFrame:
    """Agreement over recordings of several subjects.

    The bias is the mean over subjects of the mean over their recordings, with a 95 % interval over subjects (t). The
    limits hold for a pixel of a new recording: their variance is that within recordings (mean) plus that of the
    biases between recordings, as for several observations of each individual (J. M. Bland and D. G. Altman, Journal
    of Biopharmaceutical Statistics 17:571, 2007).

    Args:
        rows: One row a recording and `by`: `subject_id, bias, sd, rank`.
        by: What is summarised apart.

    Returns:
        One row per value of `by`, in order of first appearance: `n_subjects, n_recordings, bias, bias_low, bias_high`
        (null for one subject), `sd, low, high` (limits of agreement), `rank` (median over recordings).
    """
    found = []
    for name in rows[by].unique(maintain_order=True):
        mine = rows.filter(pl.col(by) == name)
        subjects = mine.group_by("subject_id").agg(pl.col("bias").mean()).sort("subject_id")["bias"].to_numpy()
        bias, count = float(subjects.mean()), len(subjects)
        half = float(t.ppf(0.975, count - 1) * subjects.std(ddof=1) / np.sqrt(count)) if count > 1 else None
        biases = mine["bias"].to_numpy()
        between = float(biases.var(ddof=1)) if len(biases) > 1 else 0.0
        sd = float(np.sqrt(between + (mine["sd"].to_numpy() ** 2).mean()))
        found.append(
            {
                by: name,
                "n_subjects": count,
                "n_recordings": len(mine),
                "bias": bias,
                "bias_low": None if half is None else bias - half,
                "bias_high": None if half is None else bias + half,
                "sd": sd,
                "low": bias - LIMITS_SD * sd,
                "high": bias + LIMITS_SD * sd,
                "rank": mine["rank"].median(),
            }
        )
    return pl.DataFrame(found, infer_schema_length=None)
