"""`stroma parameters`: formulas against pictures of the camera."""

import json

import numpy as np
import PIL.Image
import polars as pl
import pytest

import stroma
from stroma.cli.main import run
from stroma.core.errors import OutputConflict, UsageError
from stroma.images.colour_scale import tivita_colours
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.prepare.index import InitOptions, init
from stroma.prepare.medians import MediansOptions, medians
from stroma.prepare.store_options import PrepareOptions
from stroma.prepare.stores import prepare
from stroma.reports.parameter_agreement import AGREEMENT_SCHEMA, AgreementOptions, parameters


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three recordings; beside two of them pictures that show 0.1 more than the formula, and one of another size."""
    folder = tmp_path_factory.mktemp("Übereinstimmung #1")
    phantom_hsi(PhantomHsiOptions(output=folder / "phantom", subjects=3, images=1, height=48, width=64))
    init(InitOptions(folder=folder / "phantom", output=folder / "study.yaml"))
    study = stroma.open_study(folder)
    for image_id in list(study)[:2]:
        path = study.image_path(image_id)
        shown = study[image_id].parameters("published")["StO2"] + 0.1
        picture = tivita_colours(np.clip(shown, 0, 1))
        PIL.Image.fromarray(picture).save(path.with_name(path.name.replace("SpecCube.dat", "Oxygenation.png")))
    return study


def test_a_constant_difference_is_the_bias_and_has_narrow_limits(study, tmp_path, capsys):
    assert run(["parameters", str(study.path), "-o", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["agreement"]
    assert found["parameter"] == "StO2" and (found["n_subjects"], found["n_recordings"]) == (2, 2)
    assert found["bias"] == pytest.approx(-0.1, abs=0.002)
    assert found["low"] == pytest.approx(-0.1, abs=0.01) and found["high"] == pytest.approx(-0.1, abs=0.01)
    assert found["rank"] > 0.99
    table = pl.read_parquet(tmp_path / "agreement.parquet")
    assert dict(table.schema) == AGREEMENT_SCHEMA and len(table) == 2
    assert set(table.select("source", "reference").iter_rows()) == {("published formula", "camera")}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "published formula against camera",
        "1 recording of the study could not be compared",
        "not accuracy",
    ):
        assert text in html
    assert (tmp_path / "figures" / "agreement-StO2.pdf").is_file()


def test_constants_move_the_bias_and_other_settings_need_another_place(study, tmp_path):
    arguments = {"study": study.path, "output": tmp_path, "where": f"image_id = '{next(iter(study))}'"}
    parameters(AgreementOptions(**arguments))
    with pytest.raises(OutputConflict, match="other settings"):
        parameters(AgreementOptions(**arguments, constants={"sto2_r2": 0.3}))
    result = parameters(AgreementOptions(**arguments, constants={"sto2_r2": 0.3}, overwrite=True))
    assert result.details["agreement"][0]["bias"] > 0
    assert result.details["agreement"][0]["bias_low"] is None
    assert "There is one subject" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_pictures_there_is_nothing_to_compare_with(study, tmp_path):
    third = list(study)[2]
    with pytest.raises(UsageError, match=r"no recording has tissue parameters of the source 'camera'.*Oxygenation"):
        parameters(AgreementOptions(study=study.path, output=tmp_path, where=f"image_id = '{third}'"))
    with pytest.raises(UsageError, match="source 'htc'"):
        parameters(AgreementOptions(study=study.path, output=tmp_path, reference="htc"))


def test_a_picture_that_does_not_fit_fails_its_recording_only(study, tmp_path):
    path = study.image_path(list(study)[2])
    picture = path.with_name(path.name.replace("SpecCube.dat", "Oxygenation.png"))
    PIL.Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(picture)
    result = parameters(AgreementOptions(study=study.path, output=tmp_path))
    picture.unlink()
    assert (result.done, len(result.failed), result.exit_code) == (2, 1, 3)
    assert "its cube is 48 × 64" in result.failed[0].message


def test_a_source_that_is_none_is_told_once_and_before_anything_is_done(study, tmp_path):
    for given, message in ({"source": "tivta"}, "no source 'tivta'"), ({"source": "camera"}, "compared with itself"):
        with pytest.raises(UsageError, match=message):
            parameters(AgreementOptions(study=study.path, output=tmp_path / "out", **given))
    with pytest.raises(UsageError, match="no source 'tivta'"):
        medians(MediansOptions(inputs=(study.path,), output=tmp_path / "out", parameters="tivta"))
    with pytest.raises(UsageError, match="no source 'tivta'"):
        prepare(PrepareOptions(study=study.path, output=tmp_path / "out", kind="parameters", source="tivta"))
    assert not (tmp_path / "out").exists()


def test_parameters_that_only_the_camera_has_are_said_not_to_be_compared(study, tmp_path):
    path = study.image_path(next(iter(study)))
    picture = path.with_name(path.name.replace("SpecCube.dat", "OHI.png"))
    PIL.Image.fromarray(tivita_colours(np.full((48, 64), 0.4))).save(picture)
    parameters(AgreementOptions(study=study.path, output=tmp_path))
    picture.unlink()
    assert "Only camera has OHI" in (tmp_path / "report.html").read_text(encoding="utf-8")
