"""Rank tests: signed-rank, rank-sum, Friedman and Kruskal-Wallis, with shifts and rank-biserial correlations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stroma.evaluation.pairwise import Differences, WalshAverages, median_and_limits
from stroma.evaluation.rank_intervals import concordance_interval, rank_biserial_interval, ranked_variance_interval
from stroma.evaluation.test_result import TestResult

Values = NDArray[np.float64]
SIGNED_RANK = "Wilcoxon signed-rank test"
RANK_SUM = "Mann-Whitney U test"
FRIEDMAN = "Friedman test"
KRUSKAL = "Kruskal-Wallis test"
_SHIFT = "Hodges-Lehmann shift"
_EFFECT = "rank-biserial correlation"
_PERMUTATIONS = 20_000
_BOOTSTRAPS, _BOOTSTRAPS_OF_MANY, _MANY = 2_000, 500, 10_000
_FEW = 300
"""Values up to which intervals of W and ε² come from the profile that was found, beyond from bootstrap samples."""

_AT_ONCE = 2_000_000
"""Values that are drawn at once for permutations and bootstrap samples."""


def smallest_signed_rank_p(pairs: int) -> float:
    """The smallest two-sided p-value that the signed-rank test of so many pairs can give."""
    return min(1.0, 2.0 ** (1 - pairs))


def smallest_rank_sum_p(n: int, m: int) -> float:
    """The smallest two-sided p-value that the rank-sum test of so many subjects can give."""
    return min(1.0, 2 / math.comb(n + m, n))


def signed_rank(first: Values, second: Values, confidence: float = 0.95) -> TestResult:
    """Wilcoxon's signed-rank test of paired values (Wilcoxon 1945), two-sided.

    Exact for up to 50 pairs without ties, and for up to 13 with ties; pairs without a difference do not count. The
    difference is the median of the Walsh averages (Hodges and Lehmann 1963) with the interval that inverts the
    test, the effect the matched-pairs rank-biserial correlation (Kerby 2014).

    Args:
        first: (n,) values of the first group, a subject each.
        second: (n,) values of the same subjects in the second group.
        confidence: Of the intervals, 0-1.
    """
    differences = _without_rounding(second - first, first, second)
    count = len(differences)
    if count < 2:
        return TestResult(SIGNED_RANK, note="fewer than 2 pairs")
    moved = differences[differences != 0]
    if len(moved) == 0:
        return TestResult(SIGNED_RANK, p=1.0, difference_name=_SHIFT, difference=0.0, note="all pairs are equal")
    ranks = stats.rankdata(np.abs(moved))
    tied = len(np.unique(np.abs(moved))) < len(moved)
    if tied and len(moved) <= 13:
        p = _exact_signed_rank_p(ranks, moved > 0)
    else:
        p = float(stats.wilcoxon(moved, method="exact" if not tied and len(moved) <= 50 else "asymptotic").pvalue)
    up, all_ranks = float(ranks[moved > 0].sum()), float(ranks.sum())
    correlation = 2 * up / all_ranks - 1
    shift, low, high = median_and_limits(WalshAverages(differences), _signed_rank_cut(count, confidence))
    effect_low, effect_high = rank_biserial_interval(correlation, len(moved), confidence=confidence)
    zeros = count - len(moved)
    return TestResult(
        SIGNED_RANK,
        p=p,
        statistic=min(up, all_ranks - up),
        difference_name=_SHIFT,
        difference=shift,
        difference_low=low,
        difference_high=high,
        effect_name=_EFFECT,
        effect=correlation,
        effect_low=effect_low,
        effect_high=effect_high,
        note=f"pairs without a difference, which do not count in the test: {zeros}" if zeros else "",
    )


def rank_sum(first: Values, second: Values, confidence: float = 0.95) -> TestResult:
    """Test of Mann and Whitney (1947) of two groups of different subjects, two-sided.

    Exact without ties for up to 25 subjects in the smaller group, and with ties where there are at most 20,000
    divisions; else the normal approximation with correction for ties. The difference is the median of all
    differences (Hodges and Lehmann 1963) with the interval that inverts the test, the effect the rank-biserial
    correlation, which is Cliff's delta.

    Args:
        first: (n,) values of the first group, a subject each.
        second: (m,) values of the second group.
        confidence: Of the intervals, 0-1.
    """
    n, m = len(first), len(second)
    if min(n, m) < 1 or n + m < 3:
        return TestResult(RANK_SUM, note="too few subjects")
    values = np.concatenate([first, second])
    ranks = stats.rankdata(values)
    if len(np.unique(values)) == 1:
        return TestResult(RANK_SUM, p=1.0, difference_name=_SHIFT, difference=0.0, note="all values are equal")
    tied = len(np.unique(values)) < n + m
    u = float(ranks[n:].sum() - m * (m + 1) / 2)
    if tied and math.comb(n + m, m) <= _PERMUTATIONS:
        p = _exact_rank_sum_p(ranks, n)
    else:
        exact = not tied and min(n, m) <= 25
        p = float(stats.mannwhitneyu(second, first, method="exact" if exact else "asymptotic").pvalue)
    correlation = 2 * u / (n * m) - 1
    shift, low, high = median_and_limits(Differences(first, second), _rank_sum_cut(n, m, confidence))
    effect_low, effect_high = rank_biserial_interval(correlation, n, m, confidence)
    return TestResult(
        RANK_SUM,
        p=p,
        statistic=u,
        difference_name=_SHIFT,
        difference=shift,
        difference_low=low,
        difference_high=high,
        effect_name=_EFFECT,
        effect=correlation,
        effect_low=effect_low,
        effect_high=effect_high,
    )


def friedman(values: Values, seed: int = 0, confidence: float = 0.95) -> TestResult:
    """Friedman's test of three and more groups in the same subjects (Friedman 1937), with Kendall's W.

    The p-value is that of 20,000 seeded permutations within subjects for up to 15 subjects, else of χ². The interval
    of W is that of `concordance_interval` for up to 300 values, else the percentile interval of 2,000 seeded
    bootstrap samples of subjects.

    Args:
        values: (subjects, groups).
        seed: Of the permutations and the bootstrap.
        confidence: Of the interval, 0-1.
    """
    n, k = values.shape
    if n < 2:
        return TestResult(FRIEDMAN, note="fewer than 2 subjects with all groups")
    ranks = stats.rankdata(values, axis=1)
    statistic = float(_friedman_statistics(ranks))
    if np.isnan(statistic):
        return TestResult(FRIEDMAN, p=1.0, note="all values of each subject are equal")
    rng = np.random.default_rng(seed)
    if n <= 15:
        p = _permuted_p(
            statistic, n * k, lambda size: _friedman_statistics(rng.permuted(np.tile(ranks, (size, 1, 1)), axis=2))
        )
    else:
        p = float(stats.chi2.sf(statistic, k - 1))
    if n * k <= _FEW:
        low, high = concordance_interval(ranks, confidence)
    else:
        samples = _drawn(
            _bootstraps(n * k), n * k, lambda size: _friedman_statistics(ranks[rng.integers(0, n, (size, n))])
        )
        samples /= n * (k - 1)
        low, high = np.nanpercentile(samples, [50 - 50 * confidence, 50 + 50 * confidence])
    return TestResult(
        FRIEDMAN, p=p, statistic=statistic, df=k - 1, effect_name="Kendall's W", effect=statistic / (n * (k - 1)),
        effect_low=float(low), effect_high=float(high),
    )  # fmt: skip


def kruskal(groups: Sequence[Values], seed: int = 0, confidence: float = 0.95) -> TestResult:
    """Test of Kruskal and Wallis (1952) of three and more groups of different subjects, with ε² = H / (N - 1).

    The p-value is that of 20,000 seeded permutations where a group has fewer than 5 subjects, else of χ². The
    interval of ε² is that of `ranked_variance_interval` for up to 300 values, else the percentile interval of 2,000
    seeded bootstrap samples of subjects within the groups.

    Args:
        groups: Values of each group, a subject each.
        seed: Of the permutations and the bootstrap.
        confidence: Of the interval, 0-1.
    """
    sizes = [len(group) for group in groups]
    if min(sizes) < 1 or sum(sizes) <= len(groups):
        return TestResult(KRUSKAL, note="too few subjects")
    values = np.concatenate(list(groups))
    if len(np.unique(values)) == 1:
        return TestResult(KRUSKAL, p=1.0, note="all values are equal")
    member = np.repeat(np.eye(len(groups)), sizes, axis=0)
    ranks, rng = stats.rankdata(values), np.random.default_rng(seed)
    statistic = float(_kruskal_statistics(ranks, member))
    if min(sizes) < 5:
        p = _permuted_p(
            statistic,
            len(values),
            lambda size: _kruskal_statistics(rng.permuted(np.tile(ranks, (size, 1)), axis=1), member),
        )
    else:
        p = float(stats.chi2.sf(statistic, len(groups) - 1))

    def sample(size: int) -> Values:
        drawn = [group[rng.integers(0, len(group), (size, len(group)))] for group in groups]
        return _kruskal_statistics(stats.rankdata(np.concatenate(drawn, axis=1), axis=1), member)

    if len(values) <= _FEW:
        low, high = ranked_variance_interval(ranks, sizes, confidence)
    else:
        samples = _drawn(_bootstraps(len(values)), len(values), sample) / (len(values) - 1)
        low, high = np.nanpercentile(samples, [50 - 50 * confidence, 50 + 50 * confidence])
    return TestResult(
        KRUSKAL, p=p, statistic=statistic, df=len(groups) - 1, effect_name="ε²", effect=statistic / (len(values) - 1),
        effect_low=float(low), effect_high=float(high),
    )  # fmt: skip


def _without_rounding(differences: Values, *values: Values) -> Values:
    """Differences that are equal but for the rounding of floats count as ties."""
    scale = max(float(np.abs(group).max()) for group in values if len(group)) if len(differences) else 0.0
    return differences if scale == 0 else np.round(differences / scale, 12) * scale


def _exact_signed_rank_p(ranks: Values, up: NDArray[np.bool_]) -> float:
    """Over all signs of the ranks, ties or not."""
    signs = np.array(list(itertools.product((0.0, 1.0), repeat=len(ranks))))
    half = ranks.sum() / 2
    return float(np.mean(np.abs(signs @ ranks - half) >= abs(ranks[up].sum() - half) - 1e-9))


def _exact_rank_sum_p(ranks: Values, n: int) -> float:
    """Over all divisions of the ranks into the two groups, ties or not."""
    total = len(ranks)
    chosen = np.array(list(itertools.combinations(range(total), n)))
    expected = n * (total + 1) / 2
    return float(np.mean(np.abs(ranks[chosen].sum(axis=1) - expected) >= abs(ranks[:n].sum() - expected) - 1e-9))


def _friedman_statistics(ranks: Values) -> Values:
    """Friedman's statistic, corrected for ties, of ranks (…, subjects, groups); NaN where all are tied."""
    n, k = ranks.shape[-2:]
    between = n * ((ranks.mean(axis=-2) - (k + 1) / 2) ** 2).sum(axis=-1)
    within = ((ranks - (k + 1) / 2) ** 2).sum(axis=(-2, -1)) / (n * (k - 1))
    with np.errstate(invalid="ignore"):
        return np.asarray(between / within, dtype=np.float64)


