"""`dataset_settings.json`: shape, labels and names of a data set of htc."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from stroma.core.errors import InvalidData
from stroma.core.files import read_json
from stroma.study.htc.names import parse_timestamp
from stroma.study.labels import LabelMapping

SETTINGS_FILE = "dataset_settings.json"
_LAST_VALID = 99


@dataclass(frozen=True)
class DatasetSettings:
    """What a `dataset_settings.json` says; empty where there is none.

    Attributes:
        content: All of it, also keys that Stroma does not use.
        path: The file.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file.

        Raises:
            InvalidData: it is no JSON table, or a key that Stroma uses has a wrong value.
        """
        path = Path(path)
        content = read_json(path)
        if not isinstance(content, dict):
            raise InvalidData("holds no table of settings", where=path)
        settings = cls(content, path)
        settings._check()
        return settings

    @classmethod
    def nearest(cls, folder: Path, top: Path) -> Self:
        """The file in `folder` or the nearest folder above it, not above `top`; empty when there is none."""
        for place in (folder, *folder.parents):
            if (place / SETTINGS_FILE).is_file():
                return cls.load(place / SETTINGS_FILE)
            if place == top:
                break
        return cls()

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(height, width, channels) of every cube."""
        shape = self.content.get("shape")
        return None if shape is None else (shape[0], shape[1], shape[2])

    @property
    def default_annotations(self) -> tuple[str, ...]:
        """Annotations that are meant when none is named; `a&b` or a list in the file."""
        value = self.content.get("annotation_name_default", ())
        return tuple(value.split("&")) if isinstance(value, str) else tuple(value)

    @property
    def path_class(self) -> str:
        """Name of the class with which htc reads the folders, without its module: `DataPathMultiorgan`."""
        return str(self.content.get("data_path_class", "")).rpartition(">")[2]

    def labels(self) -> LabelMapping | None:
        """The label mapping, or None."""
        if not self.content.get("label_mapping"):
            return None
        return labels_from_settings(self.content, where=self.path or Path(SETTINGS_FILE))

    def _check(self) -> None:
        for key, value in self.content.items():
            is_right, wanted = _WANTED.get(key, (_anything, ""))
            if not is_right(value):
                raise InvalidData(f"{key} is {_shown(value)}, {wanted}", where=self.path)


def _anything(value: Any) -> bool:
    return True


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(n) is int and n > 0 for n in value)


def _is_name_or_names(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _is_colour_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(c, str) and _COLOUR.fullmatch(c) for c in value.values())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


_COLOUR = re.compile("#?[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?")
_WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "shape": (_is_shape, "not three positive whole numbers"),
    "shape_names": (
        lambda value: value == ["height", "width", "channels"],
        "only height, width, channels in this order are read",
    ),
    "data_path_class": (lambda value: isinstance(value, str), "not the name of a class"),
    "label_mapping": (
        lambda value: isinstance(value, dict) and all(type(index) is int for index in value.values()),
        "no table from names to whole numbers",
    ),
    "last_valid_label_index": (lambda value: type(value) is int, "no whole number"),
    "label_ordering": (lambda value: isinstance(value, dict), "no table from labels to their order"),
    "label_colors": (_is_colour_table, "no table from labels to colours such as #D0856D"),
    "annotation_name_default": (_is_name_or_names, "no name or names of annotations"),
    "camera_name_changes": (
        lambda value: isinstance(value, dict) and all(isinstance(change, dict) for change in value.values()),
        "no table from cameras to changes",
    ),
}
"""Keys that Stroma uses: whether a value can be right, and what is said of one that is not."""


def labels_from_settings(settings: Mapping[str, Any], *, where: Path) -> LabelMapping:
    """The label mapping of a `dataset_settings.json`.

    Labels up to `last_valid_label_index` (default: all below 100) are classes, in the order of
    `label_ordering` where it is given, else of their index; the others (overlap, unlabeled) are not annotated.

    Args:
        settings: Content of the file.
        where: The file, or the folder that it lies in.

    Raises:
        InvalidData: `label_mapping` is no table of names and whole numbers.
    """
    where = where / SETTINGS_FILE if where.is_dir() else where
    mapping = settings["label_mapping"]
    if not isinstance(mapping, dict) or not all(type(index) is int for index in mapping.values()):
        raise InvalidData("label_mapping is no table from names to whole numbers", where=where)
    last = settings.get("last_valid_label_index", _LAST_VALID)
    ordering = settings.get("label_ordering", {})
    valid = [name for name, index in mapping.items() if index <= last]
    if not valid:
        raise InvalidData(f"label_mapping has no label up to last_valid_label_index ({last})", where=where)
    first = {index: name for name, index in reversed(mapping.items())}  # several names of one index: the first
    names = sorted({first[mapping[name]] for name in valid}, key=lambda n: (str(ordering.get(n, "")), mapping[n]))
    invalid = [name for name in mapping if name not in valid]
    given = settings.get("label_colors", {})
    return LabelMapping(
        names=tuple(names),
        colours={name: hex_colour(given[name]) for name in names if name in given},
        sources={mapping[name]: name for name in sorted(names, key=lambda name: int(mapping[name]))},
        aliases={name: first[mapping[name]] for name in valid if name != first[mapping[name]]},
        ignore=tuple(sorted({mapping[name] for name in invalid} | {255})) + tuple(invalid),
    )


def hex_colour(colour: str) -> str:
    """`#rrggbb` from `#RRGGBB` or `#RRGGBBAA`, with or without `#`."""
    return "#" + colour.lstrip("#")[:6].lower()


def camera_name(camera_id: str, timestamp: datetime | None, settings: DatasetSettings) -> str:
    """Name of a camera: its id and in which state of calibration it was (`0102-00085_correct-1`).

    The key `camera_name_changes` says from when on a camera counts as another one.

    Raises:
        InvalidData: a change has no date, or no name for the time before or after.
    """
    change = settings.content.get("camera_name_changes", {}).get(camera_id)
    if change is None:
        return f"{camera_id}_correct-1"
    try:
        date = parse_timestamp(str(change["change_date"]))
        before, after = change["suffix_before"], change["suffix_after"]
    except (KeyError, TypeError) as error:
        raise InvalidData(f"camera_name_changes of {camera_id} lacks {error}", where=settings.path) from error
    if date is None:
        raise InvalidData(
            f"camera_name_changes of {camera_id} has the date '{change['change_date']}', no timestamp",
            where=settings.path,
        )
    return f"{camera_id}_{before if timestamp is not None and timestamp < date else after}"
