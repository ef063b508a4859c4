"""What a user types becomes images with ids."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image as Picture

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.provenance import Provenance
from stroma.prepare.inputs import find_inputs
from stroma.prepare.sources import write_sources
from tests.study.conftest import SurgeryTree, surgery  # noqa: F401

FIXTURES = Path(__file__).parents[2].parent / "shared" / "data" / "wsi_openslide_fixtures"


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def ids(*inputs: Path, output: Path | None = None) -> list[str]:
    return [source.image_id for source in find_inputs(inputs, output=output).sources]


def test_a_folder_is_searched_for_suffixes_of_readers(tmp_path: Path) -> None:
    touch(tmp_path, ["b.SVS", "a/x.png", "a/deep/Übersicht #1, a+b.tif", "notes.txt", "mask.npy", ".hidden.png"])
    touch(tmp_path, [".cache/y.png", "Thumbs.db", "P1_SpecCube.dat"])
    assert ids(tmp_path) == ["a/deep/Übersicht #1, a+b", "a/x", "b"]


def test_ome_zarr_folders_are_images_like_files(tmp_path: Path) -> None:
    for name in ("a.ome.zarr", "P1/b.zarr"):
        touch(tmp_path / name, [".zgroup", "0/0.0.0"])
        (tmp_path / name / ".zattrs").write_text('{"multiscales": [{}]}')
    touch(tmp_path / "cube.zarr", [".zgroup"])  # no OME-Zarr
    touch(tmp_path, ["c.png"])
    assert ids(tmp_path) == ["P1/b", "a", "c"]
    assert ids(tmp_path / "*.zarr") == ["a"]
    assert ids(tmp_path / "P1" / "b.zarr") == ["b"]


def test_subjects_are_unknown_so_each_image_is_its_own(tmp_path: Path) -> None:
    found = find_inputs([touch(tmp_path, ["a.png", "b.png"])])
    assert [(s.image_id, s.subject_id) for s in found.sources] == [("a", "a"), ("b", "b")]
    assert not found.subjects_known


def test_ids_count_from_the_deepest_common_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["one/a.png", "two/a.png", "two/b.v2.png"])
    assert ids(tmp_path / "two" / "a.png") == ["a"]
    assert ids(tmp_path / "two" / "b.v2.png") == ["b.v2"]
    assert ids(touch(tmp_path, ["c.ome.tif"]) / "c.ome.tif") == ["c"]
    assert ids(tmp_path / "one" / "a.png", tmp_path / "two") == ["one/a", "two/a", "two/b.v2"]


def test_a_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    assert ids(touch(tmp_path, ["slide.weird"]) / "slide.weird") == ["slide"]


def test_patterns_match_and_ids_count_from_their_fixed_part(tmp_path: Path) -> None:
    touch(tmp_path, ["s/1/a.svs", "s/2/b.svs", "s/2/b.txt", "s/2/c.png"])
    assert ids(tmp_path / "s" / "**" / "*.svs") == ["1/a", "2/b"]
    assert ids(tmp_path / "s" / "?" / "[bc].*") == ["2/b", "2/c"]
    assert ids(tmp_path / "s" / "*") == ["1/a", "2/b", "2/c"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, ["a[1].png", "a1.png"])
    assert ids(tmp_path / "a[1].png") == ["a[1]"]


def test_naming_a_file_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", "b.png"])
    assert ids(tmp_path, tmp_path / "a.png", tmp_path / "x" / ".." / "*.png") == ["a", "b"]


@pytest.mark.parametrize("other", ["a.tiff", "A.svs"])
def test_two_equal_ids_stop_with_both_paths(tmp_path: Path, other: str) -> None:
    """Ids that differ only in case would share a file on Windows and macOS."""
    touch(tmp_path, ["x/a.svs", f"x/{other}"])
    with pytest.raises(InvalidData) as caught:
        find_inputs([tmp_path])
    assert "a.svs" in str(caught.value)
    assert other in str(caught.value)


def test_results_and_the_output_itself_are_not_taken_for_images(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", "out/thumbnails/a.png", "old/thumbnails/a.png", "old/images/a/x0.jpg"])
    write_sources(tmp_path / "old", [], Provenance("tiles/1"))
    assert ids(tmp_path, output=tmp_path / "out") == ["a"]
    assert ids(tmp_path / "old" / "images", output=tmp_path) == ["a/x0"]
    with pytest.raises(MissingFile, match="holds no slide or picture"):  # its pictures are no slides to cut again
        touch(tmp_path, ["tiles/thumbnails/a.png", "tiles/tissue/a.png"])
        write_sources(tmp_path / "tiles", [], Provenance("tiles/1"))
        find_inputs([tmp_path / "tiles"])
    touch(tmp_path, ["tiles/a.ome.tiff"])  # as stroma slide convert writes it
    assert ids(tmp_path / "tiles") == ["a"]


def test_writing_into_the_searched_folder_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both an input and the output"):
        find_inputs([touch(tmp_path, ["a.png"])], output=tmp_path / "." / "x" / "..")


def test_missing_paths_and_empty_folders_are_one_clear_error(tmp_path: Path) -> None:
    touch(tmp_path, ["slide.svs", "texts/a.txt"])
    with pytest.raises(MissingFile, match=r"Did you mean 'slide\.svs'"):
        find_inputs([tmp_path / "slde.svs"])
    with pytest.raises(MissingFile, match=r"texts: holds no slide or picture.*\.svs"):
        find_inputs([tmp_path / "texts"])
    with pytest.raises(MissingFile, match=r"texts: holds no hyperspectral cube.*\.hdr"):
        find_inputs([tmp_path / "texts"], cubes=True)
    with pytest.raises(MissingFile, match="matches no file"):
        find_inputs([tmp_path / "*.ndpi"])
    with pytest.raises(MissingFile, match="1 files, none of them a slide"):
        find_inputs([tmp_path / "texts" / "*.txt"])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_broken_link_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png"])
    (tmp_path / "lost.svs").symlink_to(tmp_path / "nowhere.svs")
    found = find_inputs([tmp_path])
    assert [source.image_id for source in found.sources] == ["a"]
    assert any("lost.svs" in note for note in found.notes)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="OpenSlide's fixtures are not beside the checkout")
def test_the_files_of_one_dicom_slide_count_once() -> None:
    assert "boxes_0" in ids(FIXTURES)
    assert "boxes_1" not in ids(FIXTURES)
    assert ids(FIXTURES / "boxes_1.dcm") == ["boxes_1"]


def test_a_study_brings_its_ids_and_subjects(tmp_path: Path) -> None:
    for name in ("patient 7/a.png", "patient 8/b.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        Picture.new("RGB", (8, 8)).save(tmp_path / "data" / name)
    (tmp_path / "study.yaml").write_text(
        "name: slides\nroot: data\nlayout: {name: slides, pictures: true}\nopen: {mpp: 0.5}\n"
        "subjects: {rule: path-level, level: 1}\n"
    )
    found = find_inputs([tmp_path / "study.yaml"])
    assert [(s.image_id, s.subject_id) for s in found.sources] == [
        ("patient 7/a", "patient 7"),
        ("patient 8/b", "patient 8"),
    ]
    assert found.sources[0].path == tmp_path / "data" / "patient 7" / "a.png"
    assert found.sources[0].options == {"mpp": 0.5}
    assert found.subjects_known
    assert any("study.yaml" in note for note in find_inputs([tmp_path]).notes)
    some = find_inputs([tmp_path], where="subject_id = 'patient 8'")  # with a condition the folder is the study
    assert [s.image_id for s in some.sources] == ["patient 8/b"]
    assert some.notes == ()


def test_parts_of_slides_of_several_files_are_no_slides(tmp_path: Path) -> None:
    """Hamamatsu VMS and 3DHISTECH MRXS name their parts after the slide."""
    names = ["a.mrxs", "a/Dat.jpg", "b.vms", "b(1,0).jpg", "b_macro.jpg", "b.jpg", "b2.png", "b.svs", "c/b_macro.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b.svs").rename(tmp_path / "b-2.svs")
    assert ids(tmp_path) == ["a", "b", "b-2", "b2", "c/b_macro"]


def test_data_sets_of_htc_bring_their_ids_by_folder_and_by_name(
    surgery: SurgeryTree,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH_Tivita_tiny", f"{surgery.root}:shortcut=ops")
    by_folder = find_inputs([surgery.root], cubes=True)
    assert [source.image_id for source in by_folder.sources][0] == "P001#2021_04_15_09_22_01"
    assert by_folder.subjects_known
    assert by_folder.notes == (f"{surgery.root} is a data set of htc: its ids and subjects are taken",)
    assert find_inputs([Path("ops")], cubes=True).sources == by_folder.sources
    some = find_inputs([Path("ops")], cubes=True, where="subject_id = 'P002'").sources
    assert {source.subject_id for source in some} == {"P002"}
    with pytest.raises(MissingFile):
        find_inputs([Path("opsi")], cubes=True)
