from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.study.htc.settings import labels_from_settings
from stroma.study.layouts.heiporspectral import HeiPorSpectral
from stroma.study.layouts.layout import Scan
from stroma.study.layouts.recognise import recognise

from .conftest import SurgeryTree


def scan(root: Path) -> Scan:
    layout = HeiPorSpectral()
    return layout.scan(layout.listing(root))


def test_root_may_be_the_data_set_or_its_data_folder(surgery: SurgeryTree) -> None:
    by_root, by_data = scan(surgery.root), scan(surgery.root / "data")
    assert by_root.catalog["image_id"].to_list() == by_data.catalog["image_id"].to_list()
    assert by_data.catalog["path"][0].startswith("subjects/P001/")
    assert recognise(surgery.root).name == recognise(surgery.root / "data").name == "heiporspectral"


def test_ids_are_subject_and_timestamp(surgery: SurgeryTree) -> None:
    catalog = scan(surgery.root).catalog
    assert catalog["image_id"][0] == "P001#2021_04_15_09_22_01"
    assert catalog["subject_id"][0] == "P001"


def test_leftovers_of_systems_are_skipped_and_reported(surgery: SurgeryTree) -> None:
    (surgery.subjects / ".DS_Store").mkdir()
    (surgery.subjects / "P001" / ".DS_Store").write_bytes(b"x")
    (surgery.subjects / "notes.txt").write_text("x")
    found = scan(surgery.root)
    assert len(found.catalog) == 6
    reported = {problem.path for problem in found.problems}
    assert reported == {
        "data/subjects/.DS_Store",
        "data/subjects/P001/.DS_Store",
        "data/subjects/notes.txt",
    }


def test_an_image_without_cube_is_reported_and_left_out(surgery: SurgeryTree) -> None:
    (surgery.subjects / "P001" / "2021_04_15_09_22_01" / "2021_04_15_09_22_01_SpecCube.dat").unlink()
    (surgery.subjects / "P004" / "2021_04_15_09_22_01").mkdir(parents=True)
    found = scan(surgery.root)
    assert len(found.catalog) == 5
    assert [problem.path for problem in found.problems] == [
        "data/subjects/P001/2021_04_15_09_22_01",
        "data/subjects/P004/2021_04_15_09_22_01",
    ]
    assert "has no cube 2021_04_15_09_22_01_SpecCube.dat" in found.problems[0].message
    assert found.annotations.filter(image_id="P001#2021_04_15_09_22_01").is_empty()


def test_a_cut_cube_is_reported_with_both_sizes(surgery: SurgeryTree) -> None:
    cube = surgery.subjects / "P001" / "2021_04_15_09_22_01" / "2021_04_15_09_22_01_SpecCube.dat"
    cube.write_bytes(cube.read_bytes()[:100])
    found = scan(surgery.root)
    assert len(found.catalog) == 5
    assert "is 100 bytes, a cube of 6×4×3 needs 300" in found.problems[0].message


def test_annotations_are_told_by_layer_annotator_and_label(surgery: SurgeryTree) -> None:
    rows = scan(surgery.root).annotations.filter(image_id="P001#2021_04_15_09_22_01")
    assert rows.select("layer", "annotator", "kind", "label").rows() == [
        ("polygon", "annotator1", "mask-binary", "liver"),
        ("polygon", "annotator2", "mask-binary", "colon"),
    ]


def test_corners_without_a_mask_are_reported(surgery: SurgeryTree) -> None:
    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01" / "annotations"
    (folder / "2021_04_15_09_22_01#polygon#annotator1#liver#coordinates.csv").write_text("1,1\n")
    (folder / "2021_04_15_09_22_01#polygon#annotator1#spleen#coordinates.csv").write_text("1,1\n")
    (folder / "2021_04_15_09_22_01#squares#automask#cc_classic.png").write_bytes(b"")
    problems = scan(surgery.root).problems
    assert [problem.path.rpartition("#")[0].rpartition("#")[2] for problem in problems] == ["spleen"]


def test_patient_files_are_never_opened(surgery: SurgeryTree, monkeypatch: pytest.MonkeyPatch) -> None:
    (surgery.subjects / "P001" / "2021_04_15_09_22_01" / "patient.xml").write_text("<a name='PatientName'>X</a>")
    opened: list[str] = []

    def spy(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: str | Path, *arguments: Any, **named: Any) -> Any:
            opened.append(Path(file).name)
            return original(file, *arguments, **named)

        return call

    for name, original in (("builtins.open", open), ("io.open", open), ("os.open", os.open)):
        monkeypatch.setattr(name, spy(original))
    found = scan(surgery.root)
    monkeypatch.undo()
    assert any(name.endswith("_meta.json") for name in opened)
    assert not any(name.endswith(".xml") for name in opened)
    assert "X" not in str(found.catalog.to_dicts())


