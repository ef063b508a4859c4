"""`stroma check`: each inconsistency is named with its file and value; nothing is shown that names a patient."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.cli.main import run
from stroma.images import write_cube
from stroma.prepare.check import CheckOptions, check
from tests.study.conftest import SurgeryTree, surgery, surgery_yaml  # noqa: F401
from tests.tiny import picture_study

FIRST = "P001#2021_04_15_09_22_01"
STAMP = "2021_04_15_09_22_01"


def cube_of(tree: SurgeryTree) -> Path:
    return tree.subjects / "P001" / STAMP / f"{STAMP}_SpecCube.dat"


def change(tree: SurgeryTree, edit) -> None:
    cube = np.full((4, 6, 3), 0.5, np.float32)
    edit(cube)
    write_cube(cube_of(tree), cube)


def findings(study: Path, **options) -> list[tuple[str, str, str]]:
    rows = check(CheckOptions(study=study, **options)).details["findings"]
    return [(row["severity"], row["check"], row["message"]) for row in rows if row["image_id"] in ("", FIRST)]


def test_a_sound_study_has_only_warnings(surgery, surgery_yaml):  # noqa: F811
    result = check(CheckOptions(study=surgery_yaml))
    assert (result.done, result.exit_code) == (6, 0)
    assert {row["check"] for row in result.details["findings"]} == {"camera", "labels"}


NUMBERS, EMPTY, NEGATIVE = "not_finite", "zero_pixel", "negative_pixel"


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda c: c.__setitem__((1, 2, 0), np.nan), ("error", NUMBERS, "that are no numbers: 1 of 72 values")),
        (lambda c: c.__setitem__((1, 2, 0), np.inf), ("error", NUMBERS, "that are no numbers: 1 of 72 values")),
        (lambda c: c.__setitem__((1, 2), 0), ("error", EMPTY, "has empty pixels: 1 of 24 pixels are all 0")),
        (lambda c: c.__setitem__(slice(None), -1), ("error", "all_negative", "all values are below 0")),
        (lambda c: c.__setitem__((1, 2), -1), ("warning", NEGATIVE, "1 of 24 pixels are below 0 in all channels")),
        (lambda c: c.__setitem__((1, 2, 1), 0), ("warning", "zero_value", "has zeros: 1 of 72 values are 0")),
    ],
)
def test_values_of_cubes(surgery, surgery_yaml, edit, found):  # noqa: F811
    change(surgery, edit)
    severity, name, message = found
    rows = [row for row in findings(surgery_yaml) if row[1] == name]
    assert [(row[0], message in row[2]) for row in rows] == [(severity, True)]
    strict = [row[0] for row in findings(surgery_yaml, strict=True) if row[1] == name]
    assert strict == ["error"]


def test_files_that_contradict_each_other(surgery, surgery_yaml):  # noqa: F811
    folder = cube_of(surgery).parent
    np_mask = np.zeros((5, 6), bool)
    surgery.annotate(folder, "spleen", np_mask, annotator="annotator3")
    surgery.annotate(folder, "livver", np.ones((4, 6), bool), annotator="annotator4")
    surgery.annotate(folder, "liver", np.zeros((4, 6), bool), annotator="annotator5")
    (folder / f"{STAMP}_RGB-Image.png").write_bytes(b"no picture")
    (folder / f"{STAMP}_meta.log").write_text("nonsense")
    found = findings(surgery_yaml)
    errors = {name: message for severity, name, message in found if severity == "error" and name != "mask"}
    assert "the picture 2021_04_15_09_22_01_RGB-Image.png, which " in errors["picture"]
    assert "a camera log which line 1 is neither" in errors["camera"]
    masks = [message for _, name, message in found if name == "mask"]
    assert any("polygon#annotator3" in text and "5 × 6" in text for text in masks)
    assert any("polygon#annotator4" in text and "'livver'" in text for text in masks)
    assert any("polygon#annotator5, which marks no pixel" in text for text in masks)


def test_missing_and_cut_cubes(surgery, surgery_yaml, capsys):  # noqa: F811
    assert run(["check", str(surgery_yaml), "--json"]) == 0
    capsys.readouterr()
    (surgery.root / "data" / "dataset_settings.json").unlink()
    path = cube_of(surgery)
    path.write_bytes(path.read_bytes()[:100])
    assert run(["check", str(surgery_yaml)]) == 3
    out, err = capsys.readouterr()
    assert "is 100 bytes, a 6×4×3 cube needs 300" in err
    assert "errors: 2" in out


def test_findings_are_written_as_a_table(surgery, surgery_yaml, tmp_path, capsys):  # noqa: F811
    change(surgery, lambda cube: cube.__setitem__((1, 2), 0))
    for name in ("findings.csv", "findings.parquet"):
        assert run(["check", str(surgery_yaml), "-o", str(tmp_path / name), "--where", "subject_id = 'P001'"]) == 3
    table = pl.read_parquet(tmp_path / "findings.parquet")
    assert table.filter(severity="error")["image_id"].to_list() == [FIRST]
    assert pl.read_csv(tmp_path / "findings.csv").height == table.height
    assert run(["check", str(surgery_yaml), "-o", str(tmp_path / "findings.csv")]) == 1
    capsys.readouterr()
    assert run(["check", str(surgery_yaml), "--where", "subject_id = 'nobody'"]) == 2


def test_studies_of_pictures_are_checked_too(tmp_path):
    study = picture_study(tmp_path)
    assert check(CheckOptions(study=study)).exit_code == 0
    picture = next((tmp_path / "data" / "images").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:200])
    result = check(CheckOptions(study=study))
    assert (len(result.failed), result.exit_code) == (1, 3)


PLANTED = "Plantedname"


def test_no_output_names_a_patient(surgery, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Everything that init, check, inspect and info print or write is searched for a planted name."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "out" / "cache"))
    monkeypatch.setenv("PATH_Tivita_tiny", str(surgery.root))
    folder = cube_of(surgery).parent
    (folder / f"{STAMP}.xml").write_text(f"<a><b name='PatientName'>{PLANTED}</b></a>")
    (folder / f"{STAMP}_meta.log").write_text(f"[Camera]\nCamID = 1\n[Patient]\nName = {PLANTED}\nID = {PLANTED}\n")
    meta = {"label_meta": {"liver": {"patient_name": PLANTED, "situs": 1}}, "PatientBirthDate": PLANTED}
    (folder / "annotations" / f"{STAMP}_meta.json").write_text(json.dumps(meta))
    tables = surgery.root / "intermediates" / "tables"
    tables.mkdir(parents=True)
    pl.DataFrame({"image_name": [FIRST], "Patient Comments": [PLANTED], "ethics": ["yes"]}).write_ipc(
        tables / "tiny@meta.feather"
    )
    study, out = tmp_path / "out" / "study.yaml", tmp_path / "out"
    assert run(["init", str(surgery.root), "-o", str(study)]) == 0
    assert run(["check", str(study), "-o", str(out / "findings.csv")]) == 0
    assert run(["check", str(study), "--json"]) == 0
    for path in (surgery.root, folder, folder / f"{STAMP}.xml", tables / "tiny@meta.feather", study):
        run(["inspect", str(path)])
    assert run(["info", "--open"]) == 0
    printed = capsys.readouterr()
    assert PLANTED not in printed.out + printed.err
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {"study.yaml", "catalog.parquet", "findings.csv"} <= {path.name for path in written}
    for path in written:
        assert PLANTED.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert PLANTED not in str(pl.read_parquet(path).to_dicts()), path
    places = [line for line in printed.out.splitlines() if line.startswith("identifier:")]
    assert any(f"{STAMP}.xml is a patient file" in line for line in places)
    assert any("_meta.json has PatientBirthDate, patient_name" in line for line in places)
    assert any("tiny@meta.feather has the columns Patient Comments" in line for line in places)
