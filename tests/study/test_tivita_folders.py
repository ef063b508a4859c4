from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import ConfigError, InvalidData
from stroma.regions.nrrd import LayeredMask, MaskLabel, write_mitk_nrrd
from stroma.study.datasets import open_dataset
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.layouts.heiporspectral import HeiPorSpectral
from stroma.study.layouts.recognise import recognise
from stroma.study.layouts.tivita import TivitaFolders

from .conftest import SurgeryTree, write_cube

LOG = '[Camera]\nCamID = "0202-00118"\nExposure = 3,5\n'
FIRST, SECOND = "2021_04_15_09_22_01", "2021_04_15_09_22_02"


def recording(folder: Path, timestamp: str = FIRST, log: str = LOG) -> Path:
    write_cube(folder / f"{timestamp}_SpecCube.dat")
    if log:
        (folder / f"{timestamp}_meta.log").write_text(log, encoding="cp1252")
    return folder


def scan(root: Path, **parameters: object) -> pl.DataFrame:
    layout = TivitaFolders(**parameters)  # type: ignore[arg-type]
    return layout.scan(layout.listing(root)).catalog


def test_a_plain_tree_is_named_by_camera_and_time(tmp_path: Path) -> None:
    recording(tmp_path / "Ärzte #1" / "a, b+c")
    recording(tmp_path / "x", SECOND, log="")
    assert recognise(tmp_path).name == "tivita"
    catalog = scan(tmp_path)
    assert catalog["image_id"].to_list() == [f"0202-00118#{FIRST}", f"unknown#{SECOND}"]
    assert catalog["path"].to_list()[0] == f"Ärzte #1/a, b+c/{FIRST}_SpecCube.dat"
    assert catalog["camera"].to_list() == ["0202-00118_correct-1", None]
    assert catalog["Camera_Exposure"].to_list() == [3.5, None]
    assert catalog["subject_id"].null_count() == 2


def test_two_recordings_may_lie_in_one_folder(tmp_path: Path) -> None:
    recording(tmp_path)
    recording(tmp_path, SECOND, log=LOG.replace("3,5", "7"))
    assert scan(tmp_path)["Camera_Exposure"].to_list() == [3.5, 7.0]


def test_copies_of_an_image_are_told_with_both_paths(tmp_path: Path) -> None:
    recording(tmp_path / "a")
    recording(tmp_path / "b")
    with pytest.raises(InvalidData, match=f"'a/{FIRST}_SpecCube.dat' and 'b/{FIRST}_SpecCube.dat'"):
        scan(tmp_path)


def test_sepsis_studies_have_their_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    recording(data / "hand_posture_study" / "healthy" / "S1" / "palm" / FIRST)
    recording(data / "sepsis_study" / "healthy" / "S2" / "finger" / FIRST)
    recording(data / "sepsis_study" / "sepsis" / "S3" / "T1" / "palm" / FIRST)
    (data / "dataset_settings.json").write_text('{"data_path_class": "htc_projects.x>DataPathSepsis"}')
    found = recognise(tmp_path)
    assert found.parameters == {"scheme": "sepsis"}
    catalog = scan(tmp_path, **found.parameters)
    assert catalog["image_id"].to_list() == [
        f"healthy#S1#None#palm#{FIRST}",
        f"healthy#S2#None#finger#{FIRST}",
        f"sepsis#S3#T1#palm#{FIRST}",
    ]
    assert catalog["subject_id"].to_list() == ["S1", "S2", "S3"]
    assert catalog["study"].to_list() == ["hand_posture_study", "sepsis_study", "sepsis_study"]


def test_the_settings_of_intensive_care_are_no_heiporspectral(tmp_path: Path) -> None:
    (recording(tmp_path / "data" / "subjects" / "2021_04_15" / FIRST) / "S017.xml").write_text("<a/>")
    settings = tmp_path / "data" / "dataset_settings.json"
    settings.write_text('{"data_path_class": "htc.tivita.DataPathSepsisICU>DataPathSepsisICU"}')
    found = recognise(tmp_path)
    assert (found.name, found.parameters) == ("tivita", {"scheme": "sepsis-icu"})
    assert scan(tmp_path, **found.parameters)["image_id"].to_list() == [f"S017#{FIRST}"]


