"""Tests of three and more groups, and the mixed model: against scipy, balanced designs and, if there, statsmodels."""

import warnings

import numpy as np
import pytest
from scipy import stats

from stroma.evaluation.mean_tests import paired_t, welch_anova
from stroma.evaluation.mixed_model import fit_random_intercept
from stroma.evaluation.rank_tests import friedman, kruskal

RNG = np.random.default_rng(3)


def balanced(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(subjects, groups) as values, design and subjects of a mixed model."""
    n, k = values.shape
    return values.T.ravel(), np.kron(np.eye(k), np.ones((n, 1))), [str(i) for i in range(n)] * k


def test_friedman_and_kruskal_agree_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(20, 4)) + [0, 0, 0.4, 0.8]
    oracle = stats.friedmanchisquare(*values.T)
    assert (friedman(values).statistic, friedman(values).p) == pytest.approx((oracle.statistic, oracle.pvalue))
    oracle = stats.kruskal(*values.T)
    assert (kruskal(values.T).statistic, kruskal(values.T).p) == pytest.approx((oracle.statistic, oracle.pvalue))


def test_few_subjects_are_permuted() -> None:
    ranks = np.array([[1.0, 2, 3]] * 4)  # all four agree: 3! of (3!)⁴ divisions are as extreme
    found = friedman(ranks)
    assert found.effect == pytest.approx(1)
    assert found.p == pytest.approx(6**-3, rel=0.3)
    separate = [np.array([1.0, 2]), np.array([3.0, 4]), np.array([5.0, 6])]
    assert kruskal(separate).p == pytest.approx(6 / 90, rel=0.1)  # 3! orders of 6! / (2!)³ divisions


def test_the_same_seed_gives_the_same_result() -> None:
    values = RNG.normal(size=(6, 3))
    assert repr(friedman(values, seed=1)) == repr(friedman(values, seed=1))  # a difference of three groups is NaN
    assert friedman(values, seed=1).p != friedman(values, seed=2).p


def test_effects_of_many_groups_lie_in_their_intervals() -> None:
    values = np.random.default_rng(1).normal(size=(12, 3)) + [0, 0.5, 1.5]
    for found in (friedman(values), kruskal(values.T)):
        assert found.effect_low <= found.effect <= found.effect_high <= 1


def test_values_without_any_difference_give_p_1() -> None:
    assert friedman(np.ones((5, 3))).p == 1
    assert kruskal([np.ones(3)] * 3).p == 1
    assert welch_anova([np.ones(3)] * 3).note


def test_welch_anova_of_two_groups_is_welch_t() -> None:
    first, second = RNG.normal(size=6), RNG.normal(1, 3, size=9)
    found, oracle = welch_anova([first, second]), stats.ttest_ind(first, second, equal_var=False)
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic**2, oracle.pvalue))


def test_a_mixed_model_of_complete_pairs_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0, 2, size=(9, 1)) + rng.normal([0, 0.6], 1, size=(9, 2))
    found = fit_random_intercept(*balanced(values)).contrast(np.array([-1.0, 1.0]))
    oracle = paired_t(values[:, 0], values[:, 1])
    assert (found.t, found.df, found.p) == pytest.approx((oracle.statistic, 8, oracle.p), rel=1e-4)
    assert (found.low, found.high) == pytest.approx((oracle.difference_low, oracle.difference_high), rel=1e-4)


def test_a_balanced_mixed_model_is_the_analysis_of_variance_with_repeated_measures() -> None:
    rng = np.random.default_rng(6)
    n, k = 10, 4
    values = rng.normal(0, 2, size=(n, 1)) + rng.normal(0, 1, size=(n, k)) + [0, 0.2, 0.4, 0.6]
    fit = fit_random_intercept(*balanced(values))
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    within = (rest**2).sum() / ((n - 1) * (k - 1))
    between = (k * values.mean(1).var(ddof=1) - within) / k
    f = n * values.mean(0).var(ddof=1) / within
    assert (fit.within, fit.between) == pytest.approx((within, between), rel=1e-4)
    found = fit.f_test(np.column_stack([-np.ones(k - 1), np.eye(k - 1)]))
    assert found == pytest.approx((f, (n - 1) * (k - 1), stats.f.sf(f, k - 1, (n - 1) * (k - 1))), rel=1e-4)


def test_groups_of_whole_subjects_have_the_degrees_of_freedom_of_subjects() -> None:
    """Ten images of each of eight subjects are no eighty independent values."""
    rng = np.random.default_rng(7)
    subjects = np.repeat(np.arange(8), 10)
    values = rng.normal(size=8)[subjects] * 2 + rng.normal(size=80)
    design = np.stack([subjects < 4, subjects >= 4], axis=1).astype(float)
    found = fit_random_intercept(values, design, [str(s) for s in subjects]).contrast(np.array([-1.0, 1.0]))
    means = np.array([values[subjects == s].mean() for s in range(8)])
    oracle = stats.ttest_ind(means[4:], means[:4])
    assert (found.t, found.df, found.p) == pytest.approx((oracle.statistic, 6, oracle.pvalue), rel=1e-3)


def test_unbalanced_mixed_models_agree_with_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        subjects = np.repeat(np.arange(12), rng.integers(1, 7, size=12))
        group = rng.integers(0, 3, size=len(subjects))
        values = rng.normal(size=12)[subjects] + 0.3 * group + rng.normal(size=len(subjects))
        design = np.eye(3)[group]
        found = fit_random_intercept(values, design, [str(s) for s in subjects])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            oracle = api.MixedLM(values, design, groups=subjects).fit(reml=True)
        assert found.beta == pytest.approx(oracle.fe_params, abs=1e-3)
        assert (found.between, found.within) == pytest.approx((oracle.cov_re[0, 0], oracle.scale), abs=1e-3)
        assert found.log_likelihood == pytest.approx(oracle.llf, abs=1e-5)


def test_what_is_not_known_of_the_variances_widens_intervals_of_incomplete_designs_only() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0, 2, size=(9, 1)) + rng.normal([0, 0.6], 1, size=(9, 2))
    y, design, subjects = balanced(values)
    whole = fit_random_intercept(y, design, subjects).contrast(np.array([-1.0, 1.0]))
    assert whole.error == pytest.approx((values[:, 1] - values[:, 0]).std(ddof=1) / 3, rel=1e-4)
    kept = np.arange(18) % 9 < 4  # four complete subjects, five with one value each
    kept[[4, 5, 6, 16, 17]] = True
    chosen = [s for s, k in zip(subjects, kept, strict=True) if k]
    partly = fit_random_intercept(y[kept], design[kept], chosen)
    plain = np.linalg.inv(
        design[kept].T @ np.linalg.inv(partly.within * np.eye(13) + partly.between * np.equal.outer(chosen, chosen))
        @ design[kept]
    )  # fmt: skip
    contrast = np.array([-1.0, 1.0])
    assert partly.contrast(contrast).error > np.sqrt(contrast @ plain @ contrast)


def test_no_variance_between_subjects_is_zero_not_negative() -> None:
    values = np.array([[1.0, -1], [-1, 1.0], [0.5, -0.6], [-0.4, 0.5]])
    assert fit_random_intercept(*balanced(values)).between == 0


def test_five_subjects_a_group_are_enough_for_chi_square_and_four_are_not() -> None:
    five, four = (np.random.default_rng(1).normal(size=(3, n)) + [[0], [1], [2]] for n in (5, 4))
    assert kruskal(five).p == pytest.approx(stats.kruskal(*five).pvalue)
    assert kruskal(four).p != pytest.approx(stats.kruskal(*four).pvalue)


def test_the_effect_of_groups_that_do_not_vary_has_a_width_as_few_subjects_say_little() -> None:
    """Every bootstrap sample is the sample: 3 groups of 5 equal values, ε² = H / (n - 1)."""
    result = kruskal([np.full(5, value) for value in (1.0, 2.0, 3.0)])
    assert result.effect == pytest.approx(result.statistic / 14)
    assert 0 < result.effect_low < 0.95 * result.effect and result.effect_high == 1
