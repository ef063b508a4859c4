from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from stroma.core.errors import InvalidData, UsageError
from stroma.study.config import SubjectRule
from stroma.study.join import join_table
from stroma.study.matching import key_column, loose_name, match_rows, read_any_table
from stroma.study.subjects import find_subjects, subjects_known

UUID = "8A2E3094-5755-42BC-969D-7F0A2ECA0F39"
SLIDE = "TCGA-A2-A0YE-01Z-00-DX1"


def catalog(*paths: str) -> pl.DataFrame:
    ids = [path.rpartition(".")[0] for path in paths]
    return pl.DataFrame({"image_id": ids}).with_columns(
        pl.lit(None, pl.String).alias("subject_id"), pl.Series("path", list(paths))
    )


def subjects(images: pl.DataFrame, where: Path, **rule: object) -> list[str]:
    return find_subjects(images, SubjectRule(**rule), where=where)["subject_id"].to_list()  # type: ignore[arg-type]


def test_names_agree_without_folder_extension_and_uuid() -> None:
    assert loose_name(f"slides/{SLIDE}.{UUID}.svs") == SLIDE
    assert loose_name(f"{SLIDE}.{UUID.lower()}") == SLIDE
    assert loose_name("a.v2.ome.tif") == "a.v2"
    assert loose_name("a.v2") == "a.v2"  # .v2 is no extension


@pytest.mark.parametrize("key", [f"{SLIDE}.{UUID}.svs", f"{SLIDE}.svs", SLIDE, f"{SLIDE}.{UUID}", "TCGA-A2-A0YE"])
@pytest.mark.parametrize("path", [f"{SLIDE}.{UUID}.svs", f"luad/{SLIDE}.{UUID}.svs", f"{SLIDE}.tiff"])
def test_a_table_of_patients_fits_whatever_extensions_and_uuids(tmp_path: Path, key: str, path: str) -> None:
    (tmp_path / "patients ü.csv").write_text(f"file,patient\n{key},P7\nother.svs,P8\n", encoding="utf-8")
    rule = {"rule": "table", "table": "patients ü.csv"}
    assert subjects(catalog(path), tmp_path / "study.yaml", **rule) == ["P7"]


def test_the_longest_beginning_wins_and_ends_at_a_boundary() -> None:
    images = [("case_1_a", "case_1_a.png"), ("case_12", "case_12.png"), ("case_2_a", "case_2_a.png")]
    found = match_rows(["case_1", "case", "case_2"], images)
    assert found.rows == (0, 1, 2)
    assert found.by_beginning == (0, 1, 2)
    assert match_rows(["cas"], images).rows == (None, None, None)


def test_a_folder_may_be_the_key_of_its_images() -> None:
    assert match_rows(["P2", "P1"], [("x/P1/a", "x/P1/a.png"), ("P2/b", "P2/b.png")]).rows == (1, 0)


def test_images_without_a_row_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("slide,subject\na,1\n")
    table = catalog("a.svs", *(f"x{number}.svs" for number in range(7)))
    with pytest.raises(InvalidData) as caught:
        subjects(table, tmp_path / "study.yaml", rule="table", table="p.csv")
    assert "the table p.csv gives no subject for 7 of 8 images: 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more" in str(
        caught.value
    )


