"""Bland-Altman: bias, limits, and their pooling over recordings and subjects."""

import numpy as np
import polars as pl
import pytest

from stroma.spectra.agreement import agreement, overall_agreement


def test_bias_and_limits_are_those_of_the_differences():
    found = agreement(np.array([[1.0, 2.0, 3.0, np.nan]]), np.array([[1.0, 1.0, 1.0, 5.0]]))
    assert (found.n, found.bias, found.sd) == (3, 1.0, 1.0)
    assert found.limits == pytest.approx((1 - 1.96, 1 + 1.96))
    assert found.rank is None and (found.mean_first, found.mean_second) == (2.0, 1.0)


def test_rank_correlation_does_not_mind_another_scale():
    values = np.linspace(0.1, 0.9, 20)
    assert agreement(values, values**3).rank == pytest.approx(1)
    assert agreement(values, -values).rank == pytest.approx(-1)


def test_maps_without_a_common_pixel_have_no_agreement_and_one_pixel_has_no_spread():
    assert agreement(np.array([np.nan, 1]), np.array([1, np.nan])) is None
    assert agreement(np.array([2.0]), np.array([1.0])).sd == 0


def test_subjects_count_the_same_and_limits_add_variance_within_and_between():
    rows = pl.DataFrame(
        {
            "parameter": ["StO2"] * 4,
            "subject_id": ["a", "a", "a", "b"],
            "bias": [0.1, 0.1, 0.1, 0.3],
            "sd": [0.1, 0.1, 0.1, 0.1],
            "rank": [0.9, 0.9, 0.7, 0.8],
        }
    )
    found = overall_agreement(rows).to_dicts()[0]
    assert found["bias"] == pytest.approx(0.2)
    assert found["sd"] == pytest.approx(np.sqrt(0.01 + np.var([0.1, 0.1, 0.1, 0.3], ddof=1)))
    assert found["bias_high"] == pytest.approx(0.2 + 12.7062 * np.sqrt(0.02) / np.sqrt(2), rel=1e-4)
    assert (found["n_subjects"], found["n_recordings"]) == (2, 4) and found["rank"] == pytest.approx(0.85)
    alone = overall_agreement(rows[:1]).to_dicts()[0]
    assert alone["bias_low"] is None and alone["sd"] == pytest.approx(0.1)


def test_limits_cover_95_percent_of_the_pixels_of_many_recordings():
    rng = np.random.default_rng(0)
    rows, differences = [], []
    for recording in range(300):
        first = rng.normal(0.5, 0.1, 400)
        second = first + rng.normal(rng.normal(0.05, 0.03), 0.02, 400)
        one = agreement(first, second)
        rows.append(("x", f"{recording}", one.bias, one.sd, one.rank))
        differences.append(first - second)
    table = pl.DataFrame(rows, schema=["parameter", "subject_id", "bias", "sd", "rank"], orient="row")
    found = overall_agreement(table).to_dicts()[0]
    inside = (np.concatenate(differences) > found["low"]) & (np.concatenate(differences) < found["high"])
    assert inside.mean() == pytest.approx(0.95, abs=0.01)
