from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import ConfigError, InvalidData, MissingFile, UsageError
from stroma.study.labels import IGNORE
from stroma.study.study import open_study

from .conftest import SurgeryTree, write_png, write_study

FIRST = "P001#2021_04_15_09_22_01"


def test_a_study_opened_by_file_and_by_folder_is_the_same(surgery_yaml: Path) -> None:
    by_file, by_folder = open_study(surgery_yaml), open_study(surgery_yaml.parent)
    assert by_file.catalog.equals(by_folder.catalog)
    assert by_file.path == by_folder.path
    assert by_file.name == "tiny"


def test_an_image_has_the_same_id_by_name_cube_and_folder(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml)
    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01"
    assert study.id_of(folder) == study.id_of(study.image_path(FIRST)) == FIRST
    with pytest.raises(UsageError, match="holds 2 images"):
        study.id_of(folder.parent)


def test_catalog_has_one_row_an_image_with_its_metadata(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml)
    assert len(study) == 6 and list(study) == study.catalog["image_id"].to_list() == sorted(study)
    assert study.row(FIRST)["subject_id"] == "P001"
    assert study.row(FIRST)["situs"] == 1
    assert study.row(FIRST)["height"] == 4
    assert study.row(FIRST)["timestamp"].isoformat() == "2021-04-15T09:22:01"
    assert study.describe_subjects() == "3 subjects"


def test_open_reads_the_cube(surgery_yaml: Path) -> None:
    with open_study(surgery_yaml).open(FIRST) as image:
        assert image.shape == (4, 6, 3)


def test_mask_is_255_where_nothing_was_annotated(surgery_yaml: Path) -> None:
    mask = open_study(surgery_yaml).mask(FIRST)
    assert mask.dtype == np.uint8
    assert (mask[:, :2] == 0).all()
    assert (mask[:, 2:] == IGNORE).all()


def test_annotators_are_never_merged_and_the_first_counts(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml)
    assert study.annotated_mask(FIRST).annotator == "annotator1"
    second = study.annotated_mask(FIRST, annotator="annotator2")
    assert second.annotator == "annotator2"
    assert (second.labels[:, 2:] == 2).all() and (second.labels[:, :2] == IGNORE).all()
    assert study.annotated("annotator2") == [FIRST]
    with pytest.raises(InvalidData, match="no annotation by 'annotator2'"):
        study.mask("P002#2021_04_15_09_22_01", annotator="annotator2")
    with pytest.raises(UsageError, match="Did you mean 'annotator2'"):
        study.mask(FIRST, annotator="anotator2")


