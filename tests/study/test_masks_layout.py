from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from stroma.core.errors import InvalidData, StromaError
from stroma.study.layouts.layout import Proposal, Scan
from stroma.study.layouts.masks import ImageMaskPairs
from stroma.study.layouts.recognise import recognise
from stroma.study.study import Study, open_study

from .conftest import SHARED, write_png, write_study

NAMES = ("Fall ü 1", "b#2, @c+d")


def picture(path: Path, height: int = 5, width: int = 7) -> None:
    write_png(path, np.full((height, width, 3), 120, np.uint8))


def examine(root: Path, **parameters: str) -> tuple[ImageMaskPairs, Scan, Proposal]:
    found = recognise(root, "masks") if not parameters else None
    layout = ImageMaskPairs(**(found.parameters if found else parameters))
    listing = layout.listing(root)
    scan = layout.scan(listing)
    return layout, scan, layout.propose(listing, scan)


def study_of(root: Path, layout: ImageMaskPairs, proposal: Proposal) -> Study:
    assert proposal.labels is not None
    description = {"name": "masks", "images": layout.images, "masks": layout.masks, "kind": layout.kind}
    path = write_study(
        root.with_name("study.yaml"),
        name="x",
        root=root.name,
        layout=description,
        labels=proposal.labels.plain(),
        outside=proposal.outside,
    )
    return open_study(path)


def values(*rows: int) -> np.ndarray:
    mask = np.zeros((5, 7), np.uint8)
    for row, value in enumerate(rows):
        mask[row] = value
    return mask


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "masks/{}.png"),
        ("Images/{}.jpg", "labels/{}.tif"),
        ("images/{}.png", "annotations/{}_mask.png"),
        ("{}.png", "{}_seg.png"),
        ("sub folder/{}.png", "sub folder/{}_mask.png"),
        ("{}_image.png", "{}_label.png"),
        ("{}/image.png", "{}/mask.png"),
        ("a/images/{}.png", "a/masks/{}.png"),
    ],
)
def test_pairs_are_found_whatever_their_places(tmp_path: Path, image: str, mask: str) -> None:
    root = tmp_path / "data"
    for name in NAMES:
        picture(root / image.format(name))
        write_png(root / mask.format(name), values(1))
    layout, scan, proposal = examine(root)
    assert len(scan.catalog) == len(scan.annotations) == 2
    assert [id.rpartition("/")[2] for id in scan.catalog["image_id"]] == sorted(NAMES)
    assert scan.problems == ()
    study = study_of(root, layout, proposal)
    np.testing.assert_array_equal(study.mask(next(iter(study))), values(1))


def test_ids_are_paths_below_the_image_folder_without_suffix(tmp_path: Path) -> None:
    picture(tmp_path / "images/case 1/a.v2.png")
    write_png(tmp_path / "masks/case 1/a.v2.png", values(1))
    assert examine(tmp_path)[1].catalog["image_id"].to_list() == ["case 1/a.v2"]


