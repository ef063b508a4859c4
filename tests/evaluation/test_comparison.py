"""From rows to one value a subject, to tests, to words."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from stroma.core.errors import InvalidData, UsageError
from stroma.evaluation.comparison import STATISTICS_SCHEMA, compare_groups
from stroma.evaluation.statistics_input import filter_rows, join_metadata, read_tables, table_names
from stroma.evaluation.subjects import SUBJECT_VALUES_SCHEMA, SubjectValues, subject_values
from stroma.evaluation.wording import comparison_lines, number, p_text, sentence


def rows(*entries: tuple[object, ...], names: str = "subject_id group value") -> pl.DataFrame:
    return pl.DataFrame(list(entries), schema=names.split(), orient="row")


def measured(
    effects: dict[str, float], *, subjects: int = 8, labels: tuple[str, ...] = ("",), seed: int = 0
) -> pl.DataFrame:
    """Every subject in every group, with a label each; the first label has all of the effect, the others none."""
    rng = np.random.default_rng(seed)
    entries = []
    for subject in range(subjects):
        level = rng.normal(0.5, 0.05)
        for label in labels:
            for group, effect in effects.items():
                value = level + (effect if label == labels[0] else 0) + rng.normal(0, 0.02)
                entries.append((f"P{subject:02d}", group, label, value))
    return rows(*entries, names="subject_id group label value")


def values_of(table: pl.DataFrame, **options: object) -> SubjectValues:
    return subject_values(table, "value", "group", **options)


def test_rows_become_images_and_images_subjects() -> None:
    table = rows(
        ("A", "x", "a1", 0.0), ("A", "x", "a1", 0.0), ("A", "x", "a1", 3.0), ("A", "x", "a2", 5.0),
        ("B", "y", "b", 2.0),
        names="subject_id group image_id value",
    )  # fmt: skip
    found = values_of(table).table
    assert found.schema == SUBJECT_VALUES_SCHEMA
    assert found.rows() == [("", "x", "A", 3.0, 2, 4), ("", "y", "B", 2.0, 1, 1)]  # (1 + 5) / 2, not 8 / 4
    assert values_of(table, aggregate="median").table["value"].to_list() == [2.5, 2.0]
    assert values_of(table.drop("image_id")).table["value"].to_list() == [2.0, 2.0]


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    nan, inf = float("nan"), float("inf")
    table = rows(
        ("A", "x", 1.0), ("A", "x", None), ("B", None, 1.0), (None, "y", 2.0), ("C", "y", nan), ("C", "y", inf),
        ("C", "y", 2.0), ("D", "z", 2.0),
    )  # fmt: skip
    found = values_of(table, groups=["x", "y"])
    assert found.dropped == {
        "without value": 3, "without group": 1, "without subject_id": 1, "of other groups": 1,
    }  # fmt: skip
    assert found.rows == 8


def test_labels_of_numbers_are_in_their_order() -> None:
    table = rows(
        *((f"S{i}", "x", k, 1.0) for i in range(2) for k in (10, 9, 2)), names="subject_id group cluster value"
    )
    assert values_of(table, by="cluster").labels == ["2", "9", "10"]


def test_images_that_are_their_own_subjects_are_noticed() -> None:
    table = rows(("a", "x", "a", 1.0), ("b", "y", "b", 1.0), names="subject_id group image_id value")
    assert values_of(table).images_own


@pytest.mark.parametrize(
    ("column", "message"), [("valeu", "no column 'valeu'.*'value'"), ("label", "holds no numbers.*value")]
)
def test_a_wrong_value_column_is_named(column: str, message: str) -> None:
    with pytest.raises((UsageError, InvalidData), match=message):
        subject_values(rows(("A", "x", 1.0, "liver"), names="subject_id group value label"), column, "group")


def test_lists_of_numbers_are_refused_with_the_next_step() -> None:
    table = rows(("A", "x", 1.0)).with_columns(spectrum=pl.lit([[1.0, 2.0]]).explode().cast(pl.List(pl.Float64)))
    with pytest.raises(InvalidData, match="list of numbers.*Compare a column of numbers \\(value\\)"):
        subject_values(table, "spectrum", "group")


def test_rows_of_several_kinds_are_not_mixed() -> None:
    table = rows(("A", "x", 1.0), ("B", "y", 2.0)).with_columns(metric=pl.Series(["dice", "nsd"]))
    with pytest.raises(InvalidData, match="metric is dice, nsd.*--where \"metric = 'dice'\""):
        values_of(table)


def test_an_unknown_group_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no group 'ischemia'.*'ischemic'"):
        values_of(rows(("A", "ischemic", 1.0)), groups=["ischemia"])


def test_paired_subjects_are_compared_with_themselves() -> None:
    table = measured({"before": 0.0, "after": 0.1})
    found = compare_groups(values_of(table), groups=["before", "after"], paired=True)
    assert found.table.schema == STATISTICS_SCHEMA
    row = found.table.row(0, named=True)
    wide = table.pivot("group", index="subject_id", values="value")
    oracle = stats.wilcoxon(wide["after"].to_numpy() - wide["before"].to_numpy())
    assert (row["test"], row["n_a"], row["n_subjects"], row["n_rows"]) == ("Wilcoxon signed-rank test", 8, 8, 16)
    assert row["p"] == pytest.approx(oracle.pvalue)
    assert row["mean_b"] == pytest.approx(wide["after"].mean())
    assert row["difference"] == pytest.approx(0.1, abs=0.03)


def test_the_numbers_of_subjects_decide_which_test_is_taken() -> None:
    five, six = (measured({"a": 0, "b": 0.1}, subjects=n) for n in (5, 6))
    assert compare_groups(values_of(five), paired=True).method == "t"  # 2 / 2⁵ > 0.05
    assert compare_groups(values_of(six), paired=True).method == "rank"
    many = measured({"a": 0, "b": 0.1}, subjects=6, labels=("liver", "colon"))
    found = compare_groups(values_of(many, by="label"), paired=True)
    assert (found.method, found.reason.split(" gives")[0][-7:]) == ("t", "'colon'")  # 2 × 2 / 2⁶ > 0.05
    assert compare_groups(values_of(many, by="label"), paired=True, method="rank").method == "rank"


def test_labels_are_corrected_together_and_without_loss() -> None:
    table = measured({"a": 0.0, "b": 0.2}, subjects=10, labels=("liver", "colon", "spleen"))
    found = compare_groups(values_of(table, by="label"), paired=True).table
    assert found["by"].to_list() == ["colon", "liver", "spleen"]
    least = found["p"].to_list()[1]
    assert found["p_corrected"].to_list()[1] == pytest.approx(3 * least)


def test_subjects_without_a_partner_are_named() -> None:
    table = measured({"a": 0.0, "b": 0.1}).filter(~((pl.col("subject_id") == "P03") & (pl.col("group") == "b")))
    found = compare_groups(values_of(table), paired=True)
    assert found.left_out == ("1 subject left out, without 'b': P03",)
    assert found.table["n_a"].to_list() == [7]


def test_the_mixed_model_uses_them() -> None:
    table = measured({"a": 0.0, "b": 0.1}).filter(~((pl.col("subject_id") == "P03") & (pl.col("group") == "b")))
    found = compare_groups(values_of(table), method="mixed").table.row(0, named=True)
    assert (found["n_a"], found["n_b"], found["n_subjects"]) == (8, 7, 8)
    assert found["difference"] == pytest.approx(0.1, abs=0.03)


def test_a_subject_in_both_groups_is_named_where_they_are_not_paired() -> None:
    with pytest.raises(InvalidData, match="2 subjects in both 'a' and 'b': 'P00', 'P01'.*--paired"):
        compare_groups(values_of(measured({"a": 0, "b": 0}, subjects=2)))


def test_one_group_is_named() -> None:
    with pytest.raises(InvalidData, match="one group \\('a'\\)"):
        compare_groups(values_of(measured({"a": 0})))


def test_nothing_paired_is_an_error() -> None:
    table = rows(("A", "x", 1.0), ("B", "y", 2.0))
    with pytest.raises(InvalidData, match="no subject has values in all groups \\(x, y\\)"):
        compare_groups(values_of(table), paired=True)


def test_one_subject_is_named() -> None:
    with pytest.raises(InvalidData, match="could be tested: fewer than 2 pairs"):
        compare_groups(values_of(measured({"a": 0, "b": 0}, subjects=1)), paired=True)
    with pytest.raises(InvalidData, match="could be tested: 1 subject in 'y'"):
        compare_groups(values_of(rows(("A", "x", 1.0), ("C", "x", 1.5), ("B", "y", 2.0))))


def test_a_mixed_model_without_subjects_in_several_groups_says_so() -> None:
    table = rows(*((f"S{i}", "x" if i < 4 else "y", float(i)) for i in range(8)))
    with pytest.raises(InvalidData, match="a mixed model has nothing to add"):
        compare_groups(values_of(table), method="mixed")


def test_a_label_with_too_few_subjects_is_not_tested_and_the_others_are() -> None:
    table = pl.concat([
        measured({"a": 0, "b": 0.1}, labels=("liver",)), measured({"a": 0, "b": 0}, subjects=1, labels=("skin",))
    ])  # fmt: skip
    found = compare_groups(values_of(table, by="label"), paired=True, method="rank")
    assert found.table["p"].is_null().to_list() == [False, True]
    assert found.table["p_corrected"][0] == found.table["p"][0]  # one test, nothing to correct
    assert "skin: b against a (1 pair): not tested; fewer than 2 pairs" in comparison_lines(found, "value")[1]


def test_three_groups_are_compared_together_and_pair_by_pair() -> None:
    table = measured({"a": 0.0, "b": 0.0, "c": 0.3}, subjects=9)
    found = compare_groups(values_of(table), paired=True)
    assert found.table["kind"].to_list() == ["groups", "pair", "pair", "pair"]
    assert found.table["test"][0] == "Friedman test"
    pairs = found.table.filter(kind="pair")
    assert pairs.select("group_a", "group_b").rows() == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p < 0.05 for p in pairs["p_corrected"]] == [False, True, True]
    text = sentence(found, "StO2")
    assert text.startswith("StO2 differed between a, b and c (9 subjects compared with themselves; Friedman test; p")
    assert "namely between a and c" in text


@pytest.mark.parametrize(("method", "name"), [("rank", "Kruskal-Wallis test"), ("t", "Welch's analysis of variance")])
def test_three_groups_of_different_subjects(method: str, name: str) -> None:
    table = rows(*((f"S{i}", "abc"[i % 3], float(i % 3) + i / 30) for i in range(15)))
    found = compare_groups(values_of(table), method=method)
    assert found.table["test"][0] == name
    assert found.table["p"][0] < 0.01


def test_the_sentence_says_all_that_a_paper_needs() -> None:
    found = compare_groups(values_of(measured({"a": 0.0, "b": 0.1})), paired=True)
    row = found.table.row(0, named=True)
    assert sentence(found, "oxygenation") == (
        f"Oxygenation was higher in b (median {row['median_b']:.3f}) than in a (median {row['median_a']:.3f}) (in 8 "
        f"subjects compared with themselves; Hodges-Lehmann shift {row['difference']:#.3g} [95 % CI "
        f"{row['difference_low']:#.3g} to {row['difference_high']:#.3g}]; rank-biserial correlation 1.00 [95 % CI "
        f"{row['effect_low']:.2f} to 1.00]; Wilcoxon signed-rank test; p = 0.008)."
    )


def test_no_finding_is_called_none() -> None:
    found = compare_groups(values_of(measured({"a": 0.0, "b": 0.0})), paired=True)
    assert sentence(found, "x").startswith("X did not differ significantly between a (median")


def test_numbers_are_rounded_for_people() -> None:
    assert [number(v) for v in (0.12345, 12345.6, 1.0, -0.00001, 0.0, None)] == [
        "0.123", "12,346", "1.00", "-1.00e-05", "0", "–",
    ]  # fmt: skip
    assert [p_text(p) for p in (0.0001, 0.031, 0.5, None)] == ["p < 0.001", "p = 0.031", "p = 0.50", "not tested"]


def test_tables_are_read_in_any_form_and_put_together(tmp_path: Path) -> None:
    table = rows(("Ä#1", "x", 1.5))
    for name in ("first run", "zweiter,Lauf"):
        (tmp_path / name).mkdir()
    one, two = tmp_path / "first run" / "s.parquet", tmp_path / "zweiter,Lauf" / "s.csv"
    table.write_parquet(one)
    table.write_csv(two)
    table.write_ipc(tmp_path / "s.feather")
    assert read_tables([tmp_path / "s.feather"]).equals(table)
    assert table_names([one, two]) == ["first run", "zweiter,Lauf"]
    both = read_tables([one, two])
    assert both["table"].to_list() == ["first run", "zweiter,Lauf"]
    assert both["value"].to_list() == [1.5, 1.5]
    with pytest.raises(UsageError, match="given twice"):
        read_tables([one, one])


def test_a_folder_names_the_tables_in_it(tmp_path: Path) -> None:
    (tmp_path / "run" / "tables" / "test").mkdir(parents=True)
    rows(("A", "x", 1.5)).write_parquet(tmp_path / "run" / "tables" / "test" / "scores.parquet")
    with pytest.raises(UsageError, match="a table is needed. Its tables are tables/test/scores.parquet"):
        read_tables([tmp_path / "run"])


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.feather"
    path.write_bytes(b"no feather")
    with pytest.raises(InvalidData, match="no readable Feather file"):
        read_tables([path])


def test_metadata_brings_the_groups(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("subject_id,diagnosis\nA,healthy\nB,ill\n")
    found = join_metadata(rows(("A", "x", 1.0), ("C", "x", 2.0)), path, "subject_id")
    assert found["diagnosis"].to_list() == ["healthy", None]
    path.write_text("subject_id,diagnosis\nA,healthy\nA,ill\n")
    with pytest.raises(InvalidData, match="different things about 'A'"):
        join_metadata(rows(("A", "x", 1.0)), path, "subject_id")
    path.write_text("patient,diagnosis\nA,healthy\n")
    with pytest.raises(InvalidData, match="neither 'image_id' nor 'subject_id'"):
        join_metadata(rows(("A", "x", 1.0)), path, "subject_id")


def test_a_condition_that_is_none_is_told() -> None:
    table = rows(("A", "x", 1.0))
    assert len(filter_rows(table, "value > 0 AND subject_id = 'A'")) == 1
    with pytest.raises(UsageError, match="cannot read the condition"):
        filter_rows(table, "colour = 'red'")
    with pytest.raises(UsageError, match="no row fulfils"):
        filter_rows(table, "value > 3")


def test_a_group_of_lists_is_refused() -> None:
    table = rows(("A", "x", 1.0)).with_columns(group=pl.concat_list("group"))
    with pytest.raises(InvalidData, match="'group' holds List\\(String\\) in each row, one name is needed"):
        values_of(table)


def test_a_column_without_any_value_is_told() -> None:
    table = rows(("A", "x", 1.0), ("B", "y", 2.0)).with_columns(value=pl.lit(None))
    with pytest.raises(
        InvalidData, match="no row with a value of 'value' and a group. Left out: 2 rows without value"
    ):
        values_of(table)
    with pytest.raises(InvalidData, match="no row with a value"):
        values_of(table.clear())


def test_many_labels_without_a_finding_are_counted_in_the_sentence() -> None:
    table = measured({"a": 0.0, "b": 0.3}, subjects=12, labels=tuple("0123456789"))
    text = sentence(compare_groups(values_of(table, by="label"), paired=True), "fraction", by="label")
    assert "fraction differed in 1, label 0 (0.3" in text
    assert "and not significantly in the other 9 (p " in text


def test_a_finding_whose_shift_is_zero_for_ties_is_still_told_as_one() -> None:
    """Fractions that are mostly 0: the median of all differences is 0 though one group is larger."""
    table = rows(*((f"a{i}", "x", 0.0) for i in range(20)), *((f"b{i}", "y", max(0.0, i - 11)) for i in range(20)))
    comparison = compare_groups(values_of(table))
    row = comparison.table.row(0, named=True)
    assert row["p"] < 0.01 and row["difference"] == 0
    text = sentence(comparison, "fraction")
    assert text.startswith("Fraction was higher in y (mean 1.80, SD 2.71) than in x (mean 0, SD 0) (in 40 subjects")


def test_the_sentence_of_several_labels_says_which_way_differences_count() -> None:
    table = measured({"before": 0.0, "after": 0.3}, labels=("liver", "spleen"))
    comparison = compare_groups(values_of(table, by="label"), groups=["before", "after"], paired=True)
    text = sentence(comparison, "value", by="label")
    assert "paired t-test" not in text and "; Hodges-Lehmann shift after minus before; Holm-corrected" in text


def test_few_subjects_in_one_of_three_groups_leave_the_pairs_of_the_others() -> None:
    table = rows(
        *((f"a{i}", "a", i) for i in range(5)), *((f"b{i}", "b", i + 10) for i in range(5)), ("c", "c", 3),
    )  # fmt: skip
    text = sentence(compare_groups(values_of(table)), "value")
    assert text == (
        "Value could not be compared between a, b and c together: fewer than 2 subjects in 'c'; of single pairs it "
        "differed between a and b (10.0 [95 % CI 7.00 to 13.0], p = 0.008), Holm-corrected p over 1 pair."
    )


def test_a_label_that_cannot_be_tested_does_not_count_when_the_test_is_chosen() -> None:
    """Six pairs reach 0.031, too much after a correction over two labels; one of the two has a single subject."""
    table = measured({"a": 0.0, "b": 0.3}, subjects=6, labels=("liver", "spleen"))
    table = table.filter((pl.col("label") == "liver") | (pl.col("subject_id") == "P00"))
    assert compare_groups(values_of(table, by="label"), paired=True).method == "rank"


def test_t_tests_of_few_subjects_say_what_they_rest_on() -> None:
    comparison = compare_groups(values_of(measured({"a": 0.0, "b": 0.3}, subjects=3)), paired=True)
    assert comparison.reason.endswith(
        "gives p = 0.25 at least; t-tests take values for normal, which so few cannot show"
    )


def test_sources_of_other_parameters_do_not_matter_and_those_of_the_value_do() -> None:
    table = pl.DataFrame(
        {
            "subject_id": ["A", "A", "B", "B"],
            "group": ["x", "y"] * 2,
            "median_sto2": [0.1, 0.2, 0.3, 0.5],
            "median_thi": [0.1, 0.2, 0.3, 0.5],
            "n_pixels": [1, 2, 3, 4],
            "parameters": ["StO2: camera; THI: published formula"] * 2 + ["StO2, OHI, THI: camera"] * 2,
        }
    )
    for value in ("median_sto2", "n_pixels"):
        assert len(subject_values(table, value, "group").table) == 4
    with pytest.raises(InvalidData, match="source of THI is camera, published formula") as error:
        subject_values(table, "median_thi", "group")
    chosen = filter_rows(table, str(error.value).split('--where "')[1].rsplit('"', 1)[0])
    assert len(subject_values(chosen, "median_thi", "group").table) == 2


def test_rank_tests_that_cannot_find_anything_are_made_when_asked_for_and_say_so() -> None:
    values = values_of(measured({"a": 0.0, "b": 0.3}, subjects=6, labels=("liver", "spleen")), by="label")
    asked = compare_groups(values, paired=True, method="rank")
    assert asked.reason.startswith("as asked for, though a rank test of so few subjects of 'liver' gives p = 0.062")
    uncorrected = compare_groups(values, paired=True, correction="none")
    assert (uncorrected.method, uncorrected.reason) == ("rank", "enough subjects for rank tests")
