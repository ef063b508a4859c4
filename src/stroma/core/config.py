"""Configuration: closed sections, `extends`, `--set`, and errors that name the nearest key."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stroma.core.errors import ConfigError, MissingFile, nearest
from stroma.core.text import plural

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A part of a configuration: immutable, closed (an unknown key is an error), checked when made."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def load_config(path: Path, model: type[S], overrides: Iterable[str] = ()) -> S:
    """Read a YAML (or JSON) file, resolve its `extends`, apply `--set` overrides and check it.

    Args:
        path: The file. Its key `extends` may name one file or a list, relative to the file itself;
            mappings merge, lists and values replace, later parents win over earlier ones, the file over all.
        model: The configuration's type.
        overrides: `a.b=value` texts, the value read as YAML.

    Raises:
        MissingFile: the file or one it extends does not exist.
        ConfigError: not a mapping, an unknown key (with the nearest one), a wrong value, a circle of `extends`.
    """
    values = apply_overrides(read_mapping(Path(path)), overrides)
    return build(model, values, where=path)


def read_mapping(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a YAML file and everything it extends into one mapping without the key `extends`."""
    path = Path(path)
    if path.resolve() in _seen:
        circle = " → ".join(p.name for p in (*_seen, path))
        raise ConfigError(f"extends itself ({circle})", where=path, next_step="Remove one of these 'extends'")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFile("there is no such configuration file", where=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not valid YAML ({error})", where=path) from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"holds a {type(content).__name__} where a mapping of sections is needed", where=path)
    parents = content.pop("extends", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not (isinstance(parents, list) and all(isinstance(parent, str) for parent in parents)):
        raise ConfigError(f"'extends' is {parents!r}", where=path, next_step="Name one file, or a list of files")
    merged: dict[str, Any] = {}
    for parent in parents:
        merged = merge(merged, read_mapping(path.parent / parent, (*_seen, path.resolve())))
    return merge(merged, content)


def merge(base: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configurations: mappings merge key by key, everything else of `child` replaces.

    A component (a mapping with `name`) of another name replaces the whole component, since its parameters
    belong to the old name.
    """
    merged = dict(base)
    for key, value in child.items():
        old = merged.get(key)
        same_component = not (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and "name" in old
            and "name" in value
            and old["name"] != value["name"]
        )
        if isinstance(old, Mapping) and isinstance(value, Mapping) and same_component:
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply `a.b=value` texts to a mapping.

    Raises:
        ConfigError: a text without `=`, or a value that is not YAML.
    """
    result = dict(values)
    for text in overrides:
        key, equals, raw = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"cannot read '--set {text}'", next_step="Write it as --set section.key=value")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of '--set {text}' is not valid YAML ({error})") from error
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def build(model: type[S], values: Mapping[str, Any], *, where: Path | str | None = None) -> S:
    """Check `values` against `model`.

    Raises:
        ConfigError: names the key (dotted), the value and, for an unknown key, the nearest known one.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_explain(error, model), where=where) from error


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    details = error.errors(include_url=False)
    first = details[0]
    more = f" ({plural(len(details) - 1, 'more problem')})" if len(details) > 1 else ""
    return _explain_one(first, model) + more


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = detail["loc"]
    key = ".".join(str(part) for part in location) or "the configuration"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"unknown key '{key}'. {nearest(str(location[-1]), known)}".rstrip()
    if detail["type"] == "missing":
        return f"the key '{key}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not location:  # of all keys together: the whole configuration is no value to show
        return message
    shown = repr(detail["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return f"'{key}' is {shown}: {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields of the (sub-)model that `location` leads to."""
    current: list[type[BaseModel]] = [model]
    for part in location:
        following = [
            inner
            for candidate in current
            if part in candidate.model_fields
            for inner in _models_in(candidate.model_fields[str(part)].annotation)
        ]
        current = following or current
    return sorted({name for candidate in current for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]
    return []


def to_plain(section: BaseModel, exclude: set[str] | None = None) -> dict[str, Any]:
    """The section as plain JSON values, complete with defaults; for settings and files."""
    return section.model_dump(mode="json", exclude=exclude)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML text with keys in the given order."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