def test_metadata_on_which_labels_disagree_is_null(surgery: SurgeryTree) -> None:
    meta = {
        "label_meta": {"liver": {"situs": 1, "angle": 0}, "colon": {"situs": 1, "angle": 25}},
        "camera_name": "c1",
    }
    surgery.image("P009", "2021_04_15_09_22_01", meta)
    row = scan(surgery.root).catalog.filter(subject_id="P009").row(0, named=True)
    assert (row["situs"], row["angle"], row["camera"]) == (1, None, "c1")


def test_images_with_equal_meta_files_have_all_that_these_say(surgery: SurgeryTree) -> None:
    for timestamp in ("2021_04_15_09_22_01", "2021_04_15_09_22_02"):
        surgery.image("P009", timestamp, {"camera_name": "c1", "image_labels": ["liver"], "Patient Name": "X"})
    found = scan(surgery.root).catalog.filter(subject_id="P009")
    assert found["camera"].to_list() == ["c1", "c1"]
    assert found["image_labels"].to_list() == [["liver"], ["liver"]]
    assert "Patient Name" not in found.columns


def test_a_damaged_meta_file_is_reported_and_the_image_kept(surgery: SurgeryTree) -> None:
    folder = surgery.image("P009", "2021_04_15_09_22_01", {})
    (folder / "annotations" / "2021_04_15_09_22_01_meta.json").write_text('{"label_meta": [1')
    found = scan(surgery.root)
    assert len(found.catalog) == 7
    assert "is no readable meta file" in found.problems[0].message


def test_meta_files_of_odd_content_do_no_harm(surgery: SurgeryTree) -> None:
    odd = [
        {"label_meta": {"liver": {"a": [1, "x"], "b": {"c": 1}, "situs": 2}}, "image_labels": [3, None]},
        {"label_meta": {"liver": {"situs": 10**30}}, "note": "x", "flag": True},
        {"label_meta": {"liver": {"situs": 1.5}}, "note": 3, "flag": None},
        [1],
        "text",
    ]
    for number, content in enumerate(odd):
        surgery.image("P009", f"2021_04_15_09_22_1{number}", content)  # type: ignore[arg-type]
    found = scan(surgery.root)
    rows = found.catalog.filter(subject_id="P009")
    assert rows["situs"].to_list()[:3] == [2.0, 1e30, 1.5]
    assert rows["note"].to_list()[:3] == [None, "x", "3"]
    assert len([p for p in found.problems if "is no readable meta file" in p.message]) == 2


def test_labels_follow_the_ordering_and_the_last_valid_index(surgery: SurgeryTree) -> None:
    layout = HeiPorSpectral()
    listing = layout.listing(surgery.root)
    labels = layout.propose(listing, layout.scan(listing)).labels
    assert labels is not None
    assert labels.names == ("colon", "liver", "spleen")
    assert labels.colour("liver") == "#d0856d"
    np.testing.assert_array_equal(labels.from_source(np.array([0, 1, 2, 254, 255])), [1, 2, 0, 255, 255])
    assert labels.from_name("unlabeled") == 255


def test_labels_without_settings_are_the_names_of_the_files(surgery: SurgeryTree) -> None:
    (surgery.root / "data" / "dataset_settings.json").unlink()
    layout = HeiPorSpectral()
    listing = layout.listing(surgery.root)
    proposal = layout.propose(listing, layout.scan(listing))
    assert proposal.labels is not None
    assert proposal.labels.names == ("colon", "liver")
    assert dict(proposal.counts) == {"colon": 1, "liver": 6}


def test_a_label_mapping_of_another_form_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="label_mapping"):
        labels_from_settings({"label_mapping": {"liver": "0"}}, where=tmp_path)


def test_cubes_in_another_scheme_are_no_class_folders(surgery: SurgeryTree) -> None:
    with pytest.raises(InvalidData, match="6 Tivita cubes, but not as data/subjects"):
        recognise(surgery.subjects)


def test_an_annotation_of_a_label_that_the_data_set_does_not_know_is_told(surgery: SurgeryTree) -> None:
    folder = surgery.subjects / "P002" / "2021_04_15_09_22_01"
    surgery.annotate(folder, "splen", np.ones((4, 6), bool))
    problems = [problem for problem in scan(surgery.root).problems if not problem.harmless]
    assert [problem.path.endswith("#splen#binary.png") for problem in problems] == [True]
    assert "is labelled 'splen'" in problems[0].message and "Did you mean 'spleen'?" in problems[0].message


@pytest.mark.parametrize("camera", ["", '""'])
def test_a_log_without_a_camera_is_told(surgery: SurgeryTree, camera: str) -> None:
    folder = surgery.subjects / "P002" / "2021_04_15_09_22_01"
    (folder / f"{folder.name}_meta.log").write_text(f"[Camera]\nCamID = {camera}\nSpeed = 4\n")
    found = scan(surgery.root)
    assert [problem.message for problem in found.problems] == ["names no camera (CamID), it counts as unknown"]
    assert found.catalog.filter(subject_id="P002")["camera"].to_list() == ["unknown_correct-1", None]
