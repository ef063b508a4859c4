from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from stroma.cli.main import run
from stroma.core.errors import InvalidData, OutputConflict, UsageError
from stroma.prepare.index import InitOptions, init
from stroma.study.study import open_study


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Three patients with two tiles each, and masks of 0 and 1; masks of the third are empty."""
    root = tmp_path / "Kacheln für #1, @2"
    for patient in ("p1", "p2", "p3"):
        for number in (1, 2):
            write_png(root / "images" / f"{patient}_{number}.png", np.full((5, 7, 3), 100, np.uint8))
            write_png(root / "masks" / f"{patient}_{number}.png", np.full((5, 7), patient != "p3", np.uint8))
    return root


def test_a_folder_becomes_a_study_that_opens(tiles: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "study.yaml"
    result = init(InitOptions(folder=tiles, output=output, subject_pattern="^[^_]+", labels="background, glomerulus"))
    assert result.summary["images"] == 6
    assert result.summary["subjects"] == "3 subjects"
    assert result.summary["labels"] == {"background": 2, "glomerulus": 4}
    assert str(result.summary["sizes"]) == "5 × 7: 6"
    study = open_study(output)
    assert study.labels.names == ("background", "glomerulus")
    assert study.catalog["subject_id"].unique().sort().to_list() == ["p1", "p2", "p3"]
    assert study.splits().folds == ("fold_0", "fold_1", "fold_2")
    assert (study.mask("p1_1") == 1).all()


def test_the_study_keeps_the_tables_that_init_made(tiles: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "study.yaml"
    init(InitOptions(folder=tiles, output=output))
    stored = output.with_name("catalog.parquet")
    before = stored.stat().st_mtime_ns
    assert len(open_study(output)) == 6
    assert stored.stat().st_mtime_ns == before


def test_unknown_subjects_are_said(tiles: Path, tmp_path: Path) -> None:
    result = init(InitOptions(folder=tiles, output=tmp_path / "study.yaml"))
    assert result.summary["subjects"] == "unknown subjects: each of the 6 images counts as its own"
    assert "each image counts as its own subject" in (tmp_path / "study.yaml").read_text(encoding="utf-8")


def test_the_folder_is_only_read(tiles: Path, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in tiles.rglob("*"))
    init(InitOptions(folder=tiles, output=tmp_path / "study.yaml"))
    assert sorted((path, path.stat().st_mtime_ns) for path in tiles.rglob("*")) == before


def test_root_is_relative_below_the_study_and_absolute_elsewhere(tiles: Path, tmp_path: Path) -> None:
    init(InitOptions(folder=tiles, output=tmp_path / "study.yaml"))
    assert f"root: '{tiles.name}'" in (tmp_path / "study.yaml").read_text(encoding="utf-8")
    init(InitOptions(folder=tiles, output=tmp_path / "out" / "study.yaml"))
    assert open_study(tmp_path / "out").root == tiles.resolve()
    assert open_study(tmp_path).root == tiles


def test_a_study_inside_its_own_folder_opens_twice_alike(tiles: Path) -> None:
    init(InitOptions(folder=tiles, output=tiles / "study.yaml"))
    stored = tiles / "catalog.parquet"
    before = stored.stat().st_mtime_ns
    assert len(open_study(tiles)) == 6
    assert stored.stat().st_mtime_ns == before


def test_dry_run_writes_nothing(tiles: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = init(InitOptions(folder=tiles, output=tmp_path / "study.yaml", dry_run=True))
    assert result.summary["images"] == 6
    assert sorted(tmp_path.rglob("*")) == before


def test_init_again_says_it_is_done_and_other_settings_are_a_conflict(tiles: Path, tmp_path: Path) -> None:
    options = InitOptions(folder=tiles, output=tmp_path / "study.yaml")
    init(options)
    assert init(options).skipped == 1
    (tmp_path / "study.yaml").write_text("name: mine\n")
    with pytest.raises(OutputConflict, match="--overwrite"):
        init(options)
    init(options.model_copy(update={"overwrite": True}))
    assert len(open_study(tmp_path)) == 6


def test_the_command_line_ends_with_what_to_type_next(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", tiles.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (tmp_path / "study.yaml").is_file()
    assert lines[-3] == "next:"
    assert all(line.startswith("  stroma ") for line in lines[-2:])


def test_json_holds_counts_as_tables(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tiles), "-o", str(tmp_path / "s.yaml"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["labels"] == {"background": 2, "foreground": 4}


def test_problems_are_listed_with_their_files(tiles: Path, tmp_path: Path) -> None:
    write_png(tiles / "masks" / "p1_1.png", np.zeros((7, 5), np.uint8))
    (tiles / "images" / "p2_1.png").write_bytes(b"broken")
    result = init(InitOptions(folder=tiles, output=tmp_path / "study.yaml"))
    text = "\n".join(result.lines)
    assert "problem: masks/p1_1.png is 7 × 5 (height × width), its image is 5 × 7" in text
    assert "problem: images/p2_1.png" in text
    assert result.summary["problems"] == 2
    assert result.summary["images"] == 5


def test_a_table_gives_subjects_and_metadata(tiles: Path, tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    rows = "".join(f"p{p}_{n},patient {p},{60 + p}\n" for p in (1, 2, 3) for n in (1, 2))
    table.write_text(f"image_id,subject_id,age\n{rows}")
    init(InitOptions(folder=tiles, output=tmp_path / "study.yaml", table=table, subjects="table"))
    study = open_study(tmp_path)
    assert study.row("p2_1")["subject_id"] == "patient 2"
    assert study.row("p2_1")["age"] == 62


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"subjects": "regex"}, "needs --subject-pattern"),
        ({"subjects": "table"}, "needs --table"),
        ({"labels": "a,b,c"}, "3 names, the masks have 2 classes"),
        ({"images": "images/{id}"}, "--images goes with --masks"),
        ({"masks": "nowhere/{id}"}, "no masks 'nowhere/{id}'"),
    ],
)
def test_flags_that_cannot_work_are_errors(tiles: Path, tmp_path: Path, given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        init(InitOptions(folder=tiles, output=tmp_path / "study.yaml", **given))  # type: ignore[arg-type]


def test_a_split_that_parts_a_subject_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for part in ("train", "test"):
        for name in ("a", "b"):
            write_png(root / part / name / "p1.png", np.zeros((5, 7, 3), np.uint8))
    result = init(
        InitOptions(folder=root, output=tmp_path / "study.yaml", subjects="regex", subject_pattern="[^/]+$")
    )
    assert any("the subject 'p1' is in test and train of fold_0" in line for line in result.lines)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match="holds no files"):
        init(InitOptions(folder=tmp_path / "empty", output=tmp_path / "study.yaml"))


def test_a_place_that_cannot_be_written_is_an_error(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputConflict, match="--output"):
        init(InitOptions(folder=tiles, output=tmp_path / "file" / "study.yaml"))
    with pytest.raises(OutputConflict, match="is a folder"):
        init(InitOptions(folder=tiles, output=tmp_path))
