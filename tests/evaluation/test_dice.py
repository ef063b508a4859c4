import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import f1_score

from stroma.core.errors import InvalidData
from stroma.evaluation.dice import aggregate, confusion_matrix, dice_of, score_rows, student_interval
from stroma.evaluation.schema import SCORES_SCHEMA

rng = np.random.default_rng(0)


def test_dice_is_the_f1_score_of_scikit_learn():
    reference, predicted = rng.integers(0, 4, (20, 30), dtype=np.uint8), rng.integers(0, 4, (20, 30), dtype=np.uint8)
    counts = confusion_matrix(reference, predicted, 4)
    np.testing.assert_array_equal(counts[:, :4], sklearn_confusion(reference.ravel(), predicted.ravel()))
    expected = f1_score(reference.ravel(), predicted.ravel(), average=None)
    np.testing.assert_allclose(dice_of(counts), expected)


def test_pixels_that_are_not_annotated_do_not_count():
    reference = np.array([[0, 0, 255, 255]], np.uint8)
    predicted = np.array([[0, 1, 1, 0]], np.uint8)
    assert confusion_matrix(reference, predicted, 2).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_a_class_that_the_reference_lacks_has_no_score():
    counts = confusion_matrix(np.zeros((2, 2), np.uint8), np.array([[0, 0], [1, 1]], np.uint8), 2)
    dice = dice_of(counts)
    assert dice[0] == pytest.approx(2 * 2 / (4 + 2))
    assert np.isnan(dice[1])


def test_pixels_that_were_not_predicted_are_wrong():
    counts = confusion_matrix(np.zeros((1, 4), np.uint8), np.array([[0, 0, 255, 255]], np.uint8), 1)
    assert counts.tolist() == [[2, 2]]
    assert dice_of(counts)[0] == pytest.approx(2 * 2 / (4 + 2))


def test_sizes_and_indices_are_checked():
    with pytest.raises(InvalidData, match="prediction is 2 × 3 pixels, the reference 3 × 2"):
        confusion_matrix(np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.uint8), 1)
    with pytest.raises(InvalidData, match="index 7"):
        confusion_matrix(np.zeros((1, 1), np.uint8), np.full((1, 1), 7, np.uint8), 2)


def table(rows):
    return pl.concat([score_rows(i, s, "a", ["x", "y"], np.array(v, dtype=float)) for i, s, v in rows])


def value(scores, scope, label, subject=None):
    rows = scores.filter((pl.col("scope") == scope) & pl.col("label").eq_missing(label))
    rows = rows.filter(pl.col("subject_id") == subject) if subject else rows
    assert len(rows) == 1
    return rows.to_dicts()[0]


def test_a_subject_with_many_images_weighs_no_more_than_another():
    rows = [("1", "A", (0.2, 0.5)), ("2", "A", (0.4, 0.5)), ("3", "A", (0.6, 0.5)), ("4", "B", (1.0, np.nan))]
    scores = aggregate(table(rows))
    assert scores.schema == SCORES_SCHEMA
    assert value(scores, "subject", "x", "A")["value"] == pytest.approx(0.4)
    assert value(scores, "subject", None, "A")["n_subjects"] == 1
    x = value(scores, "set", "x")
    assert (x["value"], x["n_subjects"], x["n_images"]) == (pytest.approx(0.7), 2, 4)
    y = value(scores, "set", "y")
    assert (y["value"], y["low"], y["n_subjects"], y["n_images"]) == (0.5, None, 1, 3)
    overall = value(scores, "set", None)
    assert overall["value"] == pytest.approx((0.7 + 0.5) / 2)
    assert (overall["n_subjects"], overall["n_images"]) == (2, 4)


def test_the_interval_is_students_t_over_subjects():
    values = np.array([0.5, 0.6, 0.8])
    low, high = student_interval(values)
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (low, high) == pytest.approx((max(0, expected[0]), min(1, expected[1])))
    assert student_interval(np.array([0.5])) == (None, None)


def test_image_scores_stay_in_the_table():
    scores = aggregate(table([("1", "A", (0.2, 0.5))]))
    assert scores.filter(pl.col("scope") == "image").height == 2
