"""JSON configurations of htc: comments, `inherits`, `inherits_skip` and `…_extends` resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stroma.core.clock import stage
from stroma.core.errors import ConfigError, MissingFile

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|#[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
_EXTENDS = "_extends"
_INHERITANCE = ("inherits", "inherits_skip")


def read_htc_config(path: Path | str, search: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a configuration with everything that it inherits.

    A value of the file goes before that of its first parent, that before the second. `a_extends` adds to the list
    `a`, of the file itself or of a parent, parents first.

    Args:
        path: The file; `.json` may be left out.
        search: Folders in which parents are looked for, besides that of the file that names them.

    Returns:
        Nested tables; keys written as `input/data_spec` are split.

    Raises:
        MissingFile: there is no such file, or no such parent.
        ConfigError: it is no JSON table, inherits itself, or extends what is no list.
    """
    values, pending = _resolve(_find(str(path), [Path(), *search], None), search, ())
    for key, added in pending:
        _append(values, key, added, Path(path), [])
    return values


def config_value(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The value of `input/data_spec` in nested tables, or `default`."""
    value: Any = config
    for part in key.split("/"):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def parse_json(text: str, *, where: Path) -> Any:
    """JSON with comments (`//`, `#`, `/* */`) and trailing commas.

    Raises:
        ConfigError: it is none.
    """
    plain = _TOKEN.sub(lambda match: match[0] if match[0].startswith('"') else "", text)
    plain = _TRAILING_COMMA.sub(lambda match: match[1] or "", plain)
    try:
        return json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not valid JSON ({error})", where=where) from error


def read_commented_json(path: Path) -> Any:
    """Read a JSON file with comments.

    Raises:
        ConfigError: it is none.
    """
    try:
        with stage("read"):
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is no text ({error})", where=path) from error
    return parse_json(text, where=path)


def _resolve(
    path: Path, search: Sequence[Path], seen: tuple[Path, ...]
) -> tuple[dict[str, Any], list[tuple[str, list[Any]]]]:
    """Values with all parents merged, and what is to be appended to lists that are not there yet, in order."""
    if path.resolve() in seen:
        circle = " → ".join(place.name for place in (*seen, path))
        raise ConfigError(f"inherits itself ({circle})", where=path)
    content = read_commented_json(path)
    if not isinstance(content, dict):
        raise ConfigError("holds no table", where=path)
    own = _nested(content)
    named, skipped = (own.pop(key, []) for key in _INHERITANCE)
    parents = [named] if isinstance(named, str) else list(named)
    own_extensions = list(_take_extensions(own))
    merged, extensions = own, []
    for name in parents:
        parent, more = _resolve(_find(str(name), [path.parent, *search], path), search, (*seen, path.resolve()))
        for key in [skipped] if isinstance(skipped, str) else skipped:
            _remove(parent, key)
            more = [entry for entry in more if entry[0] != key]
        merged = _merged(merged, parent)
        extensions += more
    pending = [entry for entry in extensions + own_extensions if not _append(merged, *entry, path)]
    return merged, pending


def _find(name: str, folders: Sequence[Path], where: Path | None) -> Path:
    places = [folder / f"{name}{ending}" for folder in folders for ending in ("", ".json")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(folder) for folder in folders)
        raise MissingFile(f"there is no configuration '{name}' (looked in {looked})", where=where)
    return found


def _nested(content: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in tables, from keys with `/`."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        inner = _nested(value) if isinstance(value, dict) else value
        for part in reversed(key.split("/")[1:]):
            inner = {part: inner}
        result = _merged({key.split("/")[0]: inner}, result)
    return result


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables; where they differ, the first one counts."""
    result = dict(second)
    for key, value in first.items():
        old = result.get(key)
        result[key] = _merged(value, old) if isinstance(value, dict) and isinstance(old, dict) else value
    return result


def _take_extensions(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Remove every `a_extends` and yield (`section/a`, what it adds)."""
    for key in list(values):
        if isinstance(values[key], dict):
            yield from _take_extensions(values[key], f"{above}{key}/")
        elif key.endswith(_EXTENDS):
            added = values.pop(key)
            yield above + key.removesuffix(_EXTENDS), added if isinstance(added, list) else [added]


def _append(values: dict[str, Any], key: str, added: list[Any], path: Path, default: list[Any] | None = None) -> bool:
    """Append to the list `key`; whether there is one, or a default for it."""
    base = config_value(values, key, default)
    if base is None:
        return False
    if not isinstance(base, list):
        raise ConfigError(f"'{key}{_EXTENDS}' extends '{key}', which is no list", where=path)
    *sections, name = key.split("/")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = [*base, *added]
    return True


def _remove(values: dict[str, Any], key: str) -> None:
    *sections, name = key.split("/")
    table: Any = values
    for section in sections:
        table = table.get(section, {}) if isinstance(table, dict) else {}
    if isinstance(table, dict):
        table.pop(name, None)