def test_masks_of_0_and_255_are_background_and_foreground(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    write_png(root / "masks/a.png", values(255, 0))
    layout, _, proposal = examine(root)
    assert layout.kind == "mask-index"
    mask = study_of(root, layout, proposal).mask("a")
    assert (mask[0] == 1).all() and (mask[1:] == 0).all()


def test_255_beside_other_classes_means_not_annotated(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    write_png(root / "masks/a.png", values(3, 1, 255))
    layout, _, proposal = examine(root)
    assert proposal.labels is not None and proposal.labels.names == ("background", "class_1", "class_3")
    assert any("255, taken for 'not annotated'" in note for note in proposal.notes)
    np.testing.assert_array_equal(study_of(root, layout, proposal).mask("a")[:4, 0], [2, 1, 255, 0])


def test_palette_masks_keep_their_colours(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    mask = PIL.Image.fromarray(values(2, 1)).convert("P")
    mask.putdata(values(2, 1).ravel().tolist())
    mask.putpalette([0, 0, 0, 200, 10, 20, 30, 40, 250] + [0] * (253 * 3))
    (root / "masks").mkdir()
    mask.save(root / "masks/a.png")
    layout, _, proposal = examine(root)
    assert layout.kind == "mask-palette"
    assert proposal.labels is not None and proposal.labels.colour("class_1") == "#c80a14"
    np.testing.assert_array_equal(study_of(root, layout, proposal).mask("a")[:3, 0], [2, 1, 0])


def test_colours_are_classes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    colours = np.zeros((5, 7, 3), np.uint8)
    colours[0] = (255, 0, 0)
    colours[1] = (0, 128, 255)
    write_png(root / "masks/a.png", colours)
    layout, _, proposal = examine(root)
    assert layout.kind == "mask-rgb"
    assert proposal.labels is not None and proposal.labels.names == ("background", "colour_0080ff", "colour_ff0000")
    np.testing.assert_array_equal(study_of(root, layout, proposal).mask("a")[:3, 0], [2, 1, 0])


@pytest.mark.parametrize("pattern", ["masks/{label}/{id}.png", "masks/{id}_{label}.png", "masks/{id}/{label}.png"])
def test_one_mask_a_class(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "data"
    for name in ("case_1", "case_1_left"):
        picture(root / f"images/{name}.png")
        write_png(root / pattern.format(label="kidney_cyst", id=name), values(255))
        write_png(root / pattern.format(label="tumour", id=name), values(255, 255))
    layout, scan, proposal = examine(root)
    assert layout.kind == "mask-binary" and "{class}" in layout.masks
    assert set(scan.annotations["label"]) == {"kidney_cyst", "tumour"}
    assert dict(proposal.counts) == {"kidney_cyst": 2, "tumour": 2}
    study = study_of(root, layout, proposal)
    found = study.annotated_mask("case_1")
    assert found.overlap_px == 7
    assert study.labels.names == ("background", "kidney_cyst", "tumour")
    np.testing.assert_array_equal(found.labels[:3, 0], [255, 2, 0])


def test_objects_are_foreground(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png", 10, 10)
    objects = np.zeros((10, 10), np.uint16)
    objects[:6] = np.arange(1, 61).reshape(6, 10)
    PIL.Image.fromarray(objects).save(write_png(root / "masks/a.png", values()))
    layout, _, proposal = examine(root)
    assert layout.kind == "mask-instance"
    assert study_of(root, layout, proposal).mask("a").sum() == 60


def test_masks_with_blurred_edges_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png", 10, 10)
    write_png(tmp_path / "masks/a.png", np.arange(0, 200, 2, np.uint8).reshape(10, 10))
    with pytest.raises(InvalidData, match="neither classes nor objects"):
        recognise(tmp_path)


def test_a_mask_of_another_size_is_reported_at_once_and_left_out(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"images/{name}.png")
        write_png(tmp_path / f"masks/{name}.png", values(1) if name == "a" else values(1).T)
    _, scan, _ = examine(tmp_path)
    assert scan.annotations["image_id"].to_list() == ["a"]
    assert [problem.path for problem in scan.problems] == ["masks/b.png"]
    assert "is 7 × 5 (height × width), its image is 5 × 7" in scan.problems[0].message


def test_images_without_masks_and_masks_without_images_are_reported(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"images/{name}.png")
    for name in "abx":
        write_png(tmp_path / f"masks/{name}.png", values(1))
    (tmp_path / "notes.txt").write_text("x")
    _, scan, _ = examine(tmp_path)
    assert {problem.path: problem.message.split(";")[0] for problem in scan.problems} == {
        "images/c.png": "has no mask",
        "masks/x.png": "is named like a mask, but its image is missing",
        "notes.txt": "is no part of this layout",
    }
    assert len(scan.catalog) == 3


def test_two_images_of_one_id_stop_with_both_paths(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        picture(tmp_path / f"images/a.{suffix}")
    write_png(tmp_path / "masks/a.png", values(1))
    with pytest.raises(InvalidData, match=r"'images/a.jpg' and 'images/a.png'"):
        examine(tmp_path)


def test_a_damaged_image_is_reported_and_left_out(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"images/{name}.png")
        write_png(tmp_path / f"masks/{name}.png", values(1))
    (tmp_path / "images/b.png").write_bytes(b"")
    _, scan, _ = examine(tmp_path)
    assert scan.catalog["image_id"].to_list() == ["a"]
    assert scan.problems[0].path == "images/b.png"


def test_train_and_test_folders_become_the_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        picture(tmp_path / f"{part}/images/a.png")
        write_png(tmp_path / f"{part}/masks/a.png", values(1))
    layout, scan, proposal = examine(tmp_path)
    assert layout.images == "{split}/images/{id}"
    assert scan.catalog.select("image_id", "split").rows() == [("test/a", "test"), ("train/a", "train")]
    assert proposal.split_column == "split"


@pytest.mark.parametrize("places", [("p1", "p2"), ("p1", "p2", "p3"), ("all/p1/day 1", "all/p2/day 1", "all/p2/2")])
def test_folders_of_images_and_masks_in_each_of_many_folders_are_all_read(
    tmp_path: Path, places: tuple[str, ...]
) -> None:
    for place in places:
        for name in NAMES:
            picture(tmp_path / place / "images" / f"{name}.png")
            write_png(tmp_path / place / "masks" / f"{name}.png", values(1))
    found = recognise(tmp_path)
    assert found.parameters["images"] in ("{folder}/images/{id}", "all/{folder}/images/{id}")
    scan = ImageMaskPairs(**found.parameters).scan(ImageMaskPairs().listing(tmp_path))
    assert scan.problems == ()
    expected = sorted(f"{place.removeprefix('all/')}/{name}" for place in places for name in NAMES)
    assert scan.catalog["image_id"].to_list() == scan.annotations["image_id"].to_list() == expected


def test_parts_inside_the_image_folder_become_the_split(tmp_path: Path) -> None:
    for part in ("train", "val"):
        picture(tmp_path / f"images/{part}/a.png")
        write_png(tmp_path / f"masks/{part}/a.png", values(1))
    layout, scan, _ = examine(tmp_path)
    assert layout.images == "images/{split}/{id}"
    assert scan.catalog["image_id"].to_list() == ["train/a", "val/a"]


def test_several_annotators_stay_apart(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    for number in (1, 2):
        write_png(root / f"masks/reader {number}/a.png", values(*[1] * number))
    layout, scan, proposal = examine(root, images="images/{id}", masks="masks/{annotator}/{id}", kind="mask-index")
    study = study_of(root, layout, proposal)
    assert study.annotators == ("reader 1", "reader 2")
    assert study.mask("a").sum() == 7
    assert study.mask("a", annotator="reader 2").sum() == 14


def test_results_of_stroma_below_the_root_are_no_images(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write_png(tmp_path / "masks/a.png", values(1))
    picture(tmp_path / "tiles/thumbnails/a.png")
    (tmp_path / "tiles/sources.parquet").write_bytes(b"")
    (tmp_path / "study.yaml").write_text("")
    assert examine(tmp_path)[1].problems == ()


def test_a_value_outside_the_mapping_is_an_error_that_says_where(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "images/a.png")
    write_png(root / "masks/a.png", values(1))
    layout, _, proposal = examine(root)
    study = study_of(root, layout, proposal)
    write_png(root / "masks/a.png", values(7))
    with pytest.raises(StromaError, match="a.png: holds the value 7, which is outside the label mapping"):
        study.mask("a")


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_hubmap_tiles_have_twelve_binary_masks() -> None:
    layout, scan, proposal = examine(SHARED / "data" / "glomeruli_hubmap_tiles")
    assert len(scan.catalog) == len(scan.annotations) == 12
    assert proposal.labels is not None and proposal.labels.names == ("background", "foreground")
    assert {problem.path for problem in scan.problems if not problem.harmless} == set()
    assert set(scan.catalog.select("height", "width").rows()) == {(256, 256)}
    assert layout.kind == "mask-index"


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_stardist_nuclei_are_objects() -> None:
    layout, _, proposal = examine(SHARED / "data" / "nuclei_stardist_2d")
    assert layout.kind == "mask-instance"
    assert dict(proposal.counts) == {"background": 1, "object": 1}


def test_decomposed_umlauts_in_folders_and_files_are_composed_in_ids(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "Scha\u0308del/images/Mu\u0308ller.png")
    write_png(root / "Scha\u0308del/masks/M\u00fcller.png", values(1))
    layout, scan, proposal = examine(root)
    assert scan.catalog["image_id"].to_list() == ["M\u00fcller"]
    assert (study_of(root, layout, proposal).mask("M\u00fcller")[0] == 1).all()


@pytest.mark.parametrize("header", ["{}.hdr", "{}.raw.hdr"])
def test_envi_cubes_with_masks_are_a_study_and_their_data_files_are_no_strangers(tmp_path: Path, header: str) -> None:
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    cube = np.arange(5 * 7 * 3, dtype="<u2").reshape(5, 7, 3)
    (root / "images/a.raw").write_bytes(cube.tobytes())
    (root / "images" / header.format("a")).write_text(
        "ENVI\nsamples = 7\nlines = 5\nbands = 3\ndata type = 12\ninterleave = bip\nbyte order = 0\n"
        "wavelength units = nm\nwavelength = {500, 600, 700}\n"
    )
    image_id = header.format("a").removesuffix(".hdr")
    write_png(root / f"masks/{image_id}.png", values(1))
    layout, scan, proposal = examine(root)
    assert scan.problems == ()
    study = study_of(root, layout, proposal)
    with study.open(image_id) as image:
        np.testing.assert_array_equal(image.read(), cube)
        assert image.wavelengths_nm is not None and image.wavelengths_nm.tolist() == [500, 600, 700]


def test_cubes_in_numpy_files_with_masks_in_numpy_files_beside_them(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    np.save(root / "a.npy", np.ones((5, 7, 4), np.float32))
    np.save(root / "a_mask.npy", values(1))
    layout, scan, proposal = examine(root)
    assert (scan.catalog["path"].to_list(), scan.annotations["path"].to_list()) == (["a.npy"], ["a_mask.npy"])
    np.testing.assert_array_equal(study_of(root, layout, proposal).mask("a"), values(1))


def test_a_picture_is_the_image_where_a_file_of_arrays_has_its_name_and_the_other_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "images/a.mat").write_bytes(b"points of nuclei")
    write_png(tmp_path / "masks/a.png", values(1))
    _, scan, _ = examine(tmp_path)
    assert scan.catalog["path"].to_list() == ["images/a.png"]
    assert [problem.path for problem in scan.problems] == ["images/a.mat"]
