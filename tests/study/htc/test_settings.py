import json
from datetime import datetime
from pathlib import Path

import pytest

from stroma.core.errors import InvalidData
from stroma.study.htc.settings import DatasetSettings, camera_name, labels_from_settings


def write(folder: Path, content: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset_settings.json"
    path.write_text(json.dumps(content))
    return path


def test_the_nearest_settings_above_a_folder_hold(tmp_path: Path) -> None:
    write(tmp_path, {"dataset_name": "outer", "annotation_name_default": "a#x&b#y"})
    write(tmp_path / "context", {"dataset_name": "inner", "annotation_name_default": ["a#x"]})
    below = tmp_path / "context" / "subjects" / "P1"
    below.mkdir(parents=True)
    assert DatasetSettings.nearest(below, tmp_path).content["dataset_name"] == "inner"
    assert DatasetSettings.nearest(below, tmp_path).default_annotations == ("a#x",)
    assert DatasetSettings.nearest(tmp_path, tmp_path).default_annotations == ("a#x", "b#y")
    assert DatasetSettings.nearest(below, below).content == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds no table"),
        ({"shape": [480, 640]}, r"shape is \[480, 640\], not three"),
        ({"shape": [480, "640", 100]}, "not three positive whole numbers"),
        ({"shape_names": ["width", "height", "channels"]}, "only height, width, channels"),
        ({"annotation_name_default": 3}, "annotation_name_default is 3"),
    ],
)
def test_wrong_values_are_told_with_their_key(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        DatasetSettings.load(write(tmp_path, content))
    assert "dataset_settings.json" in str(caught.value)


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    assert DatasetSettings.load(write(tmp_path, {"annotator_mapping": {"a": 1}})).content == {
        "annotator_mapping": {"a": 1}
    }


def test_several_names_of_one_index_are_one_class(tmp_path: Path) -> None:
    mapping = {"background": 0, "blue_cloth": 0, "liver": 1, "unlabeled": 255}
    labels = labels_from_settings({"label_mapping": mapping}, where=tmp_path)
    assert labels.names == ("background", "liver")
    assert labels.from_name("blue_cloth") == 0
    assert labels.from_name("unlabeled") == 255
    with pytest.raises(InvalidData, match="no label up to last_valid_label_index"):
        labels_from_settings({"label_mapping": {"overlap": 254}}, where=tmp_path)


def test_a_camera_is_another_one_from_the_date_of_its_change_on() -> None:
    change = {"change_date": "2022_01_01_00_00_00", "suffix_before": "wrong-1", "suffix_after": "correct-1"}
    settings = DatasetSettings({"camera_name_changes": {"0102-00085": change}})
    assert camera_name("0102-00085", datetime(2021, 12, 31), settings) == "0102-00085_wrong-1"
    assert camera_name("0102-00085", datetime(2022, 1, 1), settings) == "0102-00085_correct-1"
    assert camera_name("0202-00118", datetime(2021, 1, 1), settings) == "0202-00118_correct-1"
    broken = DatasetSettings({"camera_name_changes": {"0102-00085": {**change, "change_date": "2022"}}})
    with pytest.raises(InvalidData, match="the date '2022', no timestamp"):
        camera_name("0102-00085", None, broken)