def test_meta_files_may_name_the_image(surgery: SurgeryTree) -> None:
    surgery.settings(data_path_class="htc.tivita.DataPathMultiorganNamed>DataPathMultiorganNamed")
    surgery.image("R024", FIRST, {"image_name": f"R024#{FIRST}#0202-00118", "label_meta": {}})
    layout = HeiPorSpectral()
    catalog = layout.scan(layout.listing(surgery.root)).catalog
    assert catalog["image_id"].to_list()[-2:] == ["P003#2021_04_15_09_22_02", f"R024#{FIRST}#0202-00118"]


def test_intensive_care_takes_the_subject_from_the_name_of_the_patient_file(tmp_path: Path) -> None:
    (recording(tmp_path / "subjects" / "2021_04_15" / "a") / "S017.xml").write_text("<a/>")
    (recording(tmp_path / "calibrations" / "white" / "b", SECOND) / "calibration_1.xml").write_text("<a/>")
    recording(tmp_path / "subjects" / "2021_04_15" / "c", "2021_04_15_09_22_03")
    layout = TivitaFolders("sepsis-icu")
    found = layout.scan(layout.listing(tmp_path))
    assert found.catalog["image_id"].to_list() == [f"S017#{FIRST}", f"calibration_1#{SECOND}"]
    assert found.catalog["category"].to_list() == ["subjects", "calibrations"]
    assert [(p.path, "0 files *.xml" in p.message) for p in found.problems] == [("subjects/2021_04_15/c", True)]


def test_a_scheme_of_ones_own_stands_in_the_study(tmp_path: Path) -> None:
    recording(tmp_path / "R024" / "day 1" / FIRST)
    recording(tmp_path / "elsewhere")
    layout = TivitaFolders(folders=("{subject}/{day}/{folder}",), image_id="{subject}#{timestamp}#{camera_id}")
    found = layout.scan(layout.listing(tmp_path))
    assert found.catalog.select("image_id", "subject_id", "day").rows() == [
        (f"R024#{FIRST}#0202-00118", "R024", "day 1")
    ]
    assert "is no folder {subject}/{day}/{folder}" in found.problems[0].message
    with pytest.raises(ConfigError, match="the field 'subjekt', which no folder has. Did you mean 'subject'"):
        scan(tmp_path, folders=("{subject}/{folder}",), image_id="{subjekt}#{timestamp}")
    with pytest.raises(ConfigError, match="no scheme 'sepsiss'. Did you mean 'sepsis'"):
        scan(tmp_path, scheme="sepsiss")


def test_a_broken_log_is_reported_and_the_image_kept(tmp_path: Path) -> None:
    recording(tmp_path, log="[Camera]\nCamID")
    layout = TivitaFolders()
    found = layout.scan(layout.listing(tmp_path))
    assert found.catalog["image_id"].to_list() == [f"unknown#{FIRST}"]
    assert [p.path for p in found.problems] == [f"{FIRST}_meta.log"]


