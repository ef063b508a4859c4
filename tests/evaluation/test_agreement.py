"""Agreement of annotators: borders and distances by brute force, tolerances by hand and as htc estimates them."""

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.evaluation.agreement import border_distances, border_of, compare_masks, read_tolerances, tolerances
from stroma.study.labels import IGNORE

RNG = np.random.default_rng(0)


def brute_border(mask):
    """Pixels of which one of four neighbours is outside the mask or the image."""
    padded = np.pad(mask, 1)
    near = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~near


def brute_distances(first, second):
    a, b = np.argwhere(brute_border(first)), np.argwhere(brute_border(second))
    all_pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))
    return all_pairs.min(1), all_pairs.min(0)


@pytest.mark.parametrize("seed", range(8))
def test_borders_and_distances_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.random((13, 17)) < 0.3 for _ in range(2))
    np.testing.assert_array_equal(border_of(first), brute_border(first))
    for found, expected in zip(border_distances(first, second), brute_distances(first, second), strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-6)


def test_a_border_moved_by_one_column():
    """Golden example of htc: two classes in 10 × 10 pixels, the border one column further."""
    first, second = np.zeros((2, 10, 10), np.uint8)
    first[:, 5:], second[:, 6:] = 1, 1
    found = compare_masks(first, second)
    assert found[0].pixels == (50, 60)
    assert found[0].dice == pytest.approx(2 * 50 / 110)
    # class 0 has borders of 26 and 28 pixels, of which 18 are one column away
    assert (found[0].first_to_second.size, found[0].second_to_first.size) == (26, 28)
    assert found[0].nsd(0) == pytest.approx(1 - 18 / 54)
    assert found[0].nsd(1) == 1
    table = tolerances({0: {"P1": [found[0].distances]}}, ["background", "organ"])
    assert table["tolerance_q95"].item() == 1.0
    assert table["tolerance_mean"].item() == pytest.approx(18 / 54)


def test_a_class_of_one_annotator_only():
    first, second = np.zeros((2, 6, 6), np.uint8)
    first[0, 0] = 1
    found = compare_masks(first, second)[1]
    assert (found.dice, found.nsd(100), found.distances.size) == (0, 0, 0)
    assert tolerances({1: {"P1": [found.distances]}}, ["a", "b"]).is_empty()


def test_what_only_one_annotated_is_outside_or_left_out():
    first = np.full((9, 9), IGNORE, np.uint8)
    second = first.copy()
    first[2:6, 2:6], second[2:6, 2:8] = 3, 3
    as_outside = compare_masks(first, second)[3]
    assert as_outside.dice == pytest.approx(2 * 16 / (16 + 24))
    assert as_outside.distances.max() == 2
    left_out = compare_masks(first, second, outside="ignore")[3]
    assert left_out.dice == 1
    assert left_out.distances.max() == 0
    # pixels beside those left out are border
    assert left_out.first_to_second.size == 12


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InvalidData, match=r"\(3, 4\) and \(4, 3\)"):
        compare_masks(np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8))


def test_distances_are_pooled_by_subject_and_averaged_over_subjects():
    of_first, of_second = [np.float32([0, 0, 2]), np.float32([2])], [np.float32([10.0])]
    table = tolerances({0: {"b": of_second, "a": of_first, "c": [np.empty(0, np.float32)]}}, ["liver"])
    row = table.row(0, named=True)
    assert row["tolerance_mean"] == (1.0 + 10.0) / 2
    assert row["tolerance_mean_std"] == 4.5  # of the population
    assert row["tolerance_median"] == (1.0 + 10.0) / 2
    assert row["tolerance_q75"] == (2 + 10) / 2
    assert (row["n_subjects"], row["n_pairs"]) == (2, 3)
    assert table.columns[:4] == ["label_name", "label_index", "tolerance_mean", "tolerance_mean_std"]
    assert isinstance(table, pl.DataFrame)


def test_tolerances_are_read_back_and_those_of_htc(tmp_path):
    table = tolerances({0: {"a": [np.float32([1, 2])]}, 1: {"a": [np.float32([5])]}}, ["liver", "spleen ü"])
    table.write_csv(tmp_path / "tolerances.csv")
    assert read_tolerances(tmp_path / "tolerances.csv") == {"liver": 1.5, "spleen ü": 5}
    assert read_tolerances(tmp_path / "tolerances.csv", reduction="q95") == {"liver": 1.95, "spleen ü": 5}
    of_htc = tmp_path / "nsd_thresholds_semantic.csv"
    of_htc.write_text("label_name,label_index,tolerance_mean,tolerance_mean_std\ncolon,4,5.319908,1.2\nliver,3,1,0\n")
    assert read_tolerances(of_htc) == {"colon": 5.319908, "liver": 1}


@pytest.mark.parametrize("row", ["liver,-1", "liver,nan", "liver,", "liver,a", "liver,1\nliver,2"])
def test_tolerances_that_are_none(row, tmp_path):
    (tmp_path / "a.csv").write_text(f"label_name,tolerance_mean\n{row}\n")
    with pytest.raises(InvalidData, match="'liver'"):
        read_tolerances(tmp_path / "a.csv")
    with pytest.raises(InvalidData, match="tolerance_median"):
        read_tolerances(tmp_path / "a.csv", reduction="median")
    with pytest.raises(UsageError, match="'q9'"):
        read_tolerances(tmp_path / "a.csv", reduction="q9")
    with pytest.raises(MissingFile):
        read_tolerances(tmp_path / "b.csv")