def test_a_slide_listed_twice_with_other_subjects_is_named_and_with_the_same_one_is_fine(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("slide,subject\na.svs,1\na,1\n")
    assert subjects(catalog("a.svs"), tmp_path / "study.yaml", rule="table", table="p.csv") == ["1"]
    (tmp_path / "p.csv").write_text("slide,subject\na.svs,1\na.tiff,2\nb,3\n")
    with pytest.raises(InvalidData, match="'a' has '1' and '2'"):
        subjects(catalog("a.svs"), tmp_path / "study.yaml", rule="table", table="p.csv")


def test_a_list_of_patients_alone_names_the_images_by_their_beginnings(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("case_submitter_id,gender\nTCGA-A2-A0YE,f\nTCGA-A2-A0YF,m\n")
    table = catalog(f"{SLIDE}.{UUID}.svs", "TCGA-A2-A0YF-01A-01-BS1.svs")
    found = subjects(table, tmp_path / "study.yaml", rule="table", table="p.csv")
    assert found == ["TCGA-A2-A0YE", "TCGA-A2-A0YF"]


def test_a_table_without_subjects_says_how_to_name_the_column(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("slide,age,who\na,7,x\n")
    with pytest.raises(UsageError, match="--subject-column"):
        subjects(catalog("a.svs"), tmp_path / "study.yaml", rule="table", table="p.csv")
    rule = {"rule": "table", "table": "p.csv", "column": "who"}
    assert subjects(catalog("a.svs"), tmp_path / "study.yaml", **rule) == ["x"]


def test_tables_with_semicolons_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("slide;subject\na;S1\n")
    assert subjects(catalog("a.svs"), tmp_path / "study.yaml", rule="table", table="p.csv") == ["S1"]


def test_the_participant_of_a_tcga_barcode(tmp_path: Path) -> None:
    table = catalog(f"{SLIDE}.{UUID}.svs", "x/TCGA-3C-AALI-01A-01-TS1.svs", "TCGA-3C-AALI_tile.png")
    found = find_subjects(table, SubjectRule(rule="tcga"), where=tmp_path)
    assert found["subject_id"].to_list() == ["TCGA-A2-A0YE", "TCGA-3C-AALI", "TCGA-3C-AALI"]
    assert subjects_known(found, SubjectRule(rule="tcga"))
    with pytest.raises(InvalidData, match="gives no subject for 1 of 1 images: 'TCGA-A2-A0YEX'"):
        subjects(catalog("TCGA-A2-A0YEX.svs"), tmp_path, rule="tcga")


def test_run_lengths_and_names_of_patients_stay_out_of_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,encoding,PatientName,age\na,1 2,Meier,61\n")
    joined, problems = join_table(catalog("a.png"), tmp_path / "m.csv")
    assert joined.columns == ["image_id", "subject_id", "path", "age"]
    assert "PatientName" in problems[0].message and problems[0].harmless


def test_a_pixel_size_in_the_table_counts_where_the_file_states_none(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,pixel_size\na,0.4\nb,0.5\n")
    known = catalog("a.png", "b.png").with_columns(pl.Series("mpp", [None, 0.25], pl.Float64))
    assert join_table(known, tmp_path / "m.csv")[0]["mpp"].to_list() == [0.4, 0.25]
    (tmp_path / "m.csv").write_text("id,pixel_size\na,small\n")
    with pytest.raises(InvalidData, match="'small' in the column 'pixel_size'"):
        join_table(known, tmp_path / "m.csv")


def test_unlisted_images_are_left_out_by_name_when_asked(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id\na\n")
    joined, problems = join_table(
        catalog("a_1.png", "a_2.png", "b_1.png"), tmp_path / "ids.csv", unlisted="leave-out"
    )
    assert joined["image_id"].to_list() == ["a_1", "a_2"]
    assert [problem.path for problem in problems] == ["b_1.png", "ids.csv"]
    assert "2 images by the beginning of their names" in problems[1].message


def test_the_column_that_names_the_images_is_found_by_its_values() -> None:
    images = [("a", "x/a.png"), ("b", "x/b.png")]
    table = pl.DataFrame({"id": ["7", "8"], "picture": ["a.png", "b.png"], "note": ["a", "none"]})
    assert key_column(table, images, Path("t.csv")) == "picture"
    assert key_column(table.drop("picture", "note"), images, Path("t.csv")) == "id"
    with pytest.raises(InvalidData, match="no column that names the image.*its columns: note"):
        key_column(pl.DataFrame({"note": ["c"]}), images, Path("t.csv"))


@pytest.mark.parametrize("text", ["file;age\na,b;3\n", 'file,age\n"a,b",3\n', 'file,age\n"a,b",3\n"c;d;e",4\n'])
def test_the_first_line_tells_what_separates_the_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    table = read_any_table(tmp_path / "t.csv")
    assert table.columns == ["file", "age"]
    assert table.row(0) == ("a,b", 3)
