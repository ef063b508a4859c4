from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.study import Study, open_study

from .conftest import SurgeryTree, write_cube, write_png

FIRST = "P001#2021_04_15_09_22_01"


@pytest.fixture
def study(surgery: SurgeryTree, surgery_yaml: Path) -> Study:
    folder = surgery.subjects / "P001" / "2021_04_15_09_22_01"
    cube = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    stored = np.ascontiguousarray(cube[::-1].transpose(1, 0, 2), ">f4")
    path = folder / "2021_04_15_09_22_01_SpecCube.dat"
    path.write_bytes(np.array([6, 4, 3], ">i4").tobytes() + stored.tobytes())
    (folder / "2021_04_15_09_22_01_meta.log").write_text('[Camera]\nCamID = "0202-00118"\n')
    return open_study(surgery_yaml)


def test_name_and_folder_give_the_same_recording(study: Study) -> None:
    by_name = study[FIRST]
    assert by_name == study[by_name.folder] == study[by_name.path] == study[str(by_name.folder)]
    assert study[by_name.name] == by_name
    assert (by_name.image_id, by_name.subject_id) == (FIRST, "P001")


def test_a_recording_knows_the_annotations_that_are_meant(study: Study) -> None:
    both = study[FIRST]
    assert both.annotation_names == ("polygon#annotator1", "polygon#annotator2")
    second = study[f"{FIRST}@polygon#annotator2"]
    assert second.name == f"{FIRST}@polygon#annotator2"
    assert (both.mask().annotator, second.mask().annotator) == ("annotator1", "annotator2")
    assert (both.labels(), second.labels()) == (["liver"], ["colon"])
    assert list(both.masks()) == ["polygon#annotator1", "polygon#annotator2"]
    assert list(second.masks()) == ["polygon#annotator2"]
    assert both.mask("annotator2").annotator == "annotator2"


def test_mistyped_names_are_told_the_nearest_one(study: Study) -> None:
    with pytest.raises(UsageError, match="Did you mean 'P001#2021_04_15_09_22_01'"):
        study["P001#2021_04_15_08_22_01"]
    with pytest.raises(UsageError, match="no annotation 'polygon#anotator1'. Did you mean 'polygon#annotator1'"):
        study[f"{FIRST}@polygon#anotator1"]
    with pytest.raises(UsageError, match="no annotation 'polygon'. Known: polygon#annotator1"):
        study[f"{FIRST}@polygon"]
    with pytest.raises(UsageError, match="no annotation 'x'"):
        study[FIRST].mask("x")
    with pytest.raises(UsageError, match="holds 2 images"):
        study[study[FIRST].folder.parent]


def test_paths_of_the_catalog_are_names_too(study: Study) -> None:
    for name in study:
        assert study[study.row(name)["path"]].image_id == name


def test_the_nearest_key_is_looked_for_where_the_key_went_wrong(study: Study) -> None:
    recording = study[next(iter(study))]
    label = next(iter(recording.meta("label_meta")))
    key = next(iter(recording.meta(f"label_meta/{label}")))
    with pytest.raises(UsageError, match=f"Did you mean 'label_meta/{label}/{key}'"):
        recording.meta(f"label_meta/{label}/{key}x")
    with pytest.raises(UsageError, match=f"label_meta/{label}"):
        recording.meta(f"label_meta/{label}x/{key}")
    assert recording.meta(f"label_meta/{label}x/{key}", None) is None


def test_median_spectrum_is_the_median_of_each_channel(study: Study) -> None:
    recording = study[FIRST]
    # columns 0 and 1 of four rows: first channel 18 r + 3 c, so 0 3 18 21 36 39 54 57
    np.testing.assert_array_equal(recording.median_spectrum("liver"), [28.5, 29.5, 30.5])
    normalized = recording.median_spectrum("liver", normalized=True)
    assert normalized.sum() == pytest.approx(1, abs=0.02)
    with pytest.raises(InvalidData, match="'polygon#annotator1' .* no pixel of 'spleen'"):
        recording.median_spectrum("spleen")
    with pytest.raises(UsageError, match="Did you mean 'liver'"):
        recording.median_spectrum("livr")


def test_cube_and_picture_are_of_one_size(study: Study) -> None:
    recording = study[FIRST]
    assert recording.cube().shape == (4, 6, 3)
    assert recording.cube(x=1, y=2, w=2, h=1, channels=[0]).tolist() == [[[39.0], [42.0]]]
    assert recording.rgb().shape == (4, 6, 3)
    np.testing.assert_array_equal(recording.wavelengths_nm, [500, 750, 1000])


def test_pictures_of_the_sensor_and_of_parameters(study: Study) -> None:
    recording = study[FIRST]
    with pytest.raises(MissingFile, match="has no picture"):
        recording.sensor_rgb()
    stem = recording.path.name.removesuffix("_SpecCube.dat")
    write_png(recording.folder / f"{stem}_RGB-Capture.png", np.full((4, 6, 3), 7, np.uint8))
    assert recording.sensor_rgb().max() == 7
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:] = (0, 253, 1)  # the colour of 0.4
    write_png(recording.folder / f"{stem}_Oxygenation.png", picture)
    np.testing.assert_allclose(recording.parameter_picture("StO2"), 0.4, atol=0.001)


