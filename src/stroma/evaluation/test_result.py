"""`TestResult`: what one test of one comparison gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class TestResult:
    """One test; figures that it does not give are NaN.

    Attributes:
        test: Its name, as it is written in a paper.
        p: Two-sided p-value, 0-1; NaN where it could not be tested, and `note` says why.
        statistic: The test statistic.
        df: Degrees of freedom, where there are any.
        difference_name: What `difference` is: a mean difference or a Hodges-Lehmann shift.
        difference: Of the second group from the first, in the unit of the values.
        difference_low: Lower limit of its interval.
        difference_high: Upper limit of its interval.
        effect_name: What `effect` is: Hedges' g, Cohen's dz, a rank-biserial correlation, Kendall's W.
        effect: Size of the effect, without a unit.
        effect_low: Lower limit of its interval.
        effect_high: Upper limit of its interval.
        note: What a reader has to know about it.
    """

    __test__ = False  # no test case of pytest

    test: str
    p: float = NAN
    statistic: float = NAN
    df: float = NAN
    difference_name: str = ""
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    effect_name: str = ""
    effect: float = NAN
    effect_low: float = NAN
    effect_high: float = NAN
    note: str = ""

    @property
    def tested(self) -> bool:
        """Whether there is a p-value."""
        return not np.isnan(self.p)
