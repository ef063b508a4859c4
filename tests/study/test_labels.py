from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stroma.core.errors import ConfigError, InvalidData
from stroma.study.labels import IGNORE, LabelMapping


def test_the_position_of_a_name_is_its_index() -> None:
    labels = LabelMapping.of(["a", "b"])
    assert [labels.index(name) for name in ("a", "b")] == [0, 1]
    np.testing.assert_array_equal(labels.from_source(np.array([1, 0, 255])), [1, 0, IGNORE])


def test_sources_translate_the_values_of_files() -> None:
    labels = LabelMapping(names=("liver", "rest"), sources={7: "liver", 3: "rest", 4: "rest"}, ignore=(0,))
    np.testing.assert_array_equal(labels.from_source(np.array([7, 3, 4, 0])), [0, 1, 1, IGNORE])


def test_a_value_that_nobody_named_is_an_error() -> None:
    with pytest.raises(InvalidData, match="m.png: holds the value 9"):
        LabelMapping.of(["a"]).from_source(np.array([0, 9]), where="m.png")


def test_several_names_may_stand_for_one_class() -> None:
    labels = LabelMapping(names=("bowel", "liver"), aliases={"colon": "bowel"}, ignore=(255, "overlap"))
    assert [labels.from_name(name) for name in ("colon", "bowel", "liver", "overlap")] == [0, 0, 1, IGNORE]
    with pytest.raises(InvalidData, match="'colom'.*Did you mean 'colon'"):
        labels.from_name("colom")


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ["a", "a"]},
        {"names": ["a"], "sources": {1: "b"}},
        {"names": ["a"], "aliases": {"x": "b"}},
        {"names": ["a"], "sources": {255: "a"}},
        {"names": ["a"], "colours": {"b": "#000000"}},
        {"names": []},
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LabelMapping.model_validate(wrong)


def test_a_mapping_is_the_same_after_saving(tmp_path: Path) -> None:
    labels = LabelMapping(
        names=("Gerota's fascia", "Müller #1"),
        colours={"Müller #1": "#0a0b0c"},
        sources={0: "Müller #1", 254: "Gerota's fascia"},
        aliases={"fascia": "Gerota's fascia"},
        ignore=(255, "unlabeled"),
    )
    assert LabelMapping.load(labels.save(tmp_path / "labels.yaml")) == labels


def test_a_file_with_another_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("names: [a]\ncolors: {}\n")
    with pytest.raises(ConfigError, match="Did you mean 'colours'"):
        LabelMapping.load(tmp_path / "labels.yaml")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_masks_of_any_integer_type_are_translated_alike(kind: type) -> None:
    labels = LabelMapping(names=("a", "b"), sources={3: "b", 100: "a"}, ignore=(0,))
    mask = np.array([[3, 100], [0, 3]], kind)
    np.testing.assert_array_equal(labels.from_source(mask), [[1, 0], [IGNORE, 1]])
    assert labels.from_source(mask).dtype == np.uint8
    assert labels.from_source(mask[:0]).shape == (0, 2)


def test_more_classes_than_a_mask_can_hold_are_told() -> None:
    names = [f"cell {i}" for i in range(256)]
    assert len(LabelMapping.of(names[:255])) == 255
    with pytest.raises(InvalidData, match=r"256 classes \(cell 0, cell 1, cell 2, …\).* the 255 .*one class"):
        LabelMapping.of(names)
