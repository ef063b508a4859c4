import json
from importlib.metadata import EntryPoint

import pytest
from pydantic import Field

from stroma.core.component import Component
from stroma.core.config import Section, apply_overrides, build, load_config, merge
from stroma.core.errors import ConfigError, MissingFile, StromaError, UsageError
from stroma.core.registry import Registry


class Inner(Section):
    learning_rate: float = Field(1e-3, gt=0)
    names: tuple[str, ...] = ()


class Outer(Section):
    inner: Inner = Inner()
    other: Inner | None = None
    model: Component = Component(name="unet")
    seed: int = 0


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_extends_merges_mappings_and_replaces_lists(tmp_path):
    write(tmp_path / "base.yaml", "inner: {learning_rate: 0.1, names: [a, b]}\nseed: 3\n")
    child = write(tmp_path / "child.yaml", "extends: base.yaml\ninner: {names: [c]}\n")
    config = load_config(child, Outer)
    assert (config.inner.learning_rate, config.inner.names, config.seed) == (0.1, ("c",), 3)


def test_later_parents_win_and_the_file_wins_over_all(tmp_path):
    write(tmp_path / "a.yaml", "seed: 1\ninner: {learning_rate: 0.5}")
    write(tmp_path / "b.yaml", "seed: 2")
    config = load_config(write(tmp_path / "c.yaml", "extends: [a.yaml, b.yaml]\n"), Outer)
    assert (config.seed, config.inner.learning_rate) == (2, 0.5)


def test_a_circle_of_extends_is_named(tmp_path):
    write(tmp_path / "a.yaml", "extends: b.yaml")
    write(tmp_path / "b.yaml", "extends: a.yaml")
    with pytest.raises(ConfigError, match="a.yaml → b.yaml → a.yaml"):
        load_config(tmp_path / "a.yaml", Outer)


@pytest.mark.parametrize("value", ["5", "[1]", "{a: b}"])
def test_extends_that_names_no_files_is_told(tmp_path, value):
    with pytest.raises(ConfigError, match="'extends' is .* Name one file, or a list of files"):
        load_config(write(tmp_path / "a.yaml", f"extends: {value}\n"), Outer)


def test_set_overrides_are_read_as_yaml(tmp_path):
    path = write(tmp_path / "c.yaml", "")
    config = load_config(path, Outer, ["inner.learning_rate=0.2", "inner.names=[x, y]", "seed=7"])
    assert (config.inner.learning_rate, config.inner.names, config.seed) == (0.2, ("x", "y"), 7)


def test_an_unknown_key_names_the_nearest_one(tmp_path):
    path = write(tmp_path / "c.yaml", "inner: {lerning_rate: 1}")
    with pytest.raises(
        ConfigError, match=r"unknown key 'inner.lerning_rate'. Did you mean 'learning_rate'\?"
    ) as error:
        load_config(path, Outer)
    assert error.value.exit_code == 2


def test_an_unknown_key_below_an_optional_section_is_found():
    with pytest.raises(ConfigError, match="Did you mean 'names'"):
        build(Outer, {"other": {"nmes": []}})


def test_a_wrong_value_names_key_and_value():
    with pytest.raises(ConfigError, match="'inner.learning_rate' is -1: input should be greater than 0"):
        build(Outer, {"inner": {"learning_rate": -1}})


@pytest.mark.parametrize("text", ["novalue", "=3", "a=[1,"])
def test_a_broken_override_is_a_config_error(text):
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({}, [text])


@pytest.mark.parametrize(("text", "message"), [("a: [1", "not valid YAML"), ("- 1", "mapping of sections")])
def test_a_file_that_is_no_configuration_says_so(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path / "c.yaml", text), Outer)


def test_yaml_cannot_execute_code(tmp_path):
    path = write(tmp_path / "c.yaml", "seed: !!python/object/apply:os.system ['touch hacked']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path, Outer)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFile, match="nowhere.yaml"):
        load_config(tmp_path / "nowhere.yaml", Outer)


def test_a_component_of_another_name_drops_the_old_parameters():
    merged = merge({"model": {"name": "unet", "depth": 3}}, {"model": {"name": "fpn"}})
    assert merged == {"model": {"name": "fpn"}}
    assert merge({"model": {"name": "unet", "depth": 3}}, {"model": {"encoder": "x"}})["model"]["depth"] == 3


def test_components_check_their_parameters():
    registry = Registry("tests.things", {"path": "pathlib:PurePosixPath", "rle": "tests.core.test_config:thing"})
    assert Component.model_validate({"name": "rle", "size": 4}).make(registry, 1) == (1, 4)
    with pytest.raises(ConfigError, match="'rle' of tests.things has no parameter 'sise'. Did you mean 'size'"):
        Component.model_validate({"name": "rle", "sise": 4}).make(registry, 1)
    with pytest.raises(UsageError, match="Did you mean 'rle'"):
        Component.model_validate("rl").make(registry)


def test_a_plug_in_that_cannot_be_imported_is_told_with_its_package():
    registry = Registry("tests.things", {"path": "pathlib:PurePosixPath"})
    registry.plugins = {"broken": EntryPoint("broken", "no_such_package:thing", "tests.things")}
    assert registry.names() == ["path", "broken"]
    with pytest.raises(StromaError, match=r"tests.things: the plug-in 'broken' \(no_such_package:thing\) cannot"):
        registry.get("broken")
    getattribute, names = registry.attributes()
    assert (names(), getattribute("path")("a").name) == (["path"], "a")
    with pytest.raises(AttributeError, match="'tests.things' has no attribute 'broken'"):
        getattribute("broken")


def thing(first, size=2):
    return first, size


def test_every_section_has_a_json_schema():
    schema = Outer.model_json_schema()
    assert json.dumps(schema) and schema["additionalProperties"] is False


def test_of_several_problems_the_first_is_told_and_the_others_counted():
    with pytest.raises(ConfigError, match=r"unknown key 'a'.*\(1 more problem\)"):
        build(Outer, {"a": 1, "b": 2})
    with pytest.raises(ConfigError, match=f"'seed' is '{'x' * 56}…: "):
        build(Outer, {"seed": "x" * 100})
