"""Tests of means: paired t, Welch's t and Welch's analysis of variance, with standardised differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from stroma.evaluation.test_result import NAN, TestResult

Values = NDArray[np.float64]
PAIRED_T = "paired t-test"
WELCH = "Welch's t-test"
WELCH_ANOVA = "Welch's analysis of variance"


def paired_t(first: Values, second: Values, confidence: float = 0.95) -> TestResult:
    """Student's t-test of paired values, with Cohen's dz (mean over standard deviation of the differences).

    The interval of dz comes from the noncentral t distribution (Cumming and Finch 2001): exact for normal ones.

    Args:
        first: (n,) values of the first group, a subject each.
        second: (n,) values of the same subjects in the second group.
        confidence: Of the intervals, 0-1.
    """
    differences = second - first
    count = len(differences)
    mean = float(differences.mean()) if count else NAN
    if count < 2:
        return TestResult(PAIRED_T, difference=mean, note="fewer than 2 pairs")
    spread = float(differences.std(ddof=1))
    if _no_spread(spread, first, second):
        return TestResult(PAIRED_T, difference=mean, difference_name="mean difference", note=_same_note(mean))
    error = spread / np.sqrt(count)
    t, df = mean / error, count - 1
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * error
    low, high = _noncentral_interval(t, df, confidence)
    return TestResult(
        PAIRED_T,
        p=float(2 * stats.t.sf(abs(t), df)),
        statistic=t,
        df=df,
        difference_name="mean difference",
        difference=mean,
        difference_low=mean - half,
        difference_high=mean + half,
        effect_name="Cohen's dz",
        effect=mean / spread,
        effect_low=low / np.sqrt(count),
        effect_high=high / np.sqrt(count),
    )


def welch_t(first: Values, second: Values, confidence: float = 0.95) -> TestResult:
    """Welch's t-test of two groups of different subjects (Welch 1947), with Hedges' g (Hedges 1981).

    g is the difference of the means over the pooled standard deviation, times the exact correction for small
    samples; its interval comes from the noncentral t distribution, exact for normal values of equal spread.
    The correction takes the bias from the estimate; the limits have none (multiplied, too, they hold 71-92 %).

    Args:
        first: (n,) values of the first group, a subject each.
        second: (m,) values of the second group.
        confidence: Of the intervals, 0-1.
    """
    n, m = len(first), len(second)
    difference = float(second.mean() - first.mean()) if n and m else NAN
    if min(n, m) < 2:
        return TestResult(WELCH, difference=difference, note="fewer than 2 subjects in a group")
    if _no_spread(max(float(first.std(ddof=1)), float(second.std(ddof=1))), first, second):
        return TestResult(
            WELCH, difference=difference, difference_name="mean difference", note=_same_note(difference)
        )
    errors = first.var(ddof=1) / n, second.var(ddof=1) / m
    error = np.sqrt(sum(errors))
    df = float(sum(errors) ** 2 / (errors[0] ** 2 / (n - 1) + errors[1] ** 2 / (m - 1)))
    t = difference / error
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * error
    pooled_df = n + m - 2
    pooled = np.sqrt(((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / pooled_df)
    scale = np.sqrt(1 / n + 1 / m)
    small = float(np.exp(special.gammaln(pooled_df / 2) - special.gammaln((pooled_df - 1) / 2)))
    small *= float(np.sqrt(2 / pooled_df))
    low, high = _noncentral_interval(difference / (pooled * scale), pooled_df, confidence)
    return TestResult(
        WELCH,
        p=float(2 * stats.t.sf(abs(t), df)),
        statistic=float(t),
        df=df,
        difference_name="mean difference",
        difference=difference,
        difference_low=float(difference - half),
        difference_high=float(difference + half),
        effect_name="Hedges' g",
        effect=float(small * difference / pooled),
        effect_low=float(low * scale),
        effect_high=float(high * scale),
    )


def welch_anova(groups: Sequence[Values]) -> TestResult:
    """Welch's analysis of variance of three and more groups of different subjects (Welch 1951), with ω² of Welch's F.

    ω² = (k - 1)(F - 1) / ((k - 1)(F - 1) + N), at least 0.

    Args:
        groups: Values of each group, a subject each.
    """
    sizes = np.array([len(group) for group in groups])
    if sizes.min() < 2:
        return TestResult(WELCH_ANOVA, note="fewer than 2 subjects in a group")
    variances = np.array([group.var(ddof=1) for group in groups])
    if any(_no_spread(float(np.sqrt(v)), *groups) for v in variances):
        return TestResult(WELCH_ANOVA, note="the values of a group are all equal")
    k, means = len(groups), np.array([group.mean() for group in groups])
    weights = sizes / variances
    centre = float((weights * means).sum() / weights.sum())
    lack = float((((1 - weights / weights.sum()) ** 2) / (sizes - 1)).sum())
    f = float((weights * (means - centre) ** 2).sum() / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * lack))
    df2 = (k**2 - 1) / (3 * lack)
    omega = max(0.0, (k - 1) * (f - 1) / ((k - 1) * (f - 1) + int(sizes.sum())))
    return TestResult(
        WELCH_ANOVA, p=float(stats.f.sf(f, k - 1, df2)), statistic=f, df=df2, effect_name="ω²", effect=omega
    )


def mean_interval(values: Values, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean; (NaN, NaN) for fewer than two values."""
    if len(values) < 2:
        return NAN, NAN
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def _no_spread(spread: float, *values: Values) -> bool:
    """Whether a standard deviation is nothing but rounding."""
    return spread <= 1e-12 * max(float(np.abs(group).max()) for group in values)


def _same_note(difference: float) -> str:
    return "all values are equal" if difference == 0 else "the values do not vary between subjects"


def _noncentral_interval(t: float, df: float, confidence: float) -> tuple[float, float]:
    """Noncentrality parameters of the t distributions of which `t` is just not too large and not too small."""
    if t < 0:
        low, high = _noncentral_interval(-t, df, confidence)
        return -high, -low
    tail = (1 - confidence) / 2
    return _noncentrality(t, df, 1 - tail, step=-1.0), _noncentrality(t, df, tail, step=1.0)


def _noncentrality(t: float, df: float, target: float, step: float) -> float:
    """The noncentrality at which P(T ≤ t) is `target`, looked for from `t` on in growing steps."""

    def excess(noncentrality: float) -> float:
        return float(stats.nct.cdf(t, df, noncentrality)) - target

    near, far = t, t + step
    while np.isfinite(excess(far)) and excess(near) * excess(far) > 0 and abs(step) < 1e6:
        step *= 1.5
        near, far = far, far + step
    if not excess(near) * excess(far) <= 0:  # so far out that the distribution function has no digits left
        return NAN
    return float(optimize.brentq(excess, near, far))
