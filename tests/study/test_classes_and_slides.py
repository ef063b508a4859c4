from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from stroma.core.errors import ConfigError, InvalidData, MissingFile, UsageError
from stroma.study.layouts.classes import ClassFolders
from stroma.study.layouts.layout import Scan
from stroma.study.layouts.recognise import recognise
from stroma.study.layouts.slides import SlideFolder
from stroma.study.study import open_study

from .conftest import SHARED, write_png, write_study


def picture(path: Path) -> None:
    write_png(path, np.full((5, 7, 3), 120, np.uint8))


def scan(root: Path) -> Scan:
    found = recognise(root)
    layout = {"classes": ClassFolders, "slides": SlideFolder}[found.name](**found.parameters)
    return layout.scan(layout.listing(root))


def test_the_folder_of_a_picture_is_its_label(tmp_path: Path) -> None:
    for name in ("Bösartig #1", "gutartig"):
        for number in (1, 2):
            picture(tmp_path / name / f"{number}.png")
    found = scan(tmp_path)
    assert found.catalog.select("image_id", "label").rows()[0] == ("Bösartig #1/1", "Bösartig #1")
    assert found.annotations.select("kind", "label").rows()[-1] == ("image", "gutartig")


def test_pictures_of_one_name_in_two_classes_do_not_clash(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in (1, 2):
            picture(tmp_path / name / f"{number}.png")
    assert scan(tmp_path).catalog["image_id"].to_list() == ["a/1", "a/2", "b/1", "b/2"]


def test_parts_above_the_classes_are_the_split(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "1.png")
    assert recognise(tmp_path).parameters == {"images": "{split}/{class}/{id}"}
    layout = ClassFolders("{split}/{class}/{id}")
    listing = layout.listing(tmp_path)
    proposal = layout.propose(listing, layout.scan(listing))
    assert proposal.split_column == "split"
    assert "the folders test, train, val are the splits" in proposal.notes
    path = write_study(
        tmp_path / "study.yaml",
        name="x",
        root=".",
        layout={"name": "classes", "images": "{split}/{class}/{id}"},
        subjects={"rule": "none"},
        labels={"names": ["a", "b"]},
        splits={"from": "column", "column": "split"},
    )
    study = open_study(path)
    splits = study.splits()
    assert splits.ids("train") == ["train/a/1", "train/b/1"]
    assert splits.ids("test") == ["test/a/1", "test/b/1"]
    with pytest.raises(InvalidData, match="label for the whole image"):
        study.mask("train/a/1")


def test_other_files_beside_the_pictures_of_classes_do_not_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in (1, 2):
            picture(tmp_path / name / f"{number}.png")
    (tmp_path / "readme.txt").write_text("x")
    assert recognise(tmp_path).name == "classes"
    (found,) = scan(tmp_path).problems
    assert (found.path, found.harmless) == ("readme.txt", True)


def test_folders_of_one_picture_each_are_no_classes(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"subject {number}" / "1.png")
    assert recognise(tmp_path).name == "slides"


def test_a_pattern_without_a_class_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    layout = ClassFolders("a/{id}")
    with pytest.raises(ConfigError, match="lacks {class}"):
        layout.scan(layout.listing(tmp_path))


def test_images_and_masks_are_no_classes(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        for number in range(4):
            picture(tmp_path / name / f"{number if name == 'images' else number + 10}.png")
    assert recognise(tmp_path).name == "slides"


def test_masks_inside_class_folders_are_ambiguous(tmp_path: Path) -> None:
    for name in ("benign", "malignant"):
        picture(tmp_path / name / "1.png")
        write_png(tmp_path / name / "1_mask.png", np.zeros((5, 7), np.uint8))
    with pytest.raises(UsageError, match="2 ways.*--layout masks.*--layout classes"):
        recognise(tmp_path)
    assert recognise(tmp_path, "classes").name == "classes"


def test_nested_slides_are_found_and_other_files_reported(tmp_path: Path) -> None:
    for folder in ("", "sub folder/ü"):
        target = tmp_path / folder / "a b.tiff"
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, np.full((64, 48, 3), 200, np.uint8), tile=(16, 16), photometric="rgb")
    picture(tmp_path / "thumbnail.png")
    (tmp_path / "broken.svs").write_bytes(b"no slide")
    found = scan(tmp_path)
    assert found.catalog.select("image_id", "height", "width").rows() == [
        ("a b", 64, 48),
        ("sub folder/ü/a b", 64, 48),
    ]
    assert {problem.path: problem.harmless for problem in found.problems} == {
        "broken.svs": False,
        "thumbnail.png": True,
    }


def test_the_folder_beside_an_mrxs_belongs_to_it(tmp_path: Path) -> None:
    (tmp_path / "s.mrxs").write_bytes(b"x")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "Data0001.dat").write_bytes(b"x")
    (tmp_path / "s" / "x.tif").write_bytes(b"x")
    layout = SlideFolder()
    assert [problem.path for problem in layout.scan(layout.listing(tmp_path)).problems] == ["s.mrxs"]


def test_pictures_alone_are_slides_too(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert recognise(tmp_path).parameters == {"pictures": True}
    assert len(scan(tmp_path).catalog) == 2


def test_an_empty_folder_and_a_missing_one_are_errors(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"")
    with pytest.raises(InvalidData, match="holds no files"):
        recognise(tmp_path)
    with pytest.raises(MissingFile):
        recognise(tmp_path / "gone")


def test_an_unknown_layout_says_what_is_there(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mat").write_bytes(b"")
    (tmp_path / "README").write_text("x")
    with pytest.raises(InvalidData, match=r"found: 3 × .mat, 1 × no suffix.*--layout"):
        recognise(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_files_of_one_dicom_slide_are_one_image() -> None:
    found = scan(SHARED / "data" / "wsi_openslide_fixtures")
    assert "boxes_0" in found.catalog["image_id"].to_list()
    assert "boxes_1" not in found.catalog["image_id"].to_list()


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_slides_that_are_pictures() -> None:
    found = scan(SHARED / "data" / "slides_jpeg_histoprep")
    assert found.catalog["image_id"].to_list() == ["slide", "slide_with_ink", "tma_spots"]
    assert found.catalog.row(0, named=True)["height"] == 2500


def test_pictures_that_are_like_masks_are_told(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"{number}.png", np.full((5, 7), number, np.uint8))
    layout = SlideFolder(pictures=True)
    listing = layout.listing(tmp_path)
    assert any(
        "3 of 3 pictures looked at are like masks" in n for n in layout.propose(listing, layout.scan(listing)).notes
    )
    picture(tmp_path / "0.png")
    picture(tmp_path / "1.png")
    assert not layout.propose(listing, layout.scan(listing)).notes
