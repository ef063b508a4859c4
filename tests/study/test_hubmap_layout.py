from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.prepare.index import InitOptions, init
from stroma.regions.rle import encode_mask
from stroma.study.layouts.recognise import recognise
from stroma.study.study import Study, open_study

from .conftest import SHARED, write_png

SHAPE = (6, 9)


def mask_of(row: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + 2, 2:7] = True
    return mask


def square(name: str | None) -> dict[str, object]:
    corners = [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]
    properties = {"classification": {"name": name, "colorRGB": -3140401}, "isLocked": True, "measurements": []}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]}, "properties": properties}


@pytest.fixture
def kidney(tmp_path: Path) -> Path:
    """Two training images and one for the test, as in 'HuBMAP: Hacking the Kidney'."""
    root = tmp_path / "hubmap [kidney]"
    for name in ("train/0aa", "train/1bb", "test/2cc"):
        write_png(root / f"{name}.png", np.full((*SHAPE, 3), 200, np.uint8))
    for name in ("0aa", "1bb"):
        (root / f"train/{name}.json").write_text(json.dumps([square("glomerulus")]))
        (root / f"train/{name}-anatomical-structure.json").write_text(json.dumps([square("Cortex")]))
    (root / "train.csv").write_text(f"id,encoding\n0aa,{encode_mask(mask_of(1))}\n1bb,\n")
    (root / "sample_submission.csv").write_text("id,predicted\n2cc,\n")
    (root / "HuBMAP-20-dataset_information.csv").write_text(
        "image_file,width_pixels,patient_number,sex\n0aa.tiff,9,63921,Male\n1bb.tiff,9,67347,Female\n2cc.tiff,9,7,Male\n"
    )
    return root


def study_of(root: Path, tmp_path: Path, **options: object) -> Study:
    init(InitOptions(folder=root, output=tmp_path / "study.yaml", overwrite=True, **options))  # type: ignore[arg-type]
    return open_study(tmp_path)


def test_the_competition_folder_becomes_a_study_with_subjects_and_masks(kidney: Path, tmp_path: Path) -> None:
    study = study_of(kidney, tmp_path)
    assert list(study) == ["0aa", "1bb"]
    assert study.catalog["subject_id"].to_list() == ["63921", "67347"]
    assert study.labels.names == ("background", "glomerulus")
    np.testing.assert_array_equal(study.mask("0aa"), mask_of(1).astype(np.uint8))
    assert study.annotated() == ["0aa", "1bb"]  # an empty text says that there is nothing
    assert not study.mask("1bb").any()


def test_images_that_the_table_does_not_list_are_said(kidney: Path, tmp_path: Path) -> None:
    lines = init(InitOptions(folder=kidney, output=tmp_path / "study.yaml")).lines
    assert any("test/2cc.png is not listed in train.csv" in line for line in lines)
    assert any("sample_submission.csv" in line for line in lines)
    assert not any("HuBMAP-20-dataset_information.csv is no part" in line for line in lines)


def test_an_id_without_image_is_named(kidney: Path, tmp_path: Path) -> None:
    with (kidney / "train.csv").open("a") as handle:
        handle.write("9zz,1 2\n")
    lines = init(InitOptions(folder=kidney, output=tmp_path / "study.yaml")).lines
    assert any("problem: train.csv lists '9zz', but there is no such image" in line for line in lines)


@pytest.mark.parametrize(("source", "label"), [("polygons", "glomerulus"), ("structures", "Cortex")])
def test_the_json_files_can_be_read_instead(kidney: Path, tmp_path: Path, source: str, label: str) -> None:
    path = tmp_path / "study.yaml"
    init(InitOptions(folder=kidney, output=path))
    text = path.read_text(encoding="utf-8").replace("annotations: runs", f"annotations: {source}")
    path.write_text(text.replace("- glomerulus", f"- {label}"), encoding="utf-8")
    study = open_study(path)
    assert (study.mask("1bb") == 1).sum() == 4


def test_other_names_may_be_given_to_classes_without_names(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a", "b"):
        write_png(root / f"{name}.png", np.full((*SHAPE, 3), 200, np.uint8))
    (root / "train.csv").write_text(f"id,rle\na,{encode_mask(mask_of(1))}\nb,{encode_mask(mask_of(2))}\n")
    assert study_of(root, tmp_path).labels.names == ("background", "foreground")
    study = study_of(root, tmp_path, labels="nothing,gland")
    assert study.labels.names == ("nothing", "gland")
    np.testing.assert_array_equal(study.mask("b"), mask_of(2).astype(np.uint8))


def test_the_organ_table_tells_pixel_size_and_lists_of_polygons(tmp_path: Path) -> None:
    root = tmp_path / "data"
    rows = ""
    for number, name in enumerate(("10044", "10274")):
        write_png(root / f"train_images/{name}.png", np.full((*SHAPE, 3), 200, np.uint8))
        (root / "train_annotations").mkdir(exist_ok=True)
        (root / f"train_annotations/{name}.json").write_text("[[[1, 1], [4, 1], [4, 3], [1, 3]]]")
        rows += f"{name},prostate,HPA,6,9,{0.4 + number / 10},{encode_mask(mask_of(1))},37\n"
    (root / "train.csv").write_text(f"id,organ,data_source,img_height,img_width,pixel_size,rle,age\n{rows}")
    study = study_of(root, tmp_path)
    assert study.row("10044")["organ"] == "prostate" and study.row("10274")["mpp"] == 0.5
    with study.open("10274") as image:
        assert image.mpp == 0.5
    assert "rle" not in study.catalog.columns
    assert (study.mask("10044") == 1).sum() == 10


def test_a_column_of_runs_for_each_class(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_png(root / "a.png", np.full((*SHAPE, 3), 200, np.uint8))
    (root / "masks.csv").write_text(f"id,vessel,gland\na,{encode_mask(mask_of(0))},{encode_mask(mask_of(3))}\n")
    study = study_of(root, tmp_path)
    assert study.labels.names == ("background", "vessel", "gland")
    expected = mask_of(0).astype(np.uint8)
    expected[mask_of(3)] = 2
    np.testing.assert_array_equal(study.mask("a"), expected)


def test_runs_beyond_the_image_are_an_error_that_names_file_and_image(kidney: Path, tmp_path: Path) -> None:
    (kidney / "train.csv").write_text("id,encoding\n0aa,50 900\n1bb,\n")
    with pytest.raises(InvalidData, match=r"train\.csv, 0aa"):
        study_of(kidney, tmp_path).mask("0aa")


def test_a_changed_table_is_read_again(kidney: Path, tmp_path: Path) -> None:
    study = study_of(kidney, tmp_path)
    study.mask("0aa")
    (kidney / "train.csv").write_text(f"id,encoding\n0aa,{encode_mask(mask_of(3))}\n1bb,1 1\n")
    again = open_study(tmp_path)
    np.testing.assert_array_equal(again.mask("0aa"), mask_of(3).astype(np.uint8))


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_tiles_whose_names_begin_with_ids_are_pairs_of_two_slides(tmp_path: Path) -> None:
    root = SHARED / "data" / "glomeruli_hubmap_tiles"
    assert recognise(root).name == "masks"
    study = study_of(root, tmp_path)
    assert study.catalog.group_by("subject_id").len().sort("subject_id").rows() == [
        ("2f6ecfcdf", 6),
        ("8242609fa", 6),
    ]
