"""`stroma split`: show, check and write divisions."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest

from stroma.cli.main import run
from stroma.core.errors import ConfigError, InvalidData, OutputConflict, UsageError
from stroma.prepare.split import SplitOptions, split
from stroma.study.splits import Splits
from stroma.study.study import open_study
from tests.tiny import cube_study, picture_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return cube_study(tmp_path / "Studie #1", subjects=5, images=2)


def test_the_table_shows_what_is_in_each_fold(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["split", str(study)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["10", "images", "of", "5", "subjects"]
    assert lines[1] == ["fold", "role", "subjects", "images", "blue", "green", "red"]
    assert lines[2] == ["fold_0", "train", "2", "4", "4", "(2)", "4", "(2)", "4", "(2)"]
    assert ["fold_1", "test", "1", "2", "2", "(1)", "2", "(1)", "2", "(1)"] in lines


def test_options_change_what_the_study_says(study: Path) -> None:
    result = split(SplitOptions(study=study, scheme="leave-one-out", test_fraction=0.3, known_images=1))
    sets = pl.DataFrame(result.details["sets"])
    assert sets["fold"].n_unique() == 3  # 0.3 × 5 = 1.5, so 2 are tested
    assert set(sets["set"]) == {"train", "validation", "test", "validation_known"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_what_is_written_is_read_by_the_study(study: Path, suffix: str) -> None:
    output = study.parent / f"Teilung ü, 1{suffix}"
    result = split(SplitOptions(study=study, folds=3, seed=4, output=output))
    expected = open_study(study).splits()
    text = study.read_text(encoding="utf-8")
    head, _, _ = text.partition("splits:")
    line = result.next[0].split(": ", 1)[1]
    assert result.next[0].startswith(f"in {study}: splits: {{from: file")
    study.write_text(head + line + "\n", encoding="utf-8")
    found = open_study(study).splits()
    assert len(found.folds) == 3
    for fold in found.folds:
        assert found.ids("train", fold) == Splits.load(output).ids("train", fold)
    assert len(expected.folds) == 2


def test_nested_folds_are_written_as_one_file_each_and_read_together(study: Path) -> None:
    output = study.parent / "specs" / "s.json"
    result = split(SplitOptions(study=study, scheme="nested", outer_folds=2, folds=2, output=output))
    assert sorted(path.name for path in output.parent.iterdir()) == ["s_nested-0-1.json", "s_nested-1-1.json"]
    assert result.output == output.parent / "s_nested-0-1.json"
    head, _, _ = study.read_text(encoding="utf-8").partition("splits:")
    study.write_text(head + result.next[0].split(": ", 1)[1] + "\n", encoding="utf-8")
    assert len(open_study(study).splits().folds) == 4


def test_files_are_not_overwritten_unasked(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "s.csv"
    split(SplitOptions(study=study, output=output))
    before = output.read_bytes()
    with pytest.raises(OutputConflict, match="is there already"):
        split(SplitOptions(study=study, output=output, seed=3))
    assert output.read_bytes() == before
    split(SplitOptions(study=study, output=output, overwrite=True))
    assert output.read_bytes() == before


def test_a_dry_run_writes_nothing(study: Path, tmp_path: Path) -> None:
    assert split(SplitOptions(study=study, output=tmp_path / "s.csv", dry_run=True)).output is None
    assert not (tmp_path / "s.csv").exists()


def test_leakage_in_a_file_names_the_subject(study: Path, tmp_path: Path) -> None:
    images = list(open_study(study))
    spec = [{"fold_name": "f", "train": {"image_names": images[:3]}, "test": {"image_names": images[3:]}}]
    file = tmp_path / "leaking.json"
    file.write_text(json.dumps(spec))
    with pytest.raises(InvalidData, match="the subject 'P001' is in test and train of f"):
        split(SplitOptions(study=study, file=file))


def test_labels_that_a_fold_lacks_are_warned_of(tmp_path: Path) -> None:
    study = cube_study(tmp_path, subjects=3)
    for path in (tmp_path / "data").rglob("*#red#*"):
        if "P001" not in path.parts:
            path.unlink()
    lines = split(SplitOptions(study=study, scheme="leave-one-out", test_subjects=("P000",))).lines
    assert "warning: the label 'red' is not tested in fold_P001, fold_P002: no test image has it" in lines
    assert "warning: the label 'red' cannot be learned in fold_P001: no train image has it" in lines


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 9}, UsageError, "4 subjects allow 4 folds, 9 are needed"),
        ({"test_subjects": ("P9",)}, UsageError, "no subject 'P9'"),
        ({"output": Path("a.txt")}, ConfigError, "'.txt' is no kind of file"),
        ({"file": Path("x.csv"), "folds": 3}, UsageError, "so --folds has no meaning"),
        (
            {"test_subjects": ("P000",), "hidden_subjects": ("P000",)},
            ConfigError,
            "^stroma split: the subject .P000. is in test_subjects and in hidden_subjects",
        ),
    ],
)
def test_errors_say_the_next_step(study: Path, options: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        split(SplitOptions(study=study, **options))


def test_a_study_without_a_rule_can_be_divided(tmp_path: Path) -> None:
    path = picture_study(tmp_path)
    head, _, _ = path.read_text(encoding="utf-8").partition("splits:")
    path.write_text(head, encoding="utf-8")
    assert len(pl.DataFrame(split(SplitOptions(study=path, folds=2)).details["sets"])) == 4


def test_a_division_that_was_only_tried_says_how_to_keep_it(study: Path) -> None:
    result = split(SplitOptions(study=study, scheme="nested", outer_folds=2, folds=2, stratify="label-sets"))
    line = result.next[0]
    assert line.startswith(f"in {study}: splits: {{scheme: nested, folds: 2, stratify: label-sets, outer_folds: 2")
    head = study.read_text(encoding="utf-8").split("splits:")[0]
    study.write_text(f"{head}{line.split(': ', 1)[1]}\n", encoding="utf-8")
    kept = split(SplitOptions(study=study))
    assert kept.details == result.details
    assert kept.next == [f"stroma train {shlex.quote(str(study))} -o runs/first"]


def test_a_fold_without_validation_is_warned_of(study: Path, tmp_path: Path) -> None:
    table = pl.DataFrame({"image_id": list(open_study(study)), "role": "train"})
    table.write_csv(tmp_path / "all.csv")
    lines = split(SplitOptions(study=study, file=tmp_path / "all.csv")).lines
    assert "warning: no validation image in fold_0: nothing says which epoch is the best" in lines
