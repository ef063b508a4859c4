from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from stroma.core.errors import InvalidData, UsageError
from stroma.study.splits import Splits


def catalog(subjects: int, images: int = 3, **columns: list[str]) -> pl.DataFrame:
    rows = [(f"S{s:02d}_{i}", f"S{s:02d}") for s in range(subjects) for i in range(images)]
    return pl.DataFrame(rows, schema=["image_id", "subject_id"], orient="row").with_columns(
        pl.Series(name, values) for name, values in columns.items()
    )


def subjects_of(splits: Splits, role: str, fold: str) -> set[str]:
    return {image_id[:3] for image_id in splits.ids(role, fold)}


def test_every_subject_validates_in_exactly_one_fold() -> None:
    splits = Splits.by_subject(catalog(11), folds=5)
    validating = [subjects_of(splits, "validation", fold) for fold in splits.folds]
    assert sorted(name for part in validating for name in part) == [f"S{s:02d}" for s in range(11)]
    assert sorted(len(part) for part in validating) == [2, 2, 2, 2, 3]


def test_a_subject_stands_on_one_side_of_every_fold() -> None:
    splits = Splits.by_subject(catalog(9), folds=3, test_fraction=0.3)
    for fold in splits.folds:
        sides = [subjects_of(splits, role, fold) for role in ("train", "validation", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 9
        assert len(sides[2]) == 3  # 0.3 × 9 = 2.7


def test_test_images_are_the_same_in_every_fold() -> None:
    splits = Splits.by_subject(catalog(8), folds=3, test_subjects=["S01", "S07"])
    assert {tuple(splits.ids("test", fold)) for fold in splits.folds} == {tuple(splits.ids("test"))}
    assert {image_id[:3] for image_id in splits.ids("test")} == {"S01", "S07"}


def test_the_same_seed_gives_the_same_division_in_any_order_of_rows() -> None:
    table = catalog(12)
    first = Splits.by_subject(table, folds=4, seed=3)
    assert first.table.equals(
        Splits.by_subject(table.sample(fraction=1, shuffle=True, seed=1), folds=4, seed=3).table
    )
    assert not first.table.equals(Splits.by_subject(table, folds=4, seed=4).table)


def test_folds_are_alike_in_images() -> None:
    rows = [(f"{s}_{i}", f"{s}") for s, count in enumerate([40, 40, 2, 2, 2, 2]) for i in range(count)]
    table = pl.DataFrame(rows, schema=["image_id", "subject_id"], orient="row")
    for seed in range(5):
        splits = Splits.by_subject(table, folds=2, seed=seed)
        assert len(splits.ids("validation", "fold_0")) == len(splits.ids("validation", "fold_1")) == 44


def test_folds_are_alike_in_labels_where_annotations_are_given() -> None:
    table = catalog(6, images=1)
    rare = pl.DataFrame({"image_id": ["S00_0", "S01_0", "S02_0"], "label": ["rare"] * 3})
    for seed in range(5):
        splits = Splits.by_subject(table, folds=3, seed=seed, annotations=rare)
        for fold in splits.folds:
            assert len(subjects_of(splits, "validation", fold) & {"S00", "S01", "S02"}) == 1


def test_one_fold_is_a_single_division() -> None:
    splits = Splits.by_subject(catalog(10), folds=1, validation_fraction=0.3)
    assert splits.folds == ("fold_0",)
    assert len(subjects_of(splits, "validation", "fold_0")) == 3
    assert len(subjects_of(splits, "train", "fold_0")) == 7


@pytest.mark.parametrize(("fraction", "validating"), [(0.01, 1), (0.99, 2), (0.5, 2)])
def test_both_sides_of_a_single_division_have_a_subject(fraction: float, validating: int) -> None:
    splits = Splits.by_subject(catalog(3), folds=1, validation_fraction=fraction)
    assert len(subjects_of(splits, "validation", "fold_0")) == validating
    assert len(subjects_of(splits, "train", "fold_0")) == 3 - validating


def test_test_images_that_differ_between_folds_are_told() -> None:
    table = catalog(3)
    roles = {"a": ["train"] * 3 + ["validation"] * 3 + ["test"] * 3, "b": ["train"] * 6 + ["test"] * 3}
    both = [table.select("image_id").with_columns(role=pl.Series(r), fold=pl.lit(f)) for f, r in roles.items()]
    Splits.of(pl.concat(both)).check(table)
    moved = both[1].with_columns(role=pl.Series(["test"] * 3 + ["train"] * 6))
    with pytest.raises(InvalidData, match="test images differ between folds"):
        Splits.of(pl.concat([both[0], moved])).check(table)


def test_two_subjects_allow_two_folds() -> None:
    with pytest.raises(UsageError, match="2 subjects allow 2 folds, 5 are needed"):
        Splits.by_subject(catalog(2), folds=5)


def test_an_unknown_test_subject_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no subject 'S0'.*Did you mean"):
        Splits.by_subject(catalog(5), folds=2, test_subjects=["S0"])


def test_leakage_names_the_subject_and_the_fold() -> None:
    table = catalog(3)
    roles = ["train"] * 5 + ["validation"] * 4
    splits = Splits.of(table.select("image_id").with_columns(pl.Series("role", roles)))
    with pytest.raises(InvalidData, match="'S01' is in train and validation of fold_0"):
        splits.check(table)


def test_extra_sets_may_share_subjects() -> None:
    table = catalog(2, images=2)
    roles = ["train", "extra", "validation", "extra"]
    Splits.of(table.select("image_id").with_columns(pl.Series("role", roles))).check(table)


def test_an_image_that_the_study_lacks_is_named() -> None:
    splits = Splits.of(pl.DataFrame({"image_id": ["S00_0", "S09_0"], "role": ["train", "test"]}))
    with pytest.raises(InvalidData, match="'S09_0', which is no image"):
        splits.check(catalog(2))


def test_the_division_that_came_with_the_data_is_kept() -> None:
    table = catalog(3, split=["train"] * 3 + ["val"] * 3 + ["test"] * 3)
    splits = Splits.from_column(table, "split")
    assert subjects_of(splits, "validation", "fold_0") == {"S01"}
    assert subjects_of(splits, "test", "fold_0") == {"S02"}


def test_a_missing_validation_part_is_drawn_from_the_train_part() -> None:
    table = catalog(5, split=["train"] * 12 + ["test"] * 3)
    splits = Splits.from_column(table, "split", folds=2)
    assert splits.folds == ("fold_0", "fold_1")
    for fold in splits.folds:
        assert subjects_of(splits, "test", fold) == {"S04"}
        assert len(subjects_of(splits, "validation", fold)) == 2


def test_a_column_with_another_value_is_an_error() -> None:
    with pytest.raises(InvalidData, match="unknown role 'trian'.*Did you mean 'train'"):
        Splits.from_column(catalog(1, images=2, split=["trian", "test"]), "split")


def test_splits_are_the_same_after_saving(tmp_path: Path) -> None:
    splits = Splits.by_subject(catalog(4), folds=2)
    path = splits.save(tmp_path / "splits.parquet")
    assert Splits.load(path).table.equals(splits.table)
    assert path.read_bytes() == splits.save(tmp_path / "again.parquet").read_bytes()


def test_splits_can_be_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("image_id,role\nS00_0,train\nS01_0,Val\n")
    splits = Splits.load(path)
    assert splits.ids("validation", "fold_0") == ["S01_0"]
    path.write_text("image_id,fold,role\nS00_0,a,train\nS00_0,a,train\n")
    with pytest.raises(InvalidData, match="'S00_0' twice in a"):
        Splits.load(path)


def test_one_subject_cannot_be_divided() -> None:
    with pytest.raises(UsageError, match="1 subject cannot be divided"):
        Splits.by_subject(catalog(1), folds=1)
