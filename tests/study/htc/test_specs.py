import json
from pathlib import Path

import pytest

from stroma.core.errors import InvalidData, UsageError
from stroma.study.htc.specs import read_data_spec, write_data_spec
from stroma.study.splits import Splits

SPEC = [
    {
        "fold_name": "fold_P1",
        "train_semantic": {"image_names": ["P2#t1@semantic#primary", "P3#t1"]},
        "val_semantic_unknown": {"image_names": ["P1#t1", "P1#t2"]},
        "val_semantic_known": {"image_names": ["P2#t2"]},
        "test": {"image_names": ["P4#t1"], "data_path_class": "htc.tivita.DataPathMultiorgan>DataPathMultiorgan"},
    },
    {
        "fold_name": "fold_P2",
        "train_semantic": {"image_names": ["P1#t1", "P1#t2", "P3#t1"]},
        "val_semantic_unknown": {"image_names": ["P2#t1@semantic#primary"]},
        "val_semantic_known": {"image_names": []},
        "test": {"image_names": ["P4#t1"]},
    },
]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_sets_become_roles_and_those_that_share_subjects_are_extra(tmp_path: Path) -> None:
    spec = read_data_spec(write(tmp_path / "a.json", SPEC))
    splits = spec.splits
    assert splits.folds == ("fold_P1", "fold_P2")
    assert splits.ids("train", "fold_P1") == ["P2#t1", "P3#t1"]
    assert splits.ids("validation", "fold_P1") == ["P1#t1", "P1#t2"]
    assert splits.ids("extra", "fold_P1") == ["P2#t2"]
    assert splits.ids("test") == ["P4#t1"]
    assert spec.annotations == {"P2#t1": ("semantic#primary",)}


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    spec = read_data_spec(write(tmp_path / "a.json", SPEC))
    again = read_data_spec(write_data_spec(spec, tmp_path / "b.json"))
    assert again.splits.table.equals(spec.splits.table)
    assert (again.annotations, again.classes) == (spec.annotations, spec.classes)
    first = json.loads((tmp_path / "b.json").read_text())[0]
    assert {key: value["image_names"] for key, value in first.items() if key != "fold_name"} == {
        key: value["image_names"] for key, value in SPEC[0].items() if isinstance(value, dict)
    }


def test_splits_of_ours_can_be_written_for_htc(tmp_path: Path) -> None:
    from stroma.study.htc.specs import DataSpec

    splits = Splits.load(write(tmp_path / "a.json", SPEC))
    ours = Splits.of(splits.table.with_columns(set="role").filter(fold="fold_P1"))
    with pytest.raises(InvalidData, match="the set 'extra' cannot be written"):
        write_data_spec(DataSpec(ours), tmp_path / "b.json")
    path = write_data_spec(DataSpec(Splits.of(ours.table.filter(set="validation"))), tmp_path / "b.json")
    assert list(json.loads(path.read_text())[0]) == ["fold_name", "val"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no list of folds"),
        ([{"train": {"image_names": []}}], "without 'fold_name'"),
        ([{"fold_name": "f", "extra": {"image_names": []}}], "the fold 'f' has the set 'extra'"),
        ([{"fold_name": "f", "train": ["a"]}], "the set 'train' of the fold 'f' has no list 'image_names'"),
        ([{"fold_name": "f", "train": {"image_names": [3]}}], "has 3 where an image name"),
        ([{"fold_name": "f", "train": {"image_names": ["a", "a"]}}], "has the image 'a' twice"),
        ([{"fold_name": "f", "train": {"image_names": [], "x": 1}}], "unknown key 'x'"),
        ([{"fold_name": "f"}, {"fold_name": "f"}], "the fold 'f' twice"),
        ([{"fold_name": "f", "train": {"image_names": []}}, {"fold_name": "g"}], r"the fold 'g' has the sets \[\]"),
    ],
)
def test_other_content_is_told(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        read_data_spec(write(tmp_path / "a.json", content))


def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'P1##t' is no image name"):
        read_data_spec(write(tmp_path / "a.json", [{"fold_name": "f", "train": {"image_names": ["P1##t"]}}]))
