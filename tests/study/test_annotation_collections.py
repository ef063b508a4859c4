"""Files beside images that hold the objects of many of them: COCO, tables of boxes and points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stroma.prepare.index import InitOptions, init
from stroma.study.layouts.recognise import recognise
from stroma.study.study import Study, open_study

from .test_drawn_files import picture


def study_of(root: Path, tmp_path: Path) -> tuple[Study, str]:
    result = init(InitOptions(folder=root, output=tmp_path / "study.yaml", overwrite=True))
    return open_study(tmp_path), "\n".join(result.lines)


def test_coco_beside_pictures(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a", "b"):
        picture(root / f"images/{name}.png")
    content = {
        "images": [{"id": n, "file_name": f"{name}.png", "height": 8, "width": 10} for n, name in enumerate("abz")],
        "categories": [{"id": 1, "name": "mitosis"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 3, 2], "area": 6, "iscrowd": 0,
             "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]},
        ],
    }  # fmt: skip
    (root / "instances ü.json").write_text(json.dumps(content), encoding="utf-8")
    study, text = study_of(root, tmp_path)
    assert study.labels.names == ("background", "mitosis")
    assert (study.mask("images/a") == 1).sum() == 6
    assert not study.mask("images/b").any()  # listed without an object: looked at, nothing found
    assert "has objects of 'z.png', which is no image here" in text


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,xmin,ymin,xmax,ymax,label", "a.png,1,2,4,6,cell"),
        ("filename,x,y,w,h,class", "a,1,2,3,4,cell"),
        ("slide;x;y;width;height;class", "a.svs;1;2;3;4;cell"),
    ],
)
def test_tables_of_boxes(tmp_path: Path, header: str, row: str) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    (root / "boxes.csv").write_text(f"{header}\n{row}\n{row}\n")
    study, _ = study_of(root, tmp_path)
    assert len(study.annotations) == 2
    mask = study.mask("a")
    assert (mask == 1).sum() == 12 and (mask[2:6, 1:4] == 1).all()


def test_tables_of_points(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    (root / "cells.csv").write_text("image,x,y,label\na,1.5,2.5,lymphocyte\na,3,3,tumour\n")
    study, text = study_of(root, tmp_path)
    assert study.annotations.select("kind", "label").rows() == [("points", "lymphocyte"), ("points", "tumour")]
    assert "2 points in 1 file" in text


def test_a_table_of_where_tiles_lie_is_no_annotation(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "tiles.csv").write_text("id,x,y\na,0,0\nb,224,0\n")
    assert recognise(tmp_path).parameters == {"pictures": True}


def test_wrong_numbers_name_the_object_and_leave_the_file_out(tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture(root / "a.png")
    (root / "boxes.csv").write_text("image,x,y,w,h\na,1,2,3,4\na,1,x,3,4\n")
    assert (
        "problem: boxes.csv object 1 has coordinates that are no numbers; it is left out"
        in study_of(root, tmp_path)[1]
    )