def test_any_meta_key_is_found(study: Study) -> None:
    recording = study[FIRST]
    assert recording.meta("Camera_CamID") == "0202-00118"
    assert recording.meta("label_meta/liver/angle") == -25
    assert recording.meta("camera") == "0202-00118_correct-1"
    assert recording.meta("situs", 7) == 1
    assert recording.meta("nothing", None) is None
    assert recording.meta("label_meta/colon/angle", 0) == 0
    assert recording.meta()["image_labels"] == ["liver"]
    with pytest.raises(UsageError, match="has no 'label_met'. Did you mean 'label_meta'"):
        recording.meta("label_met")


def test_merging_lets_the_last_annotator_win_and_says_where(study: Study, surgery: SurgeryTree) -> None:
    folder = study[FIRST].folder
    inside = np.zeros((4, 6), bool)
    inside[:, 1:3] = True
    surgery.annotate(folder, "spleen", inside, annotator="annotator3")
    study.refresh()
    merged = study[FIRST].merged_mask(["polygon#annotator1", "polygon#annotator3"])
    assert merged.annotations == ("polygon#annotator1", "polygon#annotator3")
    assert merged.labels[0].tolist() == [0, 1, 1, 255, 255, 255]
    assert merged.taken[0].tolist() == [0, 1, 1, 255, 255, 255]
    assert merged.disagreed_px == 4


def test_masks_of_htc_are_read_with_the_indices_of_the_data_set(surgery: SurgeryTree) -> None:
    folder = surgery.image("P009", "2021_04_15_09_22_01")
    (surgery.root / "intermediates" / "segmentations").mkdir(parents=True)
    layers = np.full((2, 4, 6), 255, np.uint8)
    layers[0, :, :3], layers[1, :, 2:5] = 0, 1
    content = {"semantic#primary": layers, "semantic#wrong": np.full((4, 6), 77, np.uint8)}
    write_htc_blosc(surgery.root / "intermediates" / "segmentations" / f"P009#{folder.name}.blosc", content)
    from stroma.study.datasets import open_dataset

    study = open_dataset(surgery.root, cache=surgery.root.parent / "cache")
    mask = study["P009#2021_04_15_09_22_01@semantic#primary"].mask()
    names = [None if value == 255 else study.labels.names[value] for value in mask.labels[0]]
    assert names == ["liver", "liver", None, "spleen", "spleen", None]
    assert mask.overlap_px == 4
    with pytest.raises(InvalidData, match="the value 77, which is outside the label mapping"):
        study["P009#2021_04_15_09_22_01"].mask("wrong")


def test_what_htc_computed_is_read(study: Study, surgery: SurgeryTree) -> None:
    folder = surgery.root / "intermediates" / "preprocessing" / "L1"
    folder.mkdir(parents=True)
    write_htc_blosc(folder / f"{FIRST}.blosc", np.ones((4, 6, 3), np.float16))
    found = study[FIRST].preprocessed("L1")
    assert isinstance(found, np.ndarray) and found.dtype == np.float16
    with pytest.raises(MissingFile, match="Known: L1"):
        study[FIRST].preprocessed("raw16")


def test_conditions_choose_images_by_metadata_label_and_annotator(study: Study) -> None:
    def names(where: str | None) -> list[str]:
        return [recording.name for recording in study.select(where)]

    assert len(names(None)) == 6
    assert names("subject_id = 'P002' AND angle < 0") == [
        "P002#2021_04_15_09_22_01",
        "P002#2021_04_15_09_22_02",
    ]
    assert names("annotator = 'annotator2'") == [f"{FIRST}@polygon#annotator2"]
    assert names("label IN ('colon', 'spleen')") == [f"{FIRST}@polygon#annotator2"]
    assert names("\"Camera_CamID\" = '0202-00118'") == [FIRST]
    assert names("situs > 1") == []
    with pytest.raises(UsageError, match="the column 'anngle', which there is not. Did you mean 'angle'"):
        names("anngle = 1")
    with pytest.raises(UsageError, match="no SQL expression"):
        names("angle = = 1")


def test_several_data_sets_are_gone_through_together(study: Study, tmp_path: Path) -> None:
    from stroma.study.datasets import open_dataset
    from stroma.study.selection import select

    other = tmp_path / "other"
    write_cube(other / "2022_01_01_00_00_00_SpecCube.dat")
    (other / "2022_01_01_00_00_00_meta.log").write_text("[Camera]\nCamID = 9\n")
    second = open_dataset(other, cache=tmp_path / "cache")
    ids = [recording.image_id for recording in select([study, second], "camera LIKE '%_correct-1'")]
    assert ids == [FIRST, "9#2022_01_01_00_00_00"]
    assert [r.image_id for r in select([study, second], "angle = -25 AND subject_id = 'P003'")][0].startswith("P003")


def test_studies_of_other_layouts_have_recordings_too(tmp_path: Path) -> None:
    from tests.tiny import picture_study

    study = open_study(picture_study(tmp_path))
    recording = study[next(iter(study))]
    assert recording.mask().labels.shape == recording.cube().shape[:2]
    assert recording.labels() == ["red", "green", "blue"]
    assert study[recording.name] == study[recording.path] == recording


def test_recordings_travel_to_other_processes(study: Study) -> None:
    recording = study[FIRST]
    copy = pickle.loads(pickle.dumps(recording))  # noqa: S301 - our own bytes
    assert copy.name == recording.name
    assert isinstance(copy.study.catalog, pl.DataFrame)