def test_pixels_in_two_labels_are_not_annotated_and_are_counted(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01"
    inside = np.zeros((4, 6), bool)
    inside[:, 1:3] = True
    surgery.annotate(folder, "spleen", inside)
    found = open_study(surgery_yaml).annotated_mask(FIRST)
    assert found.overlap_px == 4
    np.testing.assert_array_equal(found.labels[0], [0, IGNORE, 1, IGNORE, IGNORE, IGNORE])


def test_overlap_can_be_made_an_error(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    surgery.annotate(surgery.subjects / "P001" / "2021_04_15_09_22_01", "spleen", np.ones((4, 6)))
    path = surgery_yaml.with_name("strict.yaml")
    path.write_text(surgery_yaml.read_text(encoding="utf-8") + "overlap: error\n", encoding="utf-8")
    with pytest.raises(InvalidData, match="8 pixels .* several labels"):
        open_study(path).mask(FIRST)


def test_a_mask_of_another_size_is_an_error_with_both_sizes(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    surgery.annotate(surgery.subjects / "P001" / "2021_04_15_09_22_01", "liver", np.ones((6, 4)))
    with pytest.raises(InvalidData, match="is 6 × 4 .* its image is 4 × 6"):
        open_study(surgery_yaml).mask(FIRST)


def test_a_label_outside_the_mapping_is_an_error_that_names_it(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    surgery.annotate(surgery.subjects / "P001" / "2021_04_15_09_22_01", "kidney", np.ones((4, 6)))
    with pytest.raises(InvalidData, match="'kidney', which is outside the label mapping"):
        open_study(surgery_yaml).mask(FIRST)


def test_an_ignored_label_marks_pixels_as_not_annotated(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    inside = np.zeros((4, 6), bool)
    inside[:, 5] = True
    surgery.annotate(surgery.subjects / "P001" / "2021_04_15_09_22_01", "overlap", inside)
    found = open_study(surgery_yaml).annotated_mask(FIRST)
    assert found.overlap_px == 0
    assert (found.labels[:, 5] == IGNORE).all()


@pytest.mark.parametrize(("size", "top", "left"), [((513, 646), 30, 3), ((550, 680), 50, 20)])
def test_the_frame_of_the_camera_picture_is_cut_off(
    surgery: SurgeryTree, surgery_yaml: Path, size: tuple[int, int], top: int, left: int
) -> None:
    from .conftest import write_cube

    surgery.settings(shape=[480, 640, 1])
    folder = surgery.subjects / "P009" / "2021_04_15_09_22_01"
    write_cube(folder / f"{folder.name}_SpecCube.dat", 480, 640, 1)
    picture = np.full((*size, 3), 15, np.uint8)
    picture[top, left] = 200
    write_png(folder / f"{folder.name}_RGB-Image.png", picture)
    rgb = open_study(surgery_yaml).rgb("P009#2021_04_15_09_22_01")
    assert rgb.shape == (480, 640, 3)
    assert (rgb[0, 0] == 200).all() and (rgb[1:] == 15).all()


def test_the_reconstruction_is_preferred_to_the_sensor_picture(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01"
    write_png(folder / f"{folder.name}_HSI-RGB-Image.png", np.full((4, 6, 3), 7, np.uint8))
    assert (open_study(surgery_yaml).rgb(FIRST) == 7).all()


def test_tables_are_kept_until_the_files_change(surgery: SurgeryTree, surgery_yaml: Path) -> None:
    assert len(open_study(surgery_yaml).catalog) == 6
    stored = surgery_yaml.with_name("catalog.parquet")
    before = stored.stat().st_mtime_ns
    assert len(open_study(surgery_yaml).catalog) == 6
    assert stored.stat().st_mtime_ns == before
    surgery.image("P004", "2021_04_15_09_22_01")
    assert len(open_study(surgery_yaml).catalog) == 7


def test_damaged_tables_are_made_again(surgery_yaml: Path) -> None:
    first = open_study(surgery_yaml).catalog
    surgery_yaml.with_name("catalog.parquet").write_bytes(b"PAR1 no parquet")
    assert open_study(surgery_yaml).catalog.equals(first)


def test_two_studies_in_one_folder_keep_their_own_tables(surgery_yaml: Path) -> None:
    other = surgery_yaml.with_name("other.yaml")
    other.write_text(surgery_yaml.read_text(encoding="utf-8") + "subjects: none\n", encoding="utf-8")
    other.write_text(other.read_text(encoding="utf-8").replace("subjects: none", "subjects: {rule: none}"))
    assert open_study(other).catalog["subject_id"].n_unique() == 6
    assert open_study(surgery_yaml).catalog["subject_id"].n_unique() == 3
    assert open_study(other).describe_subjects() == "unknown subjects: each of the 6 images counts as its own"


def test_a_study_travels_to_other_processes(surgery_yaml: Path) -> None:
    study = open_study(surgery_yaml)
    assert len(study) == 6
    copy = pickle.loads(pickle.dumps(study))  # noqa: S301 - what multiprocessing does
    assert copy.mask(FIRST).shape == (4, 6)


def test_no_study_yaml_is_an_error_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="stroma init"):
        open_study(tmp_path)


def test_a_mistyped_key_names_the_nearest(surgery_yaml: Path) -> None:
    surgery_yaml.write_text(surgery_yaml.read_text(encoding="utf-8") + "anotators: [a]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="Did you mean 'annotators'"):
        open_study(surgery_yaml)


def test_an_unknown_image_names_the_nearest(surgery_yaml: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'P001#2021_04_15_09_22_01'"):
        open_study(surgery_yaml).open("P001#2021_04_15_09_22_011")


def test_a_root_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_study(tmp_path / "study.yaml", name="x", root="gone", layout="heiporspectral")
    with pytest.raises(MissingFile, match="gone.*Correct 'root'"):
        open_study(path).catalog  # noqa: B018


def test_splits_follow_study_yaml(surgery_yaml: Path) -> None:
    splits = open_study(surgery_yaml).splits()
    assert splits.folds == ("fold_0", "fold_1", "fold_2")
    assert len(splits.ids("validation", "fold_0")) == 2


def test_inputs_are_not_modified(surgery: SurgeryTree, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in surgery.root.rglob("*")}
    path = write_study(
        tmp_path / "elsewhere" / "study.yaml",
        name="x",
        root=str(surgery.root),
        layout="heiporspectral",
        labels={"names": ["liver", "colon"]},
    )
    study = open_study(path)
    study.mask(FIRST)
    study.rgb(FIRST)
    assert {path: path.stat().st_mtime_ns for path in surgery.root.rglob("*")} == before
    assert pl.read_parquet(path.with_name("catalog.parquet")).height == 6
