"""Annotation files beside images: found, read into the table, drawn when masks are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stroma.core.errors import InvalidData
from stroma.study import marks
from stroma.study.identifiers import identifiers_in
from stroma.study.labels import IGNORE
from stroma.study.layouts.drawn import find_drawn
from stroma.study.layouts.recognise import recognise
from stroma.study.listing import list_files
from stroma.study.study import Study, open_study

from .conftest import write_png, write_study

UUID = "8A2E3094-5755-42BC-969D-7F0A2ECA0F39"


def box(x: float, y: float, w: float, h: float) -> dict[str, Any]:
    corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]
    return {"type": "Polygon", "coordinates": [corners]}


def feature(geometry: dict[str, Any], name: str | None = "Tumor") -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_geojson(path: Path, *features: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")
    return path


def picture(path: Path, height: int = 8, width: int = 10) -> None:
    write_png(path, np.full((height, width, 3), 200, np.uint8))


def study_of(root: Path, names: list[str], **more: object) -> Study:
    found = recognise(root)
    layout = {"name": found.name, **found.parameters, **more.pop("layout", {})}  # type: ignore[dict-item]
    labels = {"names": names, "ignore": [255, "Ignore*"]}
    content = {"outside": names[0], "overlap": "last", "labels": labels, **more}
    return open_study(write_study(root.with_name("study.yaml"), name="x", root=root.name, layout=layout, **content))


def found_for(root: Path, image: str, *drawn: str) -> dict[str, list[tuple[str, str]]]:
    picture(root / image)
    for path in drawn:
        write_geojson(root / path)
    return {key: list(value) for key, value in find_drawn(list_files(root), [image]).of.items()}


@pytest.mark.parametrize(
    "drawn",
    ["Fall ü #1.geojson", "Fall ü #1.png.geojson", "Fall ü #1_annotations.json", "QuPath export/Fall ü #1.geojson"],
)
def test_a_file_called_like_an_image_belongs_to_it(tmp_path: Path, drawn: str) -> None:
    assert found_for(tmp_path, "Fall ü #1.png", drawn) == {"Fall ü #1.png": [("", drawn)]}


def test_the_uuid_of_tcga_may_lack(tmp_path: Path) -> None:
    image = f"TCGA-A2-A0YE-01Z-00-DX1.{UUID}.png"
    assert found_for(tmp_path, image, "TCGA-A2-A0YE-01Z-00-DX1.geojson")[image]


def test_of_images_of_one_name_the_one_in_the_same_folder_is_meant(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_geojson(tmp_path / f"drawn/{folder}/1.geojson")
    write_geojson(tmp_path / "1.geojson")
    found = find_drawn(list_files(tmp_path), ["a/1.png", "b/1.png"])
    assert found.of == {"a/1.png": [("", "drawn/a/1.geojson")], "b/1.png": [("", "drawn/b/1.geojson")]}
    assert "fits 2 images" in found.orphans["1.geojson"]


def test_two_files_of_an_image_are_of_two_annotators(tmp_path: Path) -> None:
    found = found_for(tmp_path, "a.png", "Anna/a.geojson", "Bernd/a.geojson")
    assert found["a.png"] == [("Anna", "Anna/a.geojson"), ("Bernd", "Bernd/a.geojson")]


def test_other_json_csv_and_xml_files_are_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"stain": "HE", "nested": [[1, 2]]}')
    (tmp_path / "a.csv").write_text("id,age\na,61\n")
    (tmp_path / "a.xml").write_text("<patient><name>Meier</name></patient>")
    found = find_drawn(list_files(tmp_path), ["a.png"])
    assert not found.of and not found.orphans


def test_outlines_are_drawn_in_the_order_of_their_file_and_ignored_ones_over_all(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    ignored, region, tumour = box(0, 0, 2, 2), box(0, 0, 8, 8), box(4, 4, 3, 3)
    write_geojson(root / "a.geojson", feature(ignored, "Ignore*"), feature(region, "Stroma"), feature(tumour))
    expected = np.zeros((8, 10), np.uint8)
    expected[:, :8] = 2
    expected[4:7, 4:7] = 1
    expected[:2, :2] = IGNORE
    study = study_of(root, ["background", "Tumor", "Stroma"])
    np.testing.assert_array_equal(study.mask("a"), expected)
    np.testing.assert_array_equal(study["a"].mask().labels, expected)


def test_overlaps_are_not_annotated_or_an_error_when_the_study_says_so(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 8, 8), "Stroma"), feature(box(4, 4, 3, 3)))
    names = ["background", "Tumor", "Stroma"]
    found = study_of(root, names, overlap="ignore").annotated_mask("a")
    assert found.overlap_px == 9 and (found.labels[4:7, 4:7] == IGNORE).all()
    with pytest.raises(InvalidData, match="9 pixels of 'a' lie in objects of several classes"):
        study_of(root, names, overlap="error").mask("a")


def test_a_window_shows_the_same_pixels_as_the_whole(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png", 40, 60)
    rng = np.random.default_rng(0)
    boxes = [box(*rng.uniform(-5, 50, 2), *rng.uniform(1, 20, 2)) for _ in range(12)]
    write_geojson(root / "a.geojson", *(feature(one, "TS"[i % 2]) for i, one in enumerate(boxes)))
    study = study_of(root, ["background", "T", "S"])
    whole = study.mask("a")
    np.testing.assert_array_equal(study.mask_region("a", 7, 11, 20, 13), whole[11:24, 7:27])
    beyond = study.mask_region("a", 50, 30, 20, 20)
    np.testing.assert_array_equal(beyond[:10, :10], whole[30:, 50:])
    assert (beyond[10:] == IGNORE).all() and (beyond[:, 10:] == IGNORE).all()
    assert study.mask_region("a", 0, 0, 60, 40, downsample=4).shape == (10, 15)


def test_an_image_too_large_to_draw_whole_can_be_counted_and_read_by_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 5, 2)))
    study = study_of(root, ["background", "Tumor"])
    monkeypatch.setattr(marks, "LARGEST_PX", 10)
    with pytest.raises(InvalidData, match="stroma annotations pairs"):
        study.mask("a")
    monkeypatch.setattr(marks, "_WINDOW_PX", 3)
    counted = marks.count_marks(study, "a", "polygon", "")
    assert counted.size == (8, 10)
    assert counted.pixels[:2].tolist() == [70, 10]


def test_an_unknown_class_is_named_with_its_object(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 2, 2)), feature(box(0, 0, 2, 2), "Tumour"))
    study = study_of(root, ["background", "Tumor"])
    with pytest.raises(InvalidData, match=r"a\.geojson, object 1: is labelled 'Tumour'.*Did you mean 'Tumor'"):
        study.mask("a")


def test_objects_without_class_mark_nothing_unless_no_object_has_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 8, 8), None), feature(box(0, 0, 2, 2)))
    study = study_of(root, ["background", "Tumor"])
    assert study.annotations["label"].to_list() == [None, "Tumor"]
    assert (study.mask("a") == 1).sum() == 4
    write_geojson(root / "a.geojson", feature(box(0, 0, 3, 3), None))
    assert (study_of(root, ["background", "object"]).mask("a") == 1).sum() == 9
    named = study_of(root, ["background", "gland"], layout={"unclassified": "gland"})
    assert (named.mask("a") == 1).sum() == 9


def test_a_file_without_objects_says_that_there_is_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in "abc":
        picture(root / f"{name}.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 2, 2)))
    write_geojson(root / "b.geojson")
    study = study_of(root, ["background", "Tumor"])
    assert study.annotated() == ["a", "b"]
    assert (study.mask("b") == 0).all()


def test_points_are_in_the_table_and_mark_no_area(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature({"type": "Point", "coordinates": [3, 4]}))
    study = study_of(root, ["background", "Tumor"])
    assert study.annotations.select("kind", "label").rows() == [("points", "Tumor")]
    with pytest.raises(InvalidData, match="points only"):
        study.mask("a")


def test_objects_beyond_the_image_and_unreadable_files_are_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in "ab":
        picture(root / f"{name}.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 2, 2)), feature(box(90, 0, 2, 2)))
    (root / "b.geojson").write_text("{")
    write_geojson(root / "c.geojson", feature(box(0, 0, 2, 2)))
    problems = study_of(root, ["background", "Tumor"]).refresh()
    texts = {problem.path: problem.message for problem in problems if not problem.harmless}
    assert texts["a.geojson"].startswith("object 1: lies outside the image of 8 × 10 px")
    assert "is not valid JSON" in texts["b.geojson"]
    assert "no image is called 'c'" in texts["c.geojson"]


def test_self_crossing_outlines_are_drawn_by_the_even_odd_rule_and_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    crossing = {"type": "Polygon", "coordinates": [[[0, 0], [8, 8], [8, 0], [0, 8], [0, 0]]]}
    write_geojson(root / "a.geojson", feature(crossing))
    study = study_of(root, ["background", "Tumor"])
    assert any("object 0" in problem.message and problem.harmless for problem in study.refresh())
    assert study.mask("a")[3, 1] == 1 and study.mask("a")[1, 3] == 0


def test_asap_xml_beside_an_image(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    corners = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate([(1, 1), (4, 1), (4, 3), (1, 3)])
    )
    (root / "a.xml").write_text(
        '<ASAP_Annotations><Annotations><Annotation Name="1" Type="Polygon" PartOfGroup="Tumor">'
        f"<Coordinates>{corners}</Coordinates></Annotation></Annotations>"
        '<AnnotationGroups><Group Name="Tumor" Color="#ff0000"/></AnnotationGroups></ASAP_Annotations>'
    )
    study = study_of(root, ["background", "Tumor"])
    assert (study.mask("a") == 1).sum() == 6
    assert list(identifiers_in(study)) == []


def test_the_scan_corner_of_qupath_is_added_when_the_layout_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    write_geojson(root / "a.geojson", feature(box(0, 0, 2, 2)))
    monkeypatch.setattr("stroma.study.layouts.drawn.scan_corner", lambda image: (4, 5))
    study = study_of(root, ["background", "Tumor"])
    assert any("begins at x=4, y=5" in problem.message for problem in study.refresh())
    moved = study_of(root, ["background", "Tumor"], layout={"qupath_bounds": True})
    assert (moved.mask("a")[5:7, 4:6] == 1).all() and (moved.mask("a") == 1).sum() == 4


def test_a_folder_of_annotations_without_images_says_so(tmp_path: Path) -> None:
    write_geojson(tmp_path / "a.geojson")
    with pytest.raises(InvalidData, match=r"1 annotation file \(a.geojson\) and no image.*annotations summary"):
        recognise(tmp_path)
