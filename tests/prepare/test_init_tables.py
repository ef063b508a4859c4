"""What `stroma init` takes from tables beside the images, and how it says where subjects come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from stroma.cli.main import run
from stroma.core.errors import InvalidData, UsageError
from stroma.core.verbs import VerbResult
from stroma.prepare.index import InitOptions, init
from stroma.prepare.inputs import find_inputs
from stroma.study.study import Study, open_study

UUID = "8A2E3094-5755-42BC-969D-7F0A2ECA0F39"
TCGA = ("TCGA-A2-A0YE-01Z-00-DX1", "TCGA-A2-A0YE-01Z-00-DX2", "TCGA-A2-A0YF-01Z-00-DX1")


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        write_png(root / f"{name}.png", np.full((5, 7, 3), 100, np.uint8))
    return root


def make(root: Path, tmp_path: Path, **options: object) -> tuple[VerbResult, Study]:
    path = tmp_path / "out" / "study.yaml"
    result = init(InitOptions(folder=root, output=path, overwrite=True, **options))  # type: ignore[arg-type]
    return result, open_study(path)


def test_slides_with_a_table_of_labels_and_cases(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", *(f"{name}.{UUID}" for name in TCGA))
    rows = "".join(f"case {name[8:12]},{name},{'LUAD' if 'YE' in name else 'LUSC'}\n" for name in TCGA)
    (root / "dataset.csv").write_text(f"case_id,slide_id,label\n{rows}case 9,TCGA-99,LUAD\n")
    result, study = make(root, tmp_path)
    assert study.catalog["subject_id"].to_list() == ["case A0YE", "case A0YE", "case A0YF"]
    assert study.catalog["label"].to_list() == ["LUAD", "LUAD", "LUSC"]
    assert study.annotations.select("kind", "layer", "label").rows()[0] == ("image", "label", "LUAD")
    assert study.labels.names == ("LUAD", "LUSC")
    assert result.summary["labels"] == {"LUAD": 2, "LUSC": 1}
    assert result.summary["subjects_from"] == "the column 'case_id' of dataset.csv"
    assert any("has a row for 'TCGA-99', which is no image" in line for line in result.lines)


def test_tcga_barcodes_tell_the_subject_without_any_table(tmp_path: Path) -> None:
    result, study = make(pictures(tmp_path / "data", *TCGA), tmp_path)
    assert study.catalog["subject_id"].unique().sort().to_list() == ["TCGA-A2-A0YE", "TCGA-A2-A0YF"]
    assert "TCGA barcode" in result.summary["subjects_from"]
    assert "TCGA barcode" in study.path.read_text(encoding="utf-8")


def test_a_table_of_subjects_by_its_path(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "a", "b")
    (tmp_path / "Patienten ü.csv").write_text("slide,patient\na.svs,P1\nb.svs,P1\n", encoding="utf-8")
    result, study = make(root, tmp_path, subjects=str(tmp_path / "Patienten ü.csv"))
    assert study.catalog["subject_id"].to_list() == ["P1", "P1"]
    assert result.summary["subjects_from"] == "Patienten ü.csv"
    (tmp_path / "Patienten ü.csv").write_text("slide,patient\na.svs,P1\nb.svs,P2\n", encoding="utf-8")
    assert open_study(study.path).catalog["subject_id"].to_list() == ["P1", "P2"]  # not the stored tables


def test_images_that_the_table_of_subjects_lacks_stop_init_by_name(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "a", "b")
    table = tmp_path / "p.csv"
    table.write_text("slide,patient\na,P1\n")
    with pytest.raises(InvalidData, match="p.csv gives no subject for 1 of 2 images: 'b'"):
        make(root, tmp_path, subjects=str(table))
    with pytest.raises(UsageError, match="no table 'q.csv'"):
        make(root, tmp_path, subjects="q.csv")
    with pytest.raises(UsageError, match="neither a rule nor a table"):
        make(root, tmp_path, subjects="colum")


def test_pairs_that_a_list_of_ids_selects(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("s1_1", "s1_2", "s2_1", "s3_1"):
        pictures(root / "images", name)
        write_png(root / "masks" / f"{name}.png", np.ones((5, 7), np.uint8))
    (root / "ids.csv").write_text("id\ns1\ns2\n")
    result, study = make(root, tmp_path)
    assert list(study) == ["s1_1", "s1_2", "s2_1"]
    assert set(study.annotations["image_id"]) == set(study)
    text = "\n".join(result.lines)
    assert "ids.csv lists 3 of 4 images, the others are left out (--unlisted keep takes them)" in text
    assert "images/s3_1.png is not listed in ids.csv; it is left out" in text
    assert len(make(root, tmp_path, unlisted="keep")[1]) == 4
    (root / "ids.csv").write_text("id,stain\ns1,HE\ns2,PAS\n")  # tells something, and so selects nothing
    assert make(root, tmp_path)[1].catalog["stain"].to_list() == ["HE", "HE", "PAS", None]


def test_a_table_about_other_images_is_only_told(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "a", "b", "c", "d")
    (root / "other.csv").write_text("id,patient\nx,1\ny,2\na,3\n")
    result, study = make(root, tmp_path)
    assert study.config.table is None and not study.subject_known
    assert any("also there: other.csv is no part of this layout" in line for line in result.lines)
    assert any("--subjects patients.csv" in line for line in result.lines)


def test_a_column_of_subjects_with_gaps_is_not_taken(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "a", "b")
    (root / "t.csv").write_text("id,patient,age\na,P1,61\nb,,62\n")
    study = make(root, tmp_path)[1]
    assert not study.subject_known
    assert study.catalog["age"].to_list() == [61, 62]


def test_the_pixel_size_of_a_table_reaches_every_verb(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "a", "b")
    (root / "t.csv").write_text("id,mpp\na,0.25\nb,0.5\n")
    study = make(root, tmp_path)[1]
    with study.open("a") as image:
        assert image.mpp == 0.25
    assert [dict(source.options) for source in find_inputs([study.path]).sources] == [{"mpp": 0.25}, {"mpp": 0.5}]


def test_outlines_beside_slides_become_labels_and_a_study_that_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = pictures(tmp_path / "data", "P1_a", "P2_b")
    for name in ("P1_a", "P2_b"):
        corners = [[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]]
        objects = [
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]},
             "properties": {"classification": {"name": label}}}
            for label in ("Tumor", "Ignore*")
        ]  # fmt: skip
        (root / f"{name}.geojson").write_text(json.dumps(objects[: 1 if name == "P1_a" else 2]))
    result, study = make(root, tmp_path, subject_pattern="^[^_]+")
    assert result.lines[0] == "slides: 2 pictures, 2 with annotation files"
    assert "3 outlines in 2 files" in result.lines
    assert study.labels.names == ("background", "Tumor") and study.config.outside == "background"
    assert (study.mask("P1_a") == 1).sum() == 6 and (study.mask("P2_b") == 255).sum() == 6
    assert result.next[-1].startswith("stroma train")
    monkeypatch.chdir(tmp_path)
    run(["check", str(study.path), "--json"])
    content = json.loads(capsys.readouterr().out)
    assert not [one for one in content["findings"] if one["check"] in {"mask", "listing"}]
    named = make(root, tmp_path, labels="background,Tumor", subject_pattern="^[^_]+")[1]
    assert (named.mask("P2_b") == 255).sum() == 6


def test_one_study_is_cut_into_pairs_by_its_outlines(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_png(root / "a.png", np.full((40, 40, 3), 100, np.uint8))
    corners = [[3, 4], [13, 4], [13, 14], [3, 14], [3, 4]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners]}}
    (root / "a.geojson").write_text(json.dumps([{**feature, "properties": {"classification": {"name": "Gland"}}}]))
    study = make(root, tmp_path)[1]
    yaml = str(study.path)
    pairs = tmp_path / "pairs"
    assert run(["annotations", "pairs", yaml, "--images", yaml, "-o", str(pairs), "--tile-px", "16"]) == 0
    mask = np.asarray(PIL.Image.open(pairs / "masks" / "a" / "a_x0_y0_w16_h16.png"))
    assert (mask == 1).sum() == 100 and (mask[4:14, 3:13] == 1).all()
