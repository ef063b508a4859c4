"""Which division of the images a training takes, and that it never changes under a run."""

import json
from pathlib import Path

import pytest

from stroma.core.errors import InvalidData, OutputConflict
from stroma.prepare.split import SplitOptions, split
from stroma.runs.run import Run
from stroma.training.train import load_run_config, train
from tests.tiny import cube_study, picture_study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study, with trainings that only prepare their folder."""
    monkeypatch.setattr("stroma.training.fold.train_fold", lambda run, fold, config: None)
    return picture_study(tmp_path / "Süß #1", subjects=5, splits={"folds": 2})


def test_a_training_takes_the_division_of_a_file(study: Path, tmp_path: Path) -> None:
    file = study.parent / "splits" / "sizes, ü.parquet"
    split(SplitOptions(study=study, scheme="sizes", sizes=(1, 3), repetitions=2, output=file))
    config = study.parent / "config.yaml"
    config.write_text("data: {study: study.yaml, splits: 'splits/sizes, ü.parquet'}", encoding="utf-8")
    run = train(config, tmp_path / "run")
    assert run.splits["fold"].unique().sort().to_list() == [f"subjects_{n}_draw_{d}" for n in (1, 3) for d in (0, 1)]
    assert {name.split("/")[0] for name in run.images_of("train", "subjects_1_draw_0")} <= {
        f"Süß #{i}" for i in range(5)
    }
    stored = Run.open(tmp_path / "run").config.data.splits
    assert (run.folder / stored).resolve() == file.resolve()
    override = load_run_config(study, [f"data.splits={json.dumps(str(file))}"])
    assert override.data.splits == file


def test_nested_test_images_are_those_of_the_fold(study: Path, tmp_path: Path) -> None:
    study = cube_study(tmp_path / "cubes", subjects=5)
    file = tmp_path / "nested.json"
    split(SplitOptions(study=study, scheme="nested", outer_folds=2, folds=2, output=file))
    run = train(load_run_config(study, [f"data.splits={tmp_path}/nested_nested-*.json"]), tmp_path / "run")
    for fold in run.splits["fold"].unique():
        roles = ("train", "validation", "test")
        subjects = [{name.split("#")[0] for name in run.images_of(role, fold)} for role in roles]
        assert len(set.union(*subjects)) == sum(map(len, subjects)) == 5
    assert len(run.images_of("test")) == 5  # every image, by the folds that did not train on it


def test_a_run_refuses_to_go_on_with_another_division(study: Path, tmp_path: Path) -> None:
    config = load_run_config(study)
    train(config, tmp_path / "run")
    before = (tmp_path / "run" / "splits.parquet").read_bytes()
    train(config, tmp_path / "run")
    study.write_text(study.read_text(encoding="utf-8").replace("folds: 2", "folds: 3"), encoding="utf-8")
    with pytest.raises(OutputConflict, match="other settings: the image 'Süß #.* in train of fold_.*--overwrite"):
        train(config, tmp_path / "run")
    assert (tmp_path / "run" / "splits.parquet").read_bytes() == before
    assert len(train(config, tmp_path / "run", overwrite=True).splits["fold"].unique()) == 3


def test_a_leaking_file_trains_nothing(study: Path, tmp_path: Path) -> None:
    file = tmp_path / "leak.csv"
    file.write_text('image_id,role\n"Süß #0/im@0, a+b",train\n"Süß #0/im@1, a+b",test\n', encoding="utf-8")
    with pytest.raises(InvalidData, match="the subject 'Süß #0' is in test and train of fold_0"):
        train(load_run_config(study, [f"data.splits={file}"]), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