def _kruskal_statistics(ranks: Values, member: Values) -> Values:
    """The statistic of Kruskal and Wallis, corrected for ties, of ranks (…, N) and membership (N, groups)."""
    sizes, mean = member.sum(axis=0), (ranks.shape[-1] + 1) / 2
    between = (sizes * (ranks @ member / sizes - mean) ** 2).sum(axis=-1)
    spread = ((ranks - mean) ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray((ranks.shape[-1] - 1) * between / spread, dtype=np.float64)


def _bootstraps(values: int) -> int:
    return _BOOTSTRAPS if values <= _MANY else _BOOTSTRAPS_OF_MANY


def _drawn(count: int, values: int, draw: Callable[[int], Values]) -> Values:
    """`count` draws of so many values each, as many at once as memory should hold."""
    size = max(1, min(count, _AT_ONCE // values))
    return np.concatenate([draw(min(size, count - start)) for start in range(0, count, size)])


def _permuted_p(statistic: float, values: int, draw: Callable[[int], Values]) -> float:
    """Share of permutations at least as extreme, the observed one counted among them (Phipson and Smyth 2010)."""
    extreme = int((_drawn(_PERMUTATIONS, values, draw) >= statistic - 1e-9).sum())
    return (extreme + 1) / (_PERMUTATIONS + 1)


def _signed_rank_cut(n: int, confidence: float) -> int:
    """Which Walsh average from either end limits the interval (Hollander and Wolfe 1999, section 3.3)."""
    tail = (1 - confidence) / 2
    if n > 50:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(n * (n + 1) / 4 - float(stats.norm.isf(tail)) * spread))
    counts = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] += counts
        longer[rank:] += counts
        counts = longer
    return int(np.searchsorted(np.cumsum(counts) / 2.0**n, tail, side="right"))


def _rank_sum_cut(n: int, m: int, confidence: float) -> int:
    """Which difference from either end limits the interval (Hollander and Wolfe 1999, section 4.3)."""
    tail = (1 - confidence) / 2
    if n * m > 1000:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - float(stats.norm.isf(tail)) * spread))
    counts = [[0] * (n * m + 1) for _ in range(n + 1)]  # of subsets by their size and the sum of their ranks
    counts[0][0] = 1
    for value in range(n + m):
        for size in range(min(n, value + 1), 0, -1):
            shift = value - (size - 1)  # the rank, less what it is at least
            row, smaller = counts[size], counts[size - 1]
            for total in range(n * m, shift - 1, -1) if shift >= 0 else ():
                row[total] += smaller[total - shift]
    cumulative = np.cumsum([float(c) for c in counts[n]]) / math.comb(n + m, n)
    return int(np.searchsorted(cumulative, tail, side="right"))
