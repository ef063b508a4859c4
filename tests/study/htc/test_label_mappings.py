import numpy as np
import pytest

from stroma.core.errors import ConfigError
from stroma.study.htc.label_mappings import mapping_from_htc, mapping_to_htc
from stroma.study.labels import LabelMapping

FULL = {
    "mapping_name_index": {
        "background": 0,
        "blue_cloth": 0,
        "liver": 1,
        "spleen": 2,
        "overlap": 254,
        "unlabeled": 255,
    },
    "mapping_index_name": {"0": "blue_cloth"},
    "last_valid_label_index": 2,
    "zero_is_invalid": "true",
    "unknown_invalid": False,
}


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("htc.settings_seg>label_mapping", 19, "background", "kidney_with_Gerotas_fascia"),
        ("htc_projects.atlas.settings_atlas>label_mapping", 20, "stomach", "spleen"),
        ("htc_projects.species.settings_species>label_mapping", 12, "background", "peritoneum"),
    ],
)
def test_mappings_by_name(name: str, count: int, first: str, last: str) -> None:
    labels = mapping_from_htc(name)
    assert (len(labels), labels.names[0], labels.names[-1]) == (count, first, last)
    assert "meso" not in labels.names
    with pytest.raises(ConfigError, match="is a variable that Stroma does not have"):
        mapping_from_htc("htc.settings_new>label_mapping")


def test_plain_tables_keep_background_as_the_name_of_zero() -> None:
    labels = mapping_from_htc({"abdominal_linen": 0, "background": 0, "liver": 1, "unlabeled": 255})
    assert labels.names == ("background", "liver")
    assert labels.from_name("abdominal_linen") == 0
    assert labels.from_name("unlabeled") == 255


def test_the_full_form_says_what_is_invalid() -> None:
    labels = mapping_from_htc({**FULL, "zero_is_invalid": False})
    assert labels.names == ("blue_cloth", "liver", "spleen")
    assert labels.from_name("background") == 0
    labels = mapping_from_htc(FULL)
    assert labels.names == ("liver", "spleen")
    np.testing.assert_array_equal(labels.from_source(np.array([0, 1, 2, 254, 255])), [255, 0, 1, 255, 255])
    assert labels.from_name("background") == 255


def test_what_is_written_is_read_as_the_same_classes() -> None:
    for labels in (mapping_from_htc(FULL), mapping_from_htc("x.settings_seg>label_mapping"), LabelMapping.of("ab")):
        again = mapping_from_htc(mapping_to_htc(labels))
        assert again.names == labels.names
        assert dict(again.aliases) == dict(labels.aliases)
        assert set(labels.ignore) - set(again.ignore) <= {"background", "blue_cloth", "overlap"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"liver": "0"}, "the label 'liver' has the index '0'"),
        ({"liver": True}, "has the index True"),
        ({"liver": 300}, "has the index 300"),
        ({"overlap": 254}, "no label up to the index -1"),
        ({}, "is no table"),
        ({"mapping_name_index": [1]}, "is no table"),
    ],
)
def test_other_values_are_told(value: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping_from_htc(value)
