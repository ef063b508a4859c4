"""Data specifications of htc: which image is used for what in which fold; from them to `Splits` and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.files import write_text
from stroma.study.htc.config import read_commented_json
from stroma.study.htc.names import ImageName
from stroma.study.splits import Splits

_ROLES = {"train": "train", "val": "validation", "test": "test"}
_KINDS = re.compile("train|val|test")
_KEYS = ("image_names", "data_path_class")


@dataclass(frozen=True)
class DataSpec:
    """A data specification.

    Attributes:
        splits: Folds and roles; the name of a set is that of the specification (`train_semantic`). A set `val…`
            all of whose subjects also train, beside one of new subjects or called `known`, has the role extra: it
            chooses no checkpoint.
        annotations: Image id → annotations that are meant (`semantic#primary`), where the names carry them.
        classes: Set → `data_path_class`, where given.
        folds: Names of the folds in the order of the file; others are written after them.
        sets: Names of the sets in the order of the file; others are written after them.
    """

    splits: Splits
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


def read_data_spec(path: Path | str, subjects: Mapping[str, str] | None = None) -> DataSpec:
    """Read a data specification.

    Args:
        path: JSON; comments are allowed.
        subjects: Image id → subject; default: the first part of the id.

    Raises:
        MissingFile: there is no such file.
        ConfigError: it is no JSON.
        InvalidData: it does not follow the format; the message names fold, set and value.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such data specification", where=path)
    folds = read_commented_json(path)
    if not isinstance(folds, list) or not folds:
        raise InvalidData("holds no list of folds", where=path)
    rows: list[tuple[int, str, str, str, str]] = []
    annotations: dict[str, tuple[str, ...]] = {}
    classes: dict[str, str] = {}
    names_seen: set[str] = set()
    first_sets: list[str] | None = None
    for fold in folds:
        name, sets = _fold(fold, path)
        if name in names_seen:
            raise InvalidData(f"has the fold '{name}' twice", where=path)
        names_seen.add(name)
        visible = [key for key in sets if not key.startswith("test")]
        first_sets = visible if first_sets is None else first_sets
        if visible != first_sets:
            raise InvalidData(f"the fold '{name}' has the sets {visible}, the first one {first_sets}", where=path)
        images = {
            key: _parsed(names, f"the set '{key}' of the fold '{name}'", path) for key, (names, _) in sets.items()
        }
        classes |= {key: given for key, (_, given) in sets.items() if given}
        annotations |= {n.image_id: n.annotations for found in images.values() for n in found if n.annotations}
        known = _known_sets({key: {_subject(n, subjects) for n in found} for key, found in images.items()})
        for key, found in images.items():
            role = "extra" if key in known else _ROLES[_kind(key)]
            rows += [(0, name, key, role, image.image_id) for image in found]
    table = pl.DataFrame(rows, schema=["outer", "fold", "set", "role", "image_id"], orient="row")
    order = tuple(dict.fromkeys(key for fold in folds for key in fold if key != "fold_name"))
    return DataSpec(Splits.of(table, where=path), annotations, classes, tuple(f["fold_name"] for f in folds), order)


def _known_sets(owners: Mapping[str, set[str]]) -> set[str]:
    """Sets `val…` of a fold that are about subjects which also train, on purpose.

    All their subjects train, and they are called so or stand beside a set of new subjects. A set that shares some
    subjects, or the only one of a fold, is no such set but a leak, which `Splits.check` names.
    """
    trained = set[str]().union(*(names for key, names in owners.items() if _kind(key) == "train"))
    inside = {key for key, names in owners.items() if _kind(key) == "val" and names and names <= trained}
    beside = any(_kind(key) == "val" and names.isdisjoint(trained) for key, names in owners.items() if names)
    return {key for key in inside if beside or "known" in key}


