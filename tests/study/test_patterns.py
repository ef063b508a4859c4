from __future__ import annotations

import pytest

from stroma.core.errors import ConfigError
from stroma.study.patterns import Pattern, suffix_of, without_suffix


def test_an_id_may_contain_folders_and_a_class_not() -> None:
    assert list(Pattern("images/{id}").matches("images/a/b c")) == [{"id": "a/b c"}]
    assert list(Pattern("masks/{class}/{id}").matches("masks/liver/a/b")) == [{"class": "liver", "id": "a/b"}]


def test_an_ambiguous_name_gives_every_reading_longest_id_first() -> None:
    assert list(Pattern("{id}_{class}").matches("case_1_left_kidney")) == [
        {"id": "case_1_left", "class": "kidney"},
        {"id": "case_1", "class": "left_kidney"},
        {"id": "case", "class": "1_left_kidney"},
    ]


def test_text_after_the_last_field_must_be_the_end() -> None:
    assert list(Pattern("{id}_mask").matches("a_mask_mask")) == [{"id": "a_mask"}]
    assert list(Pattern("{id}_mask").matches("a_mask2")) == []
    assert list(Pattern("{id}_mask").matches("_mask")) == []


def test_characters_of_regular_expressions_mean_themselves() -> None:
    assert list(Pattern("m+s #1/{id}").matches("m+s #1/ü, @")) == [{"id": "ü, @"}]


@pytest.mark.parametrize("text", ["masks/{klass}/{id}", "{id}/{id}", "masks/*"])
def test_a_pattern_that_cannot_work_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        Pattern(text)


def test_the_suffix_of_ome_tiff_is_double() -> None:
    assert without_suffix("a.b/c.ome.TIF") == "a.b/c"
    assert without_suffix("a.b/c.v2.png") == "a.b/c.v2"
    assert without_suffix("a.b/c") == "a.b/c"


@pytest.mark.parametrize("path", ["name", "a.b/name", ".hidden", "a/.hidden", "name."])
def test_names_without_suffix(path: str) -> None:
    assert suffix_of(path) == ""
    assert without_suffix(path) == path
