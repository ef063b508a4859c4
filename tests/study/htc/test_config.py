import json
from pathlib import Path

import pytest

from stroma.core.errors import ConfigError, MissingFile
from stroma.study.htc.config import config_value, read_htc_config


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_comments_and_trailing_commas_are_left_out(tmp_path: Path) -> None:
    text = '{"a": "http://x#y", // one\n # two\n "b": ["x,]", 1,], /* three\n */ "c": "\\"//\\"",}'
    assert read_htc_config(write(tmp_path, "a", text)) == {"a": "http://x#y", "b": ["x,]", 1], "c": '"//"'}


def test_the_file_goes_before_its_first_parent_before_the_second(tmp_path: Path) -> None:
    write(tmp_path, "first", {"input": {"a": 1, "b": 1}, "only_first": 1})
    write(tmp_path, "second", {"input": {"a": 2, "b": 2, "c": 2}})
    path = write(tmp_path, "child", {"inherits": ["first", "second.json"], "input": {"a": 0}})
    assert read_htc_config(path) == {"input": {"a": 0, "b": 1, "c": 2}, "only_first": 1}
    assert read_htc_config(tmp_path / "child") == read_htc_config(path)


def test_lists_are_extended_by_parents_first(tmp_path: Path) -> None:
    write(tmp_path, "first", {"a": {"list": [1, 2]}})
    write(tmp_path, "second", {"a": {"list_extends": [3]}})
    path = write(tmp_path, "child", {"inherits": ["first", "second"], "a": {"list_extends": [4]}})
    assert read_htc_config(path) == {"a": {"list": [1, 2, 3, 4]}}
    write(tmp_path, "third", {"inherits": "first", "a": {"list_extends": [9]}})
    path = write(tmp_path, "other", {"inherits": ["second", "third"]})
    assert read_htc_config(path) == {"a": {"list": [1, 2, 9, 3]}}


def test_keys_can_be_skipped_and_written_with_slashes(tmp_path: Path) -> None:
    write(tmp_path, "parent", {"a": {"b": 1, "c": 2}, "d": 3})
    path = write(tmp_path, "child", {"inherits": "parent", "inherits_skip": ["a/b", "d"], "e/f": 4, "e": {"g": 5}})
    config = read_htc_config(path)
    assert config == {"a": {"c": 2}, "e": {"f": 4, "g": 5}}
    assert (config_value(config, "e/f"), config_value(config, "a/b", "none")) == (4, "none")


def test_parents_are_looked_for_beside_the_file_and_in_given_folders(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write(tmp_path / "models", "default", {"a": 1})
    path = write(tmp_path, "child", {"inherits": "default"})
    assert read_htc_config(path, [tmp_path / "models"]) == {"a": 1}
    with pytest.raises(MissingFile, match="no configuration 'default'"):
        read_htc_config(path)


def test_what_cannot_be_resolved_is_told(tmp_path: Path) -> None:
    write(tmp_path, "a", {"inherits": "b"})
    write(tmp_path, "b", {"inherits": "a"})
    with pytest.raises(ConfigError, match=r"inherits itself \(a.json → b.json → a.json\)"):
        read_htc_config(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="is not valid JSON"):
        read_htc_config(write(tmp_path, "c", "{"))
    with pytest.raises(ConfigError, match="holds no table"):
        read_htc_config(write(tmp_path, "d", [1]))
    with pytest.raises(ConfigError, match="'x_extends' extends 'x', which is no list"):
        read_htc_config(write(tmp_path, "e", {"x": 1, "x_extends": [2]}))