def test_names_in_other_letters_and_archives_are_told(tmp_path: Path) -> None:
    recording(tmp_path / "a")
    for name in (f"b/{SECOND}_SpecCube.DAT", "c/1.tiv", "d/._x_SpecCube.DAT"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    layout = TivitaFolders()
    problems = {p.path: p.message for p in layout.scan(layout.listing(tmp_path)).problems}
    assert problems.keys() == {f"b/{SECOND}_SpecCube.DAT", "c/1.tiv"}
    assert "ends in _SpecCube.dat" in problems[f"b/{SECOND}_SpecCube.DAT"]


def test_masks_of_htc_are_annotations_where_there_are_no_pictures(surgery: SurgeryTree) -> None:
    segmentations = surgery.root / "intermediates" / "segmentations"
    folder = surgery.image("P009", FIRST)
    (folder / "annotations").mkdir()
    (folder / "annotations" / f"{FIRST}#semantic#primary.nrrd").write_bytes(b"x")
    segmentations.mkdir(parents=True)
    mask = np.full((4, 6), 255, np.uint8)
    write_htc_blosc(segmentations / f"P009#{FIRST}.blosc", {"semantic#primary": mask, "semantic#inter1": mask})
    write_htc_blosc(segmentations / f"P001#{FIRST}.blosc", {"polygon#annotator1": mask, "semantic#primary": mask})
    (segmentations / "P003#x.blosc").write_bytes(b"no blosc")
    layout = HeiPorSpectral()
    for root in (surgery.root, surgery.root / "data"):
        found = layout.scan(layout.listing(root))
        rows = found.annotations.filter(image_id=f"P009#{FIRST}")
        assert rows.select("layer", "annotator", "kind", "label").rows() == [
            ("semantic", "inter1", "mask-htc", None),
            ("semantic", "primary", "mask-htc", None),
        ]
        assert (root / rows["path"][0]).is_file()
        assert found.annotations.filter(image_id=f"P001#{FIRST}").select("layer", "annotator", "kind").rows() == [
            ("polygon", "annotator1", "mask-binary"),
            ("polygon", "annotator2", "mask-binary"),
            ("semantic", "primary", "mask-htc"),
        ]
        assert [problem.path.rpartition("/")[2] for problem in found.problems] == ["P003#x.blosc"]


def test_segmentations_of_mitk_are_annotations(surgery: SurgeryTree, tmp_path: Path) -> None:
    folder = surgery.image("P009", FIRST)
    layers = np.zeros((2, 4, 6), np.uint8)
    layers[0, :, :3], layers[1, :, 2:5] = 1, 2
    named = ((MaskLabel(1, "03_liver", (1, 2, 3)),), (MaskLabel(2, "spleen", (3, 2, 1)),))
    path = folder / "annotations" / f"{FIRST}#semantic#primary.nrrd"
    path.parent.mkdir()
    write_mitk_nrrd(path, LayeredMask(layers, named, (None, None)))
    study = open_dataset(surgery.root, cache=tmp_path / "cache")
    mask = study[f"P009#{FIRST}@semantic#primary"].mask()
    names = [None if value == 255 else study.labels.names[value] for value in mask.labels[0]]
    assert names == ["liver", "liver", None, "spleen", "spleen", None]
    assert (mask.annotator, mask.overlap_px) == ("primary", 4)
    write_mitk_nrrd(path, LayeredMask(layers[:1], ((MaskLabel(1, "livver", (1, 2, 3)),),), (None,)))
    with pytest.raises(InvalidData, match="'livver'.*outside the label mapping"):
        study[f"P009#{FIRST}@semantic#primary"].mask()


def test_overlap_images_take_their_cube_from_the_other_data_set(
    surgery: SurgeryTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SurgeryTree(tmp_path / "PATH_masks")
    other.image("P077", SECOND)
    monkeypatch.setenv("PATH_Tivita_multiorgan_masks", str(other.root))
    for subject, timestamp in (("P001", FIRST), ("P077", SECOND), ("P078", FIRST)):
        (surgery.root / "data" / "overlap" / "subjects" / subject / timestamp).mkdir(parents=True)
    layout = HeiPorSpectral()
    found = layout.scan(layout.listing(surgery.root))
    rows = found.catalog.filter(pl.col("image_id").str.ends_with("#overlap"))
    assert rows["image_id"].to_list() == [f"P001#{FIRST}#overlap", f"P077#{SECOND}#overlap"]
    assert all((surgery.root / path).is_file() for path in rows["path"])
    assert [p.path for p in found.problems] == [f"data/overlap/subjects/P078/{FIRST}"]


def test_the_meta_table_of_htc_adds_columns_but_no_identifiers(surgery: SurgeryTree) -> None:
    tables = surgery.root / "intermediates" / "tables"
    tables.mkdir(parents=True)
    table = pl.DataFrame(
        {
            "image_name": [f"P001#{FIRST}", f"P001#{SECOND}", "P099#gone"],
            "ethics": ["yes", "no", "no"],
            "camera_name": ["c1", "c2", "c3"],
            "situs": [7, 7, 7],
            "PatientName": ["Planted", "Planted", "Planted"],
            "path": ["a", "b", "c"],
        }
    )
    table.write_ipc(tables / "tiny@meta.feather", compression="zstd")
    layout = HeiPorSpectral()
    found = layout.scan(layout.listing(surgery.root))
    row = found.catalog.row(0, named=True)
    assert (row["ethics"], row["camera"], row["situs"]) == ("yes", "c1", 1)
    assert row["path"].endswith("_SpecCube.dat")
    assert "Planted" not in str(found.catalog.to_dicts())
    assert "names 'P099#gone'" in found.problems[-1].message
    (tables / "other@meta.feather").write_bytes(b"x")
    assert "holds 2 tables" in layout.scan(layout.listing(surgery.root)).problems[-1].message
    (tables / "tiny@meta.feather").unlink()
    assert "is no readable Feather file" in layout.scan(layout.listing(surgery.root)).problems[-1].message
