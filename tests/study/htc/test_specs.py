import json
from pathlib import Path

import polars as pl
import pytest

from stroma.core.errors import InvalidData
from stroma.study.config import SplitRule
from stroma.study.htc.specs import DataSpec, read_data_spec, write_data_spec, write_data_specs
from stroma.study.split_schemes import draw_splits
from stroma.study.splits import Splits
from tests.study.test_splits import catalog

ENVIRONMENTS = Path(__file__).parents[3] / "benchmarks" / ".environments"
SHIPPED = sorted(ENVIRONMENTS.glob("*/lib/python*/site-packages/htc*/**/data/*.json"))

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


@pytest.mark.parametrize("names", [["P3#t2"], ["P3#t2", "P9#t1"]])
def test_a_validation_set_of_training_subjects_is_a_leak_that_names_the_subject(
    tmp_path: Path, names: list[str]
) -> None:
    """It was taken for a set of known subjects, so that nothing validated and nobody said so."""
    fold = {"fold_name": "f", "train": {"image_names": ["P2#t1", "P3#t1"]}, "val": {"image_names": names}}
    spec = read_data_spec(write(tmp_path / "leak.json", [fold]))
    images = ["P2#t1", "P3#t1", "P3#t2", "P9#t1"]
    known = pl.DataFrame({"image_id": images, "subject_id": [name[:2] for name in images]})
    with pytest.raises(InvalidData, match="the subject 'P3' is in train and validation of f"):
        spec.splits.check(known)
    fold["val_known"] = fold.pop("val")
    if len(names) == 1:  # called so
        read_data_spec(write(tmp_path / "known.json", [fold])).splits.check(known)


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
    splits = Splits.load(write(tmp_path / "a.json", SPEC))
    ours = Splits.of(splits.table.with_columns(set="role").filter(fold="fold_P1"))
    with pytest.raises(InvalidData, match="the set 'extra' cannot be written"):
        write_data_spec(DataSpec(ours), tmp_path / "b.json")
    path = write_data_spec(DataSpec(Splits.of(ours.table.filter(set="validation"))), tmp_path / "b.json")
    assert list(json.loads(path.read_text())[0]) == ["fold_name", "val"]


def test_a_file_of_htc_is_written_byte_for_byte(tmp_path: Path) -> None:
    """Folds and sets keep their order: fold 2 before fold 10, the known validation images before the test."""
    folds = [dict(SPEC[0], fold_name=name) for name in ("fold_pigs=2", "fold_pigs=10", "fold_pigs=1")]
    text = json.dumps(folds, indent=4) + "\n"
    path = tmp_path / "a.json"
    path.write_text(text)
    spec = read_data_spec(path)
    classes = spec.classes
    assert classes == {"test": "htc.tivita.DataPathMultiorgan>DataPathMultiorgan"}
    assert write_data_spec(spec, tmp_path / "b.json").read_text() == text


def test_known_hidden_and_nested_sets_of_ours_get_names_that_htc_reads(tmp_path: Path) -> None:
    rule = SplitRule(scheme="nested", outer_folds=2, folds=2, known_images=1, hidden_subjects=("S00",))
    splits = draw_splits(catalog(7), rule)
    paths = write_data_specs(DataSpec(splits), tmp_path / "ours.json")
    assert [path.name for path in paths] == ["ours_nested-0-1.json", "ours_nested-1-1.json"]
    fold = json.loads(paths[1].read_text())[0]
    assert list(fold) == ["fold_name", "train", "val", "test", "test_hidden", "val_known"]
    again = read_data_spec(paths[0], dict(catalog(7).select("image_id", "subject_id").iter_rows())).splits
    for name, role in (("val", "validation"), ("val_known", "extra"), ("test_hidden", "test")):
        rows = again.table.filter(set=name)
        assert set(rows["role"]) == {role}
    assert again.ids("train", "outer_0_fold_0") == splits.ids("train", "outer_0_fold_0")
    assert again.ids("test") == [i for i in splits.ids("test", "outer_0_fold_0") if not i.startswith("S00")]


def test_an_id_that_is_no_name_of_htc_is_refused(tmp_path: Path) -> None:
    splits = Splits.load(write(tmp_path / "a.json", SPEC))
    for image_id in ("im@0", "a##b"):
        wrong = Splits.of(splits.table.with_columns(image_id=pl.lit(image_id)).head(1))
        with pytest.raises(InvalidData, match="cannot be written: htc's names"):
            write_data_spec(DataSpec(wrong), tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


@pytest.mark.proof
@pytest.mark.skipif(not SHIPPED, reason="imsy-htc is not there: python -m benchmarks cube_read")
def test_all_files_that_htc_ships_are_written_as_they_were_read(tmp_path: Path) -> None:
    others = []
    for path in SHIPPED:
        again = write_data_spec(read_data_spec(path), tmp_path / "again.json")
        assert json.loads(again.read_text()) == json.loads(path.read_text()), path.name
        others += [path.name] if again.read_bytes() != path.read_bytes() else []
    assert len(SHIPPED) >= 74
    assert others == ["tissue-atlas_loocv_test-8_seed-0_cam-118.json"]  # has an empty line in its middle


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
    with pytest.raises(InvalidData, match=r"a\.json: the set 'train' of the fold 'f': 'P1##t' is no image name"):
        read_data_spec(write(tmp_path / "a.json", [{"fold_name": "f", "train": {"image_names": ["P1##t"]}}]))