def write_data_spec(spec: DataSpec, path: Path | str) -> Path:
    """Write a data specification; folds, sets, names and annotations as they were read, names sorted.

    Sets of ours get names that htc reads: `validation…` becomes `val…`, and the roles decide about the order.

    Raises:
        InvalidData: a set has a name that does not begin with train, val or test, or there are several outer folds.
    """
    table = spec.splits.table
    if table["outer"].n_unique() > 1:
        raise InvalidData(
            "the splits have several outer folds, a data specification holds one",
            where=path,
            next_step="Write one file for each: write_data_specs",
        )
    sets = _in_order(spec.splits.sets, spec.sets)  # also those that are empty in a fold
    folds = [_plain_fold(spec, fold, sets) for fold in _in_order(spec.splits.folds, spec.folds)]
    return write_text(Path(path), json.dumps(folds, indent=4, ensure_ascii=False) + "\n")


def write_data_specs(spec: DataSpec, path: Path | str) -> list[Path]:
    """Write a data specification for each outer fold: `<name>_nested-<i>-<last>.json`, or one file without any."""
    path = Path(path)
    outer = spec.splits.table["outer"].unique().sort().to_list()
    if len(outer) < 2:
        return [write_data_spec(spec, path)]
    return [
        write_data_spec(
            replace(spec, splits=Splits(spec.splits.table.filter(pl.col("outer") == number))),
            path.with_name(f"{path.stem}_nested-{place}-{len(outer) - 1}{path.suffix}"),
        )
        for place, number in enumerate(outer)
    ]


def _is_name(image_id: str) -> bool:
    return "@" not in image_id and all(image_id.split("#"))


def _in_order(names: Sequence[str], order: Sequence[str]) -> list[str]:
    """Names of `order` first, and in its order; a name that only stands there is one whose rows are all missing."""
    return [*order, *(name for name in names if name not in order)]


def _plain_fold(spec: DataSpec, fold: str, sets: Sequence[str]) -> dict[str, Any]:
    rows = spec.splits.table.filter(fold=fold)
    content: dict[str, Any] = {"fold_name": fold}
    for name in sets:
        key = re.sub("^validation", "val", name)
        if not _KINDS.match(key):
            raise InvalidData(f"the set '{name}' cannot be written: its name begins with no train, val or test")
        ids = rows.filter(set=name)["image_id"].to_list()
        wrong = next((image_id for image_id in ids if not _is_name(image_id)), None)
        if wrong is not None:
            raise InvalidData(
                f"the image '{wrong}' cannot be written: htc's names have '@' before annotations and no empty part",
                next_step="Write the division as .parquet or .csv",
            )
        names = sorted(str(ImageName(image_id, spec.annotations.get(image_id, ()))) for image_id in ids)
        content[key] = {"image_names": names}
        if name in spec.classes:
            content[key]["data_path_class"] = spec.classes[name]
    return content


def _fold(fold: Any, path: Path) -> tuple[str, dict[str, tuple[list[str], str]]]:
    """Name of a fold and its sets: image names and class."""
    if not isinstance(fold, dict) or not isinstance(fold.get("fold_name"), str):
        raise InvalidData("has a fold without 'fold_name'", where=path)
    name = fold["fold_name"]
    sets = {}
    for key, content in fold.items():
        if key == "fold_name":
            continue
        if not _KINDS.match(key):
            raise InvalidData(f"the fold '{name}' has the set '{key}', which is no train, val or test", where=path)
        for problem in _problems(content):
            raise InvalidData(f"the set '{key}' of the fold '{name}' {problem}", where=path)
        sets[key] = (content["image_names"], content.get("data_path_class", ""))
    return name, sets


def _parsed(names: Sequence[str], what: str, path: Path) -> list[ImageName]:
    try:
        return [ImageName.parse(text) for text in names]
    except UsageError as error:
        raise InvalidData(f"{what}: {error.what}", where=path, next_step=error.next_step) from error


def _problems(content: Any) -> Iterator[str]:
    if not isinstance(content, dict) or not isinstance(content.get("image_names"), list):
        yield "has no list 'image_names'"
        return
    names = content["image_names"]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        yield f"has {wrong[0]!r} where an image name is needed"
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        yield f"has the unknown key '{unknown[0]}'"
    twice = [name for name in names if names.count(name) > 1] if len(set(map(str, names))) < len(names) else []
    if twice:
        yield f"has the image '{twice[0]}' twice"


def _kind(key: str) -> str:
    match = _KINDS.match(key)
    return match[0] if match else ""


def _subject(name: ImageName, subjects: Mapping[str, str] | None) -> str:
    return (subjects or {}).get(name.image_id, name.parts[0])
