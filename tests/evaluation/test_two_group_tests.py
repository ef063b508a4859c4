"""Tests of two groups: against scipy, published examples and their own definitions."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from stroma.evaluation.correction import corrected
from stroma.evaluation.mean_tests import mean_interval, paired_t, welch_t
from stroma.evaluation.pairwise import Differences, WalshAverages, median_and_limits
from stroma.evaluation.rank_tests import rank_sum, signed_rank, smallest_rank_sum_p, smallest_signed_rank_p
from stroma.evaluation.test_result import TestResult

# Hollander & Wolfe 1973, example 3.1: Hamilton depression scores before and after a tranquilliser.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def groups(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(0.7, 2.0, size=m)


def test_signed_rank_gives_the_published_example() -> None:
    result = signed_rank(BEFORE, AFTER)
    assert result.p == pytest.approx(0.0390625)
    assert result.statistic == 5
    assert result.difference == pytest.approx(-0.46)
    assert (result.difference_low, result.difference_high) == pytest.approx((-0.786, -0.010))
    assert result.effect == pytest.approx(2 * 5 / 45 - 1)  # rank sums 5 up, 40 down


@pytest.mark.parametrize("count", [2, 5, 12, 60])
def test_paired_tests_agree_with_scipy(count: int) -> None:
    first, second = groups(count, count)
    t, oracle = paired_t(first, second), stats.ttest_rel(second, first)
    assert (t.p, t.statistic, t.df) == pytest.approx((oracle.pvalue, oracle.statistic, oracle.df))
    assert (t.difference_low, t.difference_high) == pytest.approx(tuple(oracle.confidence_interval()))
    assert signed_rank(first, second).p == pytest.approx(stats.wilcoxon(second - first).pvalue)


@pytest.mark.parametrize(("n", "m"), [(2, 3), (6, 5), (30, 40)])
def test_unpaired_tests_agree_with_scipy(n: int, m: int) -> None:
    first, second = groups(n, m)
    t, oracle = welch_t(first, second), stats.ttest_ind(second, first, equal_var=False)
    assert (t.p, t.statistic, t.df) == pytest.approx((oracle.pvalue, oracle.statistic, oracle.df))
    assert (t.difference_low, t.difference_high) == pytest.approx(tuple(oracle.confidence_interval()))
    method = "exact" if min(n, m) <= 25 else "asymptotic"
    assert rank_sum(first, second).p == pytest.approx(stats.mannwhitneyu(second, first, method=method).pvalue)


def test_ties_are_counted_over_all_permutations() -> None:
    first, second = np.array([1.0, 2, 3, 4, 5, 5]), np.array([2.0, 3, 4, 4, 7, 8])
    resampling = stats.PermutationMethod()
    assert rank_sum(first, second).p == pytest.approx(stats.mannwhitneyu(second, first, method=resampling).pvalue)
    assert signed_rank(first, second).p == pytest.approx(2 / 2**5)  # five pairs differ, all upwards
    assert "do not count in the test: 1" in signed_rank(first, second).note


def test_differences_that_only_rounding_makes_unlike_are_ties() -> None:
    first = np.array([0.1, 0.3, 0.7, 1.1])
    second = first + 0.2  # 0.3 - 0.1 and 0.9 - 0.7 are not the same float
    assert signed_rank(first, second).p == pytest.approx(2 / 2**4)
    assert signed_rank(first, second).difference == pytest.approx(0.2)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_a_shift_holds_the_shifts_that_the_test_does_not_reject(paired: bool, seed: int) -> None:
    first, second = groups(8, 8 if paired else 6, seed)
    test = signed_rank if paired else rank_sum
    found = test(first, second)
    step = 1e-6
    for limit, outward in ((found.difference_low, -1), (found.difference_high, 1)):
        assert test(first, second - limit - outward * step).p <= 0.05
        assert test(first, second - limit + outward * step).p > 0.05


def test_too_few_subjects_for_a_rank_interval_give_none() -> None:
    first, second = groups(5, 5)
    assert math.isnan(signed_rank(first, second).difference_low)  # 2 / 2⁵ = 0.0625
    assert smallest_signed_rank_p(5) == pytest.approx(0.0625)
    assert signed_rank(np.zeros(5), np.arange(1.0, 6)).p == pytest.approx(0.0625)
    assert smallest_rank_sum_p(3, 4) == pytest.approx(2 / 35)
    assert rank_sum(np.arange(3.0), np.arange(3.0, 7)).p == pytest.approx(2 / 35)


def test_effect_sizes_follow_their_definitions() -> None:
    first, second = np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 3, 7])
    assert paired_t(first, second).effect == pytest.approx(1.5 / np.std([1, 2, 0, 3], ddof=1))
    pooled = math.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    exact = math.gamma(3) / (math.sqrt(3) * math.gamma(2.5))  # Hedges 1981, 6 degrees of freedom
    assert welch_t(first, second).effect == pytest.approx(1.5 / pooled * exact)
    larger = sum(int(b > a) - int(b < a) for a in first for b in second) / 16  # Cliff's delta
    assert rank_sum(first, second).effect == pytest.approx(larger)


def test_the_interval_of_a_perfect_rank_correlation_has_a_width() -> None:
    found = signed_rank(np.zeros(8), np.arange(1.0, 9))
    assert (found.effect, found.effect_high) == (1, pytest.approx(1))
    assert 0 < found.effect_low < 0.5


@pytest.mark.parametrize("test", [signed_rank, rank_sum])
@pytest.mark.parametrize("count", [4, 6, 8])
def test_the_interval_of_a_rank_correlation_leaves_out_0_when_the_test_says_so(
    test: Callable[..., TestResult], count: int
) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = test(rng.normal(size=count), rng.normal(0.9, 1, size=count))
        assert (found.p <= 0.05) == (not found.effect_low <= 0 <= found.effect_high)


@pytest.mark.parametrize(("count", "shift"), [(2, 2.5), (3, 2.5), (5, 1.0)])
def test_the_interval_of_hedges_g_holds_the_truth_of_few_subjects(count: int, shift: float) -> None:
    rng, held, trials = np.random.default_rng(2), 0, 300
    for _ in range(trials):
        found = welch_t(rng.normal(size=count), rng.normal(shift, 1, size=count))
        held += found.effect_low <= shift <= found.effect_high
    assert held / trials > 0.93


def test_swapped_groups_give_the_mirrored_result() -> None:
    first, second = groups(9, 9)
    for test in (signed_rank, paired_t, rank_sum, welch_t):
        one, other = test(first, second), test(second, first)
        assert one.p == pytest.approx(other.p)
        assert one.difference == pytest.approx(-other.difference)
        assert (one.difference_low, one.effect_low) == pytest.approx((-other.difference_high, -other.effect_high))


def test_values_without_spread_are_not_tested_but_named() -> None:
    same = np.full(4, 0.3)
    assert paired_t(same, same + 0.1).note == "the values do not vary between subjects"
    assert welch_t(same, same).note == "all values are equal"
    assert not welch_t(same, same).tested
    assert signed_rank(same, same).p == 1
    assert rank_sum(same, same).p == 1


def test_one_subject_has_no_interval() -> None:
    assert all(map(math.isnan, mean_interval(np.array([0.5]))))
    assert not paired_t(np.array([1.0]), np.array([2.0])).tested


def test_corrections_give_the_worked_examples() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert corrected(p, "holm").tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected(p, "bh").tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert corrected(p, "none").tolist() == p


def test_what_was_not_tested_does_not_count_in_the_correction() -> None:
    found = corrected([0.02, float("nan"), 0.6])
    assert found[0] == pytest.approx(0.04)
    assert np.isnan(found[1])


@pytest.mark.parametrize("pairs", ["walsh", "differences"])
@pytest.mark.parametrize("ties", [False, True])
def test_pairs_that_are_only_counted_have_the_same_median_and_limits(
    pairs: str, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = groups(31, 24)
    if ties:
        first, second = first.round(1), second.round(1)
    of = WalshAverages(first) if pairs == "walsh" else Differences(first, second)
    for cut in (1, 17, 100):
        expected = median_and_limits(of, cut)
        with monkeypatch.context() as few:
            few.setattr("stroma.evaluation.pairwise._MOST_HELD", 0)
            assert median_and_limits(of, cut) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("n", [51, 80])
def test_the_interval_of_many_pairs_is_that_of_the_exact_distribution(n: int) -> None:
    """Beyond 50 pairs it comes from the normal distribution, which is one Walsh average off at the most."""
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    counts = np.ones(1)
    for rank in range(1, n + 1):
        counts = np.convolve(counts, np.eye(1, rank + 1)[0] + np.eye(1, rank + 1, rank)[0])
    cut = int(np.searchsorted(np.cumsum(counts) / 2.0**n, 0.025, side="right"))
    walsh = np.sort(((differences[:, None] + differences) / 2)[np.triu_indices(n)])
    result = signed_rank(np.zeros(n), differences)
    assert walsh[cut - 2] - 1e-9 <= result.difference_low <= walsh[cut] + 1e-9
    assert walsh[-cut - 1] - 1e-9 <= result.difference_high <= walsh[1 - cut] + 1e-9


@pytest.mark.parametrize(("n", "m"), [(33, 32), (40, 30)])
def test_the_interval_of_many_subjects_is_that_of_the_exact_distribution(n: int, m: int) -> None:
    first, second = groups(n, m)
    pairs = np.sort((second[:, None] - first).ravel())
    rng = np.random.default_rng(0)
    ranks = rng.permuted(np.tile(np.arange(n + m), (40_000, 1)), axis=1)[:, :n].sum(axis=1) - n * (n - 1) // 2
    cut = int(np.quantile(ranks, 0.025))
    result = rank_sum(first, second)
    assert pairs[cut - 12] <= result.difference_low <= pairs[cut + 12]
    assert pairs[-cut - 12] <= result.difference_high <= pairs[12 - cut]
