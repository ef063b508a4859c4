from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from stroma.core.errors import ConfigError, InvalidData
from stroma.study.config import SubjectRule
from stroma.study.join import join_table
from stroma.study.subjects import find_subjects, subjects_known

HERE = Path("study.yaml")


def catalog(*paths: str, **columns: list[object]) -> pl.DataFrame:
    table = pl.DataFrame({"image_id": [path.rpartition(".")[0] for path in paths]})
    return table.with_columns(
        pl.lit(None, pl.String).alias("subject_id"),
        pl.Series("path", paths),
        *(pl.Series(name, values) for name, values in columns.items()),
    )


def subjects(table: pl.DataFrame, **rule: object) -> list[str]:
    return find_subjects(table, SubjectRule(**rule), where=HERE)["subject_id"].to_list()  # type: ignore[arg-type]


def test_path_level_counts_folders_from_the_root() -> None:
    table = catalog("a/P1/x.png", "b/P2/x.png")
    assert subjects(table, rule="path-level", level=1) == ["a", "b"]
    assert subjects(table, rule="path-level", level=2) == ["P1", "P2"]


def test_regex_takes_the_named_group_else_the_first_else_all() -> None:
    table = catalog("TCGA-A2-A0YE-01Z.svs")
    assert subjects(table, rule="regex", pattern=r"^TCGA-(..)-(?P<subject>....)") == ["A0YE"]
    assert subjects(table, rule="regex", pattern=r"^TCGA-(..)-(....)") == ["A2"]
    assert subjects(table, rule="regex", pattern=r"^TCGA-..-....") == ["TCGA-A2-A0YE"]


def test_column_may_hold_numbers() -> None:
    assert subjects(catalog("a.png", "b.png", patient=[7, 7]), rule="column", column="patient") == ["7", "7"]


def test_unknown_subjects_are_the_images_themselves() -> None:
    table = catalog("a.png", "b.png")
    for rule in ("none", "layout"):
        found = find_subjects(table, SubjectRule(rule=rule), where=HERE)  # type: ignore[arg-type]
        assert found["subject_id"].to_list() == ["a", "b"]
        assert not subjects_known(found, SubjectRule(rule=rule))  # type: ignore[arg-type]


def test_an_image_without_subject_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidData, match="no subject for 1 of 2 images: 'b'"):
        subjects(catalog("P1_a.png", "b.png"), rule="regex", pattern="^P\\d")
    with pytest.raises(InvalidData, match="no subject for 1 of 2"):
        subjects(catalog("P1/a.png", "b.png"), rule="path-level", level=1)


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'patient'"):
        subjects(catalog("a.png", patient=["x"]), rule="column", column="pateint")


def test_a_rule_without_its_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs 'pattern'"):
        SubjectRule(rule="regex")


@pytest.mark.parametrize("key", ["image_id", "file", "slide"])
@pytest.mark.parametrize("name", ["f/a #1.png", "f/a #1", "a #1.png", "a #1"])
def test_a_table_names_images_by_id_path_or_file(tmp_path: Path, key: str, name: str) -> None:
    path = tmp_path / "meta ü.csv"
    path.write_text(f'{key},subject_id,age\n"{name}",S7,61\n', encoding="utf-8")
    joined, problems = join_table(catalog("f/a #1.png"), path)
    assert joined.select("image_id", "subject_id", "path", "age").rows() == [("f/a #1", "S7", "f/a #1.png", 61)]
    assert problems == []


def test_rows_and_images_that_do_not_match_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("id,age\na,1\nx,2\n")
    joined, problems = join_table(catalog("a.png", "b.png"), path)
    assert joined["age"].to_list() == [1, None]
    assert [(problem.path, "x" in problem.message) for problem in problems] == [("b.png", False), ("meta.csv", True)]


def test_a_row_that_fits_two_images_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("name,age\na,1\n")
    with pytest.raises(InvalidData, match="'a' fits several images"):
        join_table(catalog("x/a.png", "y/a.png"), path)
    path.write_text("name,age\nx/a,1\nx/a,2\n")
    with pytest.raises(InvalidData, match="several rows for the image 'x/a'"):
        join_table(catalog("x/a.png", "y/a.png"), path)


def test_a_table_without_names_says_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("age,sex\n1,f\n")
    with pytest.raises(InvalidData, match="age, sex"):
        join_table(catalog("a.png"), path)


def test_composed_and_decomposed_umlauts_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("id,age\nMu\u0308ller,5\n", encoding="utf-8")
    joined, _ = join_table(catalog("M\u00fcller.png"), path)
    assert joined["age"].to_list() == [5]
