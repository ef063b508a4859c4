"""Places where no result can be written: one line with the place before anything is computed, never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stroma.cli.main import run
from stroma.core.errors import OutputConflict
from stroma.core.files import check_place
from tests.tiny import cube_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return cube_study(tmp_path / "Daten #1")


VERBS = [
    ["medians", "STUDY", "-o"],
    ["check", "STUDY", "-o"],
    ["prepare", "STUDY", "-o"],
    ["train", "STUDY", "-o"],
    ["parameters", "STUDY", "-o"],
    ["phantom", "hsi"],
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_a_file_where_a_folder_is_needed(
    verb: list[str], study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "results ä.parquet"
    taken.write_bytes(b"mine")
    for place, what in ((taken, "is a file, a folder is needed"), (taken / "below", "is a file, so no folder")):
        assert run([word.replace("STUDY", str(study)) for word in verb] + [str(place)]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith(f"stroma: error: {taken}: {what}")
        assert len(shown.err.splitlines()) == 1
        assert "Choose another --output" in shown.err
    assert taken.read_bytes() == b"mine"


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    check_place(folder / "new" / "deep", folder=True)
    assert not any(folder.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)  # root may write everywhere
    with pytest.raises(OutputConflict, match=r"share: may not be written to\. Choose another --output"):
        check_place(folder / "new" / "deep", folder=True)
    with pytest.raises(OutputConflict, match="may not be written to"):
        check_place(folder / "page.html", folder=False)


def test_what_the_system_refuses_is_one_line(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "share/out")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run(["check", str(study), "-o", str(tmp_path / "out")]) == 1
    line = capsys.readouterr().err
    assert line.startswith("stroma: error: share/out: the system says: permission denied.")
    assert len(line.splitlines()) == 1
    with pytest.raises(PermissionError):
        run(["check", str(study), "-o", str(tmp_path / "out"), "--debug"])
