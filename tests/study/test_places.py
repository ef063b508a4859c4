from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.study.datasets import find_recording, open_dataset
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.places import (
    Setting,
    cache_folder,
    find_dataset,
    known_datasets,
    known_settings,
    read_variables,
    result_folders,
    settings_files,
)

from .conftest import SurgeryTree


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_lines_of_variables_are_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# comment\n\nexport PATH_Tivita_A = \"/data/a b#1\"  # why\nPATH_B='/x y'\nPATH_C=/data/c #1 # no\nPATH_D=\n"
    )
    assert read_variables(path) == {
        "PATH_Tivita_A": "/data/a b#1",
        "PATH_B": "/x y",
        "PATH_C": "/data/c",
        "PATH_D": "",
    }
    path.write_text("A=1\nwrong line\n")
    with pytest.raises(InvalidData, match="line 2 is not NAME=value"):
        read_variables(path)


def test_the_real_environment_wins_then_the_folder_then_the_user(tmp_path: Path) -> None:
    here, user, htc = settings_files()
    for path in (user, htc):
        path.parent.mkdir(parents=True)
    here.write_text("PATH_Tivita_a=/env\nPATH_Tivita_b=/env\n")
    user.write_text("PATH_Tivita_a=/user\nPATH_Tivita_b=/user\nPATH_Tivita_c=/user\nSECRET=1\n")
    htc.write_text("PATH_Tivita_c=/htc\nPATH_Tivita_d=/htc\n")
    settings, problems = known_settings({"PATH_Tivita_a": "/real", "OTHER": "1"})
    assert {name: setting.value for name, setting in settings.items()} == {
        "PATH_Tivita_a": "/real",
        "PATH_Tivita_b": "/env",
        "PATH_Tivita_c": "/user",
        "PATH_Tivita_d": "/htc",
    }
    assert settings["PATH_Tivita_a"].source == "environment"
    assert settings["PATH_Tivita_d"].source == str(htc)
    assert not problems
    user.write_text("nonsense\n")
    assert [error.where for error in known_settings({})[1]] == [str(user)]


def test_a_data_set_is_found_by_each_of_its_names(surgery: SurgeryTree) -> None:
    settings = {"PATH_Tivita_HeiPor": Setting(f"{surgery.root}:shortcut=hp", "environment")}
    for name in ("hp", "HP", "HeiPor", "HEIPOR", "PATH_Tivita_HeiPor", "path_tivita_heipor", surgery.root.name):
        assert find_dataset(name, settings).path == surgery.root
    with pytest.raises(UsageError, match="Did you mean 'HeiPor'"):
        find_dataset("HeiPo", settings)
    with pytest.raises(UsageError, match="Name it in the environment: PATH_Tivita_"):
        find_dataset("x", {})


def test_what_is_wrong_with_a_data_set_is_said(tmp_path: Path, surgery: SurgeryTree) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    values = {
        "PATH_Tivita_1": tmp_path / "gone",
        "PATH_Tivita_2": tmp_path / "empty",
        "PATH_Tivita_3": tmp_path / "file",
        "PATH_Tivita_4": f"{surgery.root}:shortcut=a;shortcat=b",
        "PATH_Tivita_5": f"{surgery.root}:shortcut=",
    }
    settings = {name: Setting(str(value), "environment") for name, value in values.items()}
    problems = {place.variable[-1]: place.problems for place in known_datasets(settings)}
    assert "does not exist" in problems["1"][0]
    assert "has no folder 'data'" in problems["2"][0]
    assert "is no folder" in problems["3"][0]
    assert problems["4"][0] == "has the option 'shortcat=b', which is not understood"
    assert "shares a name with PATH_Tivita_5" in problems["4"][1]
    assert problems["5"][0] == "has the option 'shortcut=', which is not understood"
    with pytest.raises(UsageError, match="can be PATH_Tivita_4 or PATH_Tivita_5"):
        find_dataset(surgery.root.name, settings)


def test_empty_and_mistyped_variables_are_told_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    own = tmp_path / "conf" / "stroma" / "variables.env"
    own.parent.mkdir(parents=True)
    own.write_text("PATH_Tivita_a=/a\nPATH_Tivta_b=/b\nPATH_Tivita_c=$STROMA_ROOT/c\nPATH_Tivita_d='$STROMA_ROOT'\n")
    monkeypatch.setenv("STROMA_ROOT", "/root of all")
    environment = {"PATH_Tivita_a": "", "PATH_STROMA_CAHCE": "/x", "PATH": "/bin"}
    settings, problems = known_settings(environment, tmp_path)
    assert {name: one.value for name, one in settings.items()} == {
        "PATH_Tivita_c": "/root of all/c",
        "PATH_Tivita_d": "$STROMA_ROOT",
    }
    texts = [str(problem) for problem in problems]
    assert "environment: PATH_STROMA_CAHCE is not understood. Did you mean 'PATH_STROMA_CACHE'?" in texts
    assert "environment: PATH_Tivita_a is empty" in texts
    assert any("PATH_Tivta_b is not understood. Did you mean 'PATH_Tivita_…'" in text for text in texts)
    assert len(texts) == 3


