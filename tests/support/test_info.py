"""`stroma info`: what is installed, set and wrong."""

import importlib.metadata
import importlib.util
import json
from pathlib import Path

import pytest

from stroma.cli.main import run

from ..tiny import cube_study


@pytest.fixture(autouse=True)
def no_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def told(capsys, *arguments):
    assert run(["info", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_settings_it_says_where_they_belong_and_how_they_look(capsys):
    assert run(["info"]) == 0
    out = capsys.readouterr().out
    assert "you have no settings file" in out
    assert "variables.env" in out
    assert "  PATH_Tivita_HeiPorSPECTRAL=/data/HeiPorSPECTRAL:shortcut=heipor" in out
    assert "data sets: none" in out
    assert "next:\n  stroma demo" in out


def test_without_torch_the_next_step_is_its_installation(monkeypatch, capsys):
    installed = importlib.metadata.version

    def version(name):
        if name in ("torch", "lightning"):
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["info"]) == 0
    out = capsys.readouterr().out
    assert 'not installed: torch, lightning (python -m pip install "stroma[learn]")' in out
    assert 'next:\n  python -m pip install "stroma[learn]"\n  stroma demo' in out


def test_versions_and_devices(capsys):
    found = told(capsys)
    assert found["libraries"]["numpy"]
    assert found["devices"][-1] == "cpu"
    assert found["cores"] >= 1


def test_data_sets_and_what_is_wrong_with_them(tmp_path, monkeypatch, capsys):
    cube_study(tmp_path / "good", subjects=2)
    (tmp_path / "good" / "study.yaml").unlink()
    (tmp_path / "bad" / "data").mkdir(parents=True)
    (tmp_path / "bad" / "data" / "dataset_settings.json").write_text('{"shape": [1]}')
    monkeypatch.setenv("PATH_Tivita_good", f"{tmp_path / 'good'}:shortcut=g")
    monkeypatch.setenv("PATH_Tivita_bad", str(tmp_path / "bad"))
    (tmp_path / ".env").write_text(f"PATH_Tivita_gone={tmp_path / 'gone'}\nPATH_HTC_RESULTS={tmp_path / 'r'}\n")
    found = told(capsys, "--open")
    by_name = {entry["names"][0]: entry for entry in found["datasets"]}
    assert by_name["g"]["images"] == 2
    assert by_name["g"]["subjects"] == "2 subjects"
    assert "has no dataset_settings.json" in by_name["g"]["problems"][0]
    assert "shape is [1], not three positive whole numbers" in by_name["bad"]["problems"][0]
    assert "does not exist" in by_name["gone"]["problems"][0]
    assert by_name["gone"]["from"] == str(tmp_path / ".env")
    assert found["results"]["PATH_HTC_RESULTS"]["problems"] == ["the folder does not exist"]
    assert not (tmp_path / "good" / "study.yaml").exists()
    assert list((tmp_path / "cache").rglob("catalog.parquet"))


def test_a_broken_settings_file_is_told_and_the_rest_shown(tmp_path, capsys):
    Path(".env").write_text("this is no variable\n")
    found = told(capsys)
    assert "line 1 is not NAME=value" in found["settings_problems"][0]
