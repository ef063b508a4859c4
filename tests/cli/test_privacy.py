"""Names of patients leave their files only with `--with-identifiers`, whatever the verb."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from stroma.cli.main import run as command
from stroma.study.htc.identifiers import is_identifying
from stroma.study.study import open_study
from tests.tiny import NAMES, cube_study

PLANTED = "Mustermann-Käthe"
BORN = "19500117"
_XML = "<r><e name='PatientName'>{0}</e><e name='PatientBirthDate'>{1}</e><e name='Modality'>XC</e></r>"
_STATS = ["--value", "n_pixels", "--group", "label_name", "--subject", "subject_id", "--paired"]
_LOG = "[Camera]\nCamID = 0202-00118\nPatientName = {0}\n[Patient]\nPatientName = {0}\nPatientBirthDate = {1}\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set in every kind of file of which the name of a patient stands."""
    root = tmp_path / "clinic"
    cube_study(root).unlink()
    labels = {**{name: index for index, name in enumerate(NAMES)}, "unlabeled": 255}
    settings = {"dataset_name": "tiny", "label_mapping": labels, "last_valid_label_index": 2}
    (root / "data" / "dataset_settings.json").write_text(json.dumps(settings))
    names = []
    for cube in sorted(root.rglob("*_SpecCube.dat")):
        stamp = cube.parent.name
        names.append(f"{cube.parent.parent.name}#{stamp}")
        (cube.parent / "patient.xml").write_text(_XML.format(PLANTED, BORN), encoding="utf-8")
        (cube.parent / f"{stamp}_meta.log").write_bytes(_LOG.format(PLANTED, BORN).encode("cp1252"))
        meta = {"patient_name": PLANTED, "label_meta": {"red": {"situs": 1, "PatientName": PLANTED}}}
        (cube.parent / "annotations" / f"{stamp}_meta.json").write_text(json.dumps(meta), encoding="utf-8")
    tables = root / "intermediates" / "tables"
    tables.mkdir(parents=True)
    table = pl.DataFrame(
        {"image_name": names, "PatientName": [PLANTED] * len(names), "AdmissionID": [BORN] * len(names)}
    )
    table.write_ipc(tables / "tiny@meta.feather")
    return root


def text_in(folder: Path) -> str:
    """Everything that stands in the files below a folder, tables unpacked."""
    found = []
    for path in sorted(folder.rglob("*")):
        found.append(path.name)
        if path.suffix == ".parquet":
            found += [str(pl.read_parquet(path, glob=False).to_dicts()), str(pl.read_parquet_metadata(path))]
        if path.is_file():
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def test_no_verb_lets_a_name_out(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH_Tivita_clinic", str(dataset))
    monkeypatch.setenv("PATH_STROMA_CACHE", str(cache))
    study, run = str(out / "study.yaml"), str(out / "run")
    small = ["--set", "train.epochs=1", "--set", "sampling.samples_per_epoch=8"]
    small += ["--set", "input.granularity={name: patch, size_px: 16}"]
    files = [str(path) for path in sorted(dataset.rglob("*")) if path.suffix in {".xml", ".log", ".json", ".feather"}]
    for arguments in (
        ["info", "--open"],
        ["info", "--open", "--json"],
        ["inspect", str(dataset), *files],
        ["inspect", "--json", *files],
        ["init", str(dataset), "-o", study],
        ["init", str(dataset), "-o", study, "--json"],
        ["check", study, "-o", str(out / "check"), "--json"],
        ["check", str(dataset), "-o", str(out / "check2")],
        ["prepare", study, "-o", str(out / "stores")],
        ["train", study, "-o", run, *small],
        ["predict", run, "--images", "validation"],
        ["evaluate", run, "--images", "validation"],
        ["report", run],
        ["medians", study, "-o", str(out / "medians"), "--htc"],
        ["report", str(out / "medians")],
        ["split", study, "-o", str(out / "splits.json")],
        ["stats", str(out / "medians" / "medians.parquet"), "-o", str(out / "stats"), *_STATS],
        ["annotations", "summary", study, "-o", str(out / "summary")],
    ):
        assert command(arguments) == 0, (arguments, capsys.readouterr().err)
        said = "".join(capsys.readouterr())
        assert PLANTED not in said and BORN not in said, arguments
    assert list(cache.rglob("*.parquet")) and list(out.rglob("*.html"))
    written = text_in(out) + text_in(cache)
    assert PLANTED not in written and BORN not in written
    recording = next(open_study(study).select())
    assert PLANTED not in str((recording.meta(), recording.camera_log, recording.annotation_meta))


def test_with_identifiers_they_are_indexed_and_shown(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(tmp_path / "study.yaml")
    assert command(["init", str(dataset), "-o", study, "--with-identifiers"]) == 0
    catalog = open_study(study).catalog
    assert set(catalog["PatientName"]) == {PLANTED} and set(catalog["PatientBirthDate"]) == {BORN}
    assert set(catalog["AdmissionID"]) == {BORN}  # from the table of htc
    assert len(open_study(study, f"\"PatientName\" = '{PLANTED}'")) == len(catalog)
    capsys.readouterr()
    patient = str(next(dataset.rglob("patient.xml")))
    assert command(["inspect", patient]) == 0
    assert "XC" in capsys.readouterr().out
    assert command(["inspect", patient, "--with-identifiers"]) == 0
    assert PLANTED in capsys.readouterr().out


def test_layouts_without_identifiers_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.tiny import picture_study

    picture_study(tmp_path)
    arguments = ["init", str(tmp_path / "data"), "-o", str(tmp_path / "s.yaml"), "--with-identifiers"]
    assert command(arguments) == 2
    assert "reads no identifiers" in capsys.readouterr().err


def test_keys_that_begin_with_a_section_are_recognised() -> None:
    assert all(
        map(is_identifying, ["Patient_PatientName", "Camera_Admission ID", "patient_birth_date", "Patient_Name"])
    )
    assert not any(map(is_identifying, ["Camera_CamID", "SW_Name", "label_name", "dataset_name", "Camera_Exposure"]))