def test_the_folder_data_itself_is_told_where_to_go(surgery: SurgeryTree) -> None:
    (place,) = known_datasets({"PATH_Tivita_a": Setting(str(surgery.root / "data"), "environment")})
    assert place.problems[0].endswith(f"name the folder above it, {surgery.root}")


def test_a_drive_letter_is_no_option() -> None:
    (place,) = known_datasets({"PATH_Tivita_a": Setting("C:/data/x", "environment")})
    assert (place.path.as_posix(), place.shortcut) == ("C:/data/x", "")


def test_results_and_cache_have_their_variables(tmp_path: Path) -> None:
    settings = {
        "PATH_HTC_RESULTS": Setting("/r", "environment"),
        "PATH_HTC_RESULTS_ATLAS": Setting("/a", "environment"),
        "PATH_STROMA_CACHE": Setting(str(tmp_path / "c"), "environment"),
    }
    assert result_folders(settings) == {"PATH_HTC_RESULTS": Path("/r"), "PATH_HTC_RESULTS_ATLAS": Path("/a")}
    assert cache_folder(settings) == tmp_path / "c"


def test_a_data_set_is_opened_by_name_and_nothing_is_written_into_it(
    surgery: SurgeryTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in surgery.root.rglob("*")}
    monkeypatch.setenv("PATH_Tivita_tiny", f"{surgery.root}:shortcut=t")
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    study = open_dataset("t")
    assert (len(study), study.labels.names) == (6, ("colon", "liver", "spleen"))
    again = open_dataset("tiny")
    assert again.path == study.path and again.catalog.equals(study.catalog)
    recording = find_recording("P001#2021_04_15_09_22_01@polygon#annotator2")
    assert recording.labels() == ["colon"]
    with pytest.raises(UsageError, match="is in no known data set"):
        find_recording("P099#2021_04_15_09_22_01")
    assert {path: path.stat().st_mtime_ns for path in surgery.root.rglob("*")} == before


def test_other_settings_of_a_data_set_are_noticed(surgery: SurgeryTree, tmp_path: Path) -> None:
    first = open_dataset(surgery.root, cache=tmp_path / "cache")
    surgery.settings(label_ordering={"liver": "01", "colon": "02", "spleen": "03"})
    assert open_dataset(surgery.root, cache=tmp_path / "cache").labels.names != first.labels.names


def test_the_annotations_that_a_data_set_prefers_come_first(surgery: SurgeryTree, tmp_path: Path) -> None:
    surgery.settings(annotation_name_default="polygon#annotator2")
    study = open_dataset(surgery.root, cache=tmp_path / "cache")
    assert study.annotators == ("annotator2", "annotator1")
    assert study["P001#2021_04_15_09_22_01"].mask().annotator == "annotator2"


def test_a_subset_has_its_own_settings_and_shares_the_intermediates(
    surgery: SurgeryTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = SurgeryTree(tmp_path / "elsewhere")
    subset.settings(label_mapping={"glove": 0}, last_valid_label_index=0, label_ordering={}, label_colors={})
    subset.image("P050", "2022_01_01_00_00_00")
    (tmp_path / "elsewhere" / "data").rename(surgery.root / "data" / "context")
    segmentations = surgery.root / "intermediates" / "segmentations"
    segmentations.mkdir(parents=True)
    mask = np.zeros((4, 6), np.uint8)
    write_htc_blosc(segmentations / "P050#2022_01_01_00_00_00.blosc", {"semantic#primary": mask})
    monkeypatch.setenv("PATH_Tivita_tiny", str(surgery.root))
    study = open_dataset("tiny#context", cache=tmp_path / "cache")
    assert (list(study), study.labels.names) == (["P050#2022_01_01_00_00_00"], ("glove",))
    assert study["P050#2022_01_01_00_00_00"].labels() == ["glove"]
    with pytest.raises(MissingFile, match="has no subset 'contxt'"):
        open_dataset("tiny#contxt", cache=tmp_path / "cache")
