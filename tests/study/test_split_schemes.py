"""Schemes of division: iterative stratification, nested folds, one left out, sizes, known and hidden sets."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from stroma.core.errors import ConfigError, InvalidData, MissingFile, UsageError
from stroma.study.config import SplitRule
from stroma.study.division import divide
from stroma.study.split_schemes import draw_splits
from stroma.study.split_summary import missing_labels, split_table
from stroma.study.splits import KNOWN_SET, Splits
from stroma.study.stratify import deal_subjects, iterative_stratification
from stroma.study.study import open_study
from tests.study.test_splits import catalog, subjects_of
from tests.tiny import picture_study


def labelled(labels: dict[str, str]) -> pl.DataFrame:
    """Subject → its labels as letters; in all three images."""
    rows = [(f"{subject}_{i}", label) for subject, found in labels.items() for label in found for i in range(3)]
    return pl.DataFrame(rows, schema=["image_id", "label"], orient="row")


def test_iterative_stratification_deals_the_rarest_label_out_first() -> None:
    """The example that Sechidis et al. argue with: a rare label is spread although others were dealt alike."""
    labels = np.zeros((12, 3), bool)
    labels[:6, 0] = True  # common
    labels[4:8, 1] = True
    labels[[0, 5], 2] = True  # in two things, for two parts
    part = iterative_stratification(labels, [0.5, 0.5])
    assert np.bincount(part).tolist() == [6, 6]
    for label, each in ((0, 3), (1, 2), (2, 1)):
        assert np.bincount(part[labels[:, label]], minlength=2).tolist() == [each, each]


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_spread_more_evenly_than_by_chance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((40, 6)) < rng.uniform(0.15, 0.6, size=6)

    def unevenness(part: np.ndarray) -> float:
        return float(np.mean([np.ptp(np.bincount(part[labels[:, k]], minlength=4)) for k in range(6)]))

    by_chance = np.mean([unevenness(rng.permutation(np.arange(40) % 4)) for _ in range(50)])
    assert unevenness(iterative_stratification(labels, np.full(4, 0.25))) < 0.6 * by_chance


def test_shares_are_kept() -> None:
    labels = np.tile([[True, False], [False, True]], (20, 1))
    part = iterative_stratification(labels, [0.7, 0.2, 0.1])
    assert np.bincount(part).tolist() == [28, 8, 4]
    assert np.bincount(part[labels[:, 0]]).tolist() == [14, 4, 2]


def test_no_part_stays_empty() -> None:
    for count in range(2, 7):
        part = iterative_stratification(np.ones((count, 2), bool), np.full(count, 1 / count))
        assert sorted(part) == list(range(count))


def test_label_sets_and_columns_are_spread_over_folds() -> None:
    table = catalog(12).with_columns(sick=pl.col("subject_id").is_in(["S00", "S01", "S02", "S03"]))
    rare = labelled({f"S{i:02d}": "rk" if i < 3 else "k" for i in range(12)})
    for stratify, subjects, each in (("label-sets", {"S00", "S01", "S02"}, 1), ("sick", {"S03"}, 0)):
        splits = draw_splits(table, SplitRule(folds=3, stratify=stratify), rare)
        counts = [len(subjects_of(splits, "validation", fold) & subjects) for fold in splits.folds]
        assert min(counts) == each
    sick = {"S00", "S01", "S02", "S03"}
    counts = [len(subjects_of(splits, "validation", fold) & sick) for fold in splits.folds]
    assert sorted(counts) == [1, 1, 2]


def test_an_unknown_column_to_stratify_by_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="stratified by 'label-set'.*'label-sets'"):
        deal_subjects(catalog(4), 2, stratify="label-set")


def test_leave_one_out_names_folds_after_the_subject() -> None:
    splits = draw_splits(catalog(4), SplitRule(scheme="leave-one-out", test_subjects=("S03",)))
    assert splits.folds == ("fold_S00", "fold_S01", "fold_S02")
    assert subjects_of(splits, "validation", "fold_S01") == {"S01"}
    assert subjects_of(splits, "test", "fold_S01") == {"S03"}


def test_folds_of_odd_subjects_have_names_for_folders() -> None:
    table = pl.DataFrame({"image_id": ["a", "b"], "subject_id": ["Süß/1", "x:2"]})
    assert draw_splits(table, SplitRule(scheme="leave-one-out")).folds == ("fold_S%C3%BC%C3%9F%2F1", "fold_x%3A2")


def test_nested_folds_test_every_subject_once_and_never_what_they_trained_on() -> None:
    table = catalog(10)
    splits = draw_splits(table, SplitRule(scheme="nested", outer_folds=3, folds=2))
    assert len(splits.folds) == 6
    tested = [subjects_of(splits, "test", f"outer_{i}_fold_0") for i in range(3)]
    assert sorted(itertools.chain(*tested)) == [f"S{i:02d}" for i in range(10)]
    for i, fold in itertools.product(range(3), range(2)):
        name = f"outer_{i}_fold_{fold}"
        assert subjects_of(splits, "test", name) == tested[i]
        assert not tested[i] & (subjects_of(splits, "train", name) | subjects_of(splits, "validation", name))
    splits.check(table)


def test_nested_folds_keep_nobody_aside() -> None:
    with pytest.raises(UsageError, match="every subject once"):
        draw_splits(catalog(9), SplitRule(scheme="nested", test_subjects=("S00",)))
    with pytest.raises(UsageError, match="2 subjects allow 2 folds, 3 are needed. Set outer_folds to 2"):
        draw_splits(catalog(2), SplitRule(scheme="nested"))


def test_training_sizes_are_drawn_without_repetition_and_validated_on_the_same_subjects() -> None:
    splits = draw_splits(catalog(6), SplitRule(scheme="sizes", repetitions=3, test_subjects=("S05",)))
    drawn = [subjects_of(splits, "train", fold) for fold in splits.folds]
    assert [len(subjects) for subjects in drawn] == [1] * 3 + [2] * 3 + [3] * 3 + [4]  # of four there is one set
    assert len({tuple(sorted(subjects)) for subjects in drawn}) == 10
    assert len({tuple(splits.ids("validation", fold)) for fold in splits.folds}) == 1
    with pytest.raises(UsageError, match="9 subjects cannot train, 4 are left"):
        draw_splits(catalog(6), SplitRule(scheme="sizes", sizes=(9,), test_subjects=("S05",)))


def test_known_images_leave_training_and_share_its_subjects() -> None:
    table = catalog(6, images=3)
    splits = draw_splits(table, SplitRule(folds=3, known_images=1))
    for fold in splits.folds:
        known, train = splits.ids(KNOWN_SET, fold), splits.ids("train", fold)
        assert sorted(image[:3] for image in known) == sorted(subjects_of(splits, "train", fold))
        assert not set(known) & set(train)
        assert len(known) + len(train) == 12
    assert splits.ids("extra") == splits.ids(KNOWN_SET)
    splits.check(table)


def test_a_subject_keeps_an_image_for_training() -> None:
    splits = draw_splits(catalog(4, images=2), SplitRule(folds=2, known_images=5))
    assert {len(splits.ids("train", fold)) for fold in splits.folds} == {2}
    assert draw_splits(catalog(4, images=1), SplitRule(folds=2, known_images=1)).sets == ("train", "validation")


def test_hidden_images_are_only_reached_by_their_name() -> None:
    rule = SplitRule(folds=2, test_subjects=("S04",), hidden_subjects=("S05",))
    splits = draw_splits(catalog(6), rule)
    assert {image[:3] for image in splits.ids("test")} == {"S04"}
    assert {image[:3] for image in splits.ids("test_hidden")} == {"S05"}
    with pytest.raises(UsageError, match="no set 'test_hiden'.*'test_hidden'"):
        splits.ids("test_hiden")
    splits.check(catalog(6))


def test_a_role_stands_for_all_its_sets_but_for_the_test() -> None:
    rows = [("a", "train"), ("b", "train_other"), ("c", "test"), ("d", "test_ood")]
    table = pl.DataFrame(rows, schema=["image_id", "set"], orient="row")
    splits = Splits.of(table.with_columns(role=pl.col("set").str.split("_").list.first()))
    assert splits.ids("train") == ["a", "b"]
    assert splits.ids("train_other") == ["b"]
    assert splits.ids("test") == ["c"]
    assert splits.ids("validation") == []
    renamed = Splits.of(splits.table.with_columns(set=pl.col("set").replace("test", "test_first")))
    assert renamed.ids("test") == ["c", "d"]  # no set has this name


def test_a_subject_cannot_be_tested_and_hidden() -> None:
    with pytest.raises(ValueError, match="in test_subjects and in hidden_subjects"):
        SplitRule(test_subjects=("a",), hidden_subjects=("a",))


@pytest.mark.parametrize("scheme", ["folds", "leave-one-out", "nested", "sizes"])
def test_every_scheme_is_the_same_again_and_another_for_another_seed(scheme: str) -> None:
    rule = SplitRule(scheme=scheme, folds=3, known_images=1)
    first = draw_splits(catalog(12), rule)
    shuffled = catalog(12).sample(fraction=1, shuffle=True, seed=1)
    assert first.table.equals(draw_splits(shuffled, rule).table)
    assert not first.table.equals(draw_splits(catalog(12), rule.model_copy(update={"seed": 1})).table)


@pytest.mark.parametrize("scheme", ["folds", "leave-one-out", "nested", "sizes"])
def test_one_subject_allows_no_division(scheme: str) -> None:
    with pytest.raises(UsageError, match="1 subject cannot be divided|1 subjects? allows?"):
        draw_splits(catalog(1), SplitRule(scheme=scheme))


def test_an_image_in_two_sets_of_a_fold_is_named() -> None:
    table = pl.DataFrame({"image_id": ["S00_0", "S00_0", "S01_0"], "role": ["train", "extra", "validation"]})
    with pytest.raises(InvalidData, match="'S00_0' is in extra and train of fold_0"):
        Splits.of(table).check(catalog(2))


def test_leakage_of_an_outer_fold_names_the_subject() -> None:
    table = pl.DataFrame(
        {"image_id": ["S00_0", "S00_1"], "role": ["train", "test"], "fold": ["a", "a"], "outer": [1, 1]}
    )
    with pytest.raises(InvalidData, match="'S00' is in test and train of a"):
        Splits.of(table).check(catalog(1))


def test_the_table_counts_subjects_images_and_labels_of_each_set() -> None:
    splits = draw_splits(catalog(3, images=2), SplitRule(folds=1, validation_fraction=0.3, test_subjects=("S02",)))
    table = split_table(splits, catalog(3, images=2), labelled({"S00": "a", "S01": "a", "S02": "b"}))
    assert table.select("role", "n_subjects", "n_images", "a", "a subjects", "b").rows() == [
        ("train", 1, 2, 2, 1, 0), ("validation", 1, 2, 2, 1, 0), ("test", 1, 2, 0, 0, 2),
    ]  # fmt: skip
    assert missing_labels(table, ["a", "b"]) == [
        "the label 'a' is not tested in fold_0: no test image has it",
        "the label 'b' cannot be learned in fold_0: no train image has it",
        "the label 'b' is not validated in fold_0: no validation image has it",
    ]


def test_a_study_is_divided_as_it_says(tmp_path: Path) -> None:
    rule = {"scheme": "nested", "outer_folds": 2, "folds": 2, "stratify": "label-sets"}
    splits = open_study(picture_study(tmp_path, splits=rule)).splits()  # labels are read from the masks
    assert len(splits.folds) == 4
    study = open_study(picture_study(tmp_path, splits={"folds": 2}))
    assert len(divide(study, SplitRule(scheme="leave-one-out")).folds) == 4


def test_a_wrong_scheme_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="splits.scheme"):
        open_study(picture_study(tmp_path, splits={"scheme": "kfold"}))


def test_files_of_a_pattern_are_outer_folds(tmp_path: Path) -> None:
    path = picture_study(tmp_path, subjects=4, splits={"from": "file", "file": "specs/n_*.csv"})
    study = open_study(path)
    with pytest.raises(MissingFile, match="no file has such a name"):
        study.splits()
    (tmp_path / "specs").mkdir()
    roles = {"Süß #0": "test", "Süß #1": "train", "Süß #2": "validation", "Süß #3": "train"}
    other = {"Süß #0": "train", "Süß #1": "test", "Süß #2": "train", "Süß #3": "validation"}
    for name, given in (("n_0.csv", roles), ("n_1.csv", other)):
        rows = [
            (image, given[subject]) for image, subject in study.catalog.select("image_id", "subject_id").iter_rows()
        ]
        pl.DataFrame(rows, schema=["image_id", "role"], orient="row").write_csv(tmp_path / "specs" / name)
    splits = study.splits()
    assert splits.folds == ("outer_0_fold_0", "outer_1_fold_0")
    shutil.rmtree(tmp_path / "specs")


def test_rules_in_yaml_are_those_of_the_docs() -> None:
    text = (
        "{scheme: sizes, sizes: [1, 2, 4], repetitions: 3, known_images: 1, hidden_subjects: [P072], stratify: organ}"
    )
    assert SplitRule.model_validate(yaml.safe_load(text)).sizes == (1, 2, 4)
