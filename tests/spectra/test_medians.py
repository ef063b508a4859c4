"""Median spectra: small enough to be worked out by hand."""

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import InvalidData
from stroma.spectra.medians import mean_over_subjects, median_rows, medians_schema, spectrum_statistics

NAMES = ("liver", "spleen", "kidney")


def rows_of(cube, labels, image="P001#t", subject="P001", annotator="annotator1"):
    return median_rows(
        np.asarray(cube, np.float32),
        np.asarray(labels, np.uint8),
        NAMES,
        image_id=image,
        subject_id=subject,
        annotator=annotator,
    )


def test_each_label_present_gives_a_row_with_median_and_sample_deviation():
    cube = [[[1, 1], [3, 1], [8, 8], [9, 9]]]
    rows = rows_of(cube, [[0, 0, 2, 255]])
    assert dict(rows.schema) == medians_schema(2)
    assert rows["label"].to_list() == ["liver", "kidney"]
    assert rows["n_pixels"].to_list() == [2, 1]
    liver, kidney = rows.to_dicts()
    assert liver["median_spectrum"] == [2, 1]  # an even count: the mean of the middle two
    assert liver["std_spectrum"] == pytest.approx([np.sqrt(2), 0])  # divisor n - 1
    assert kidney["std_spectrum"] == [0, 0]


def test_normalised_spectra_are_normalised_before_the_median():
    liver = rows_of([[[1, 1], [30, 10], [1, 3]]], [[0, 0, 0]]).to_dicts()[0]
    assert liver["median_normalized_spectrum"] == [0.5, 0.5]
    assert liver["std_normalized_spectrum"] == pytest.approx([0.25, 0.25])


def test_an_image_without_annotation_gives_an_empty_table_of_the_same_columns():
    rows = rows_of(np.ones((2, 2, 3)), np.full((2, 2), 255))
    assert rows.is_empty()
    assert dict(rows.schema) == medians_schema(3)


def test_labels_of_another_size_are_an_error():
    with pytest.raises(InvalidData, match="3 × 2"):
        rows_of(np.ones((2, 3, 4)), np.zeros((3, 2)))


def test_subjects_count_the_same_however_many_images_they_have():
    tables = [
        rows_of([[[0, 10]]], [[0]], image="P001#a", subject="P001"),
        rows_of([[[2, 10]]], [[0]], image="P001#b", subject="P001"),
        rows_of([[[7, 10]]], [[0]], image="P002#a", subject="P002"),
    ]
    result = mean_over_subjects(pl.concat(tables), "median_spectrum").to_dicts()
    assert len(result) == 1
    assert result[0]["mean"] == [4, 10]  # (mean(0, 2) + 7) / 2, not (0 + 2 + 7) / 3
    assert result[0]["std"] == pytest.approx([np.sqrt(18), 0])
    assert (result[0]["n_subjects"], result[0]["n_images"], result[0]["n_pixels"]) == (2, 3, 3)


def test_annotators_are_not_merged_and_one_subject_has_no_spread():
    tables = [rows_of([[[1, 2]]], [[1]], annotator=who) for who in ("annotator1", "annotator2")]
    result = mean_over_subjects(pl.concat(tables))
    assert result["annotator"].to_list() == ["annotator1", "annotator2"]
    assert result["std"].to_list() == [None, None]


def test_a_table_without_the_spectrum_is_an_error():
    with pytest.raises(InvalidData, match="median_spectrum"):
        mean_over_subjects(rows_of([[[1, 2]]], [[1]]).drop("median_spectrum"), "median_spectrum")


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1001])
def test_median_and_deviation_are_those_of_numpy(count):
    spectra = np.random.default_rng(count).normal(0.3, 0.01, (count, 21)).astype(np.float32)
    before = spectra.copy()
    median, std, _, normalised = spectrum_statistics(spectra)
    np.testing.assert_array_equal(spectra, before)
    np.testing.assert_allclose(median, np.median(spectra, axis=0), rtol=1e-6)
    expected = spectra.std(axis=0, ddof=1, dtype=np.float64) if count > 1 else np.zeros(21)
    np.testing.assert_allclose(std, expected, rtol=1e-5)
    shares = spectra.astype(np.float64) / np.abs(spectra).sum(axis=1, keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(normalised, shares.std(axis=0, ddof=1) if count > 1 else 0, rtol=1e-4, atol=1e-9)
