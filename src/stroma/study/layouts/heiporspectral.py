"""The layout of HeiPorSPECTRAL: `data/subjects/<subject>/<timestamp>/<timestamp>_SpecCube.dat` and annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import read_json
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import (
    Proposal,
    Recognition,
    Scan,
    annotation_table,
    catalog_table,
    identifier,
    image_counts,
)
from stroma.study.listing import Listing, Problem, is_hidden, list_files

_SETTINGS = "dataset_settings.json"
_CUBE = "_SpecCube.dat"
_TIMESTAMP = "%Y_%m_%d_%H_%M_%S"


@dataclass(frozen=True)
class HeiPorSpectral:
    """Studies in the folder scheme of HeiPorSPECTRAL (Studier-Fischer et al. 2023).

    The root is the data set or its folder `data`. An image is `<subject>/<timestamp>` with
    `<timestamp>_SpecCube.dat` in it, and its id is `<subject>#<timestamp>`. Annotations are 1-bit PNGs
    `annotations/<timestamp>#<layer>#<annotator>#<label>#binary.png`. Patient files (`*.xml`) are never opened.
    """

    @classmethod
    def recognise(cls, root: Path) -> Recognition | None:
        """Recognise a root by its folder `subjects` with `dataset_settings.json` beside it, or a cube inside."""
        subjects = _subjects(root)
        if subjects is None:
            return None
        if (root / subjects).with_name(_SETTINGS).is_file():
            return Recognition("heiporspectral", f"'{subjects}' with {_SETTINGS} beside it")
        cube = next((root / subjects).glob(f"*/*/*{_CUBE}"), None)
        return Recognition("heiporspectral", f"'{subjects}' with cubes such as {cube.name}") if cube else None

    def listing(self, root: Path) -> Listing:
        """List the folder `subjects`; intermediates and further experiments beside it are not looked at.

        Raises:
            MissingFile: there is no such folder.
        """
        subjects = _subjects(root)
        if subjects is None:
            raise MissingFile("has neither a folder 'data/subjects' nor 'subjects'", where=root)
        listing = list_files(root, subjects)
        settings = Path(subjects).with_name(_SETTINGS).as_posix()
        if (root / settings).is_file():
            return replace(listing, files={settings: (root / settings).stat().st_size, **listing.files})
        return listing

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens only `<timestamp>_meta.json` and `dataset_settings.json`.

        The catalog has further columns `timestamp`, `camera`, `height`, `width` where they are known, and the
        plain values of the image's meta file; values kept per label (`situs`, `angle`) are null where the
        labels of an image differ in them.
        """
        subjects = _subjects(listing.root)
        settings = _settings(listing.root)
        problems = list(listing.problems)
        rows: list[dict[str, Any]] = []
        annotations: list[dict[str, str]] = []
        for folder, files in _image_folders(listing, subjects or "", problems):
            row = _image(listing, folder, files, settings, problems)
            if row:
                rows.append(row)
                annotations += _annotations(row["image_id"], folder, files, problems)
        return Scan(
            catalog_table(rows, where=listing.root),
            annotation_table(annotations),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take the labels from `dataset_settings.json`, else from the names of the annotation files."""
        settings = _settings(listing.root)
        labels: LabelMapping | None
        if settings.get("label_mapping"):
            labels = labels_from_settings(settings, where=listing.root)
            note = f"labels, their order and what is not annotated are taken from {_SETTINGS}"
        else:
            names = scan.annotations["label"].drop_nulls().unique().sort().to_list()
            labels = LabelMapping.of(names) if names else None
            note = f"there is no {_SETTINGS}: labels are taken from the names of the annotation files"
        counts = image_counts(scan.annotations, labels.names if labels else ())
        return Proposal(labels, counts=counts, notes=(note,))


def labels_from_settings(settings: Mapping[str, Any], *, where: Path) -> LabelMapping:
    """The label mapping of a `dataset_settings.json`.

    Labels up to `last_valid_label_index` (default: all below 100) are classes, in the order of
    `label_ordering` where it is given, else of their index; the others (overlap, unlabeled) are not annotated.

    Raises:
        InvalidData: `label_mapping` is no table of names and whole numbers.
    """
    mapping = settings["label_mapping"]
    if not isinstance(mapping, dict) or not all(type(index) is int for index in mapping.values()):
        raise InvalidData("label_mapping is no table from names to whole numbers", where=where / _SETTINGS)
    last = settings.get("last_valid_label_index", 99)
    ordering = settings.get("label_ordering", {})
    valid = [name for name, index in mapping.items() if index <= last]
    names = sorted(valid, key=lambda name: (str(ordering.get(name, "")), mapping[name]))
    invalid = [name for name in mapping if name not in valid]
    given = settings.get("label_colors", {})
    return LabelMapping(
        names=tuple(names),
        colours={name: _hex(given[name]) for name in names if name in given},
        sources={mapping[name]: name for name in sorted(valid, key=lambda name: int(mapping[name]))},
        ignore=tuple(sorted({mapping[name] for name in invalid} | {255})) + tuple(invalid),
    )


def _hex(colour: str) -> str:
    return "#" + colour.lstrip("#")[:6].lower()


def _subjects(root: Path) -> str | None:
    """The folder `subjects` relative to the root."""
    return next((folder for folder in ("data/subjects", "subjects") if (root / folder).is_dir()), None)


def _settings(root: Path) -> dict[str, Any]:
    """Read `dataset_settings.json` beside the folder `subjects`; empty if there is none."""
    path = (root / (_subjects(root) or "")).with_name(_SETTINGS)
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise InvalidData("holds no table of settings", where=path)
    return content


def _image_folders(listing: Listing, subjects: str, problems: list[Problem]) -> Iterator[tuple[str, dict[str, int]]]:
    """Each `<subject>/<timestamp>` folder with the files below it (path relative to it → size)."""
    depth = len(subjects.split("/"))
    folders: dict[str, dict[str, int]] = {}
    for path in listing.folders:
        if is_hidden(path) and path.count("/") <= depth + 1:
            problems.append(Problem(path, "is a hidden folder; it is left out", harmless=True))
        elif path.count("/") == depth + 1:
            folders[path] = {}
    for path, size in listing.files.items():
        parts = path.split("/", depth + 2)
        if len(parts) == depth + 3:
            folder = "/".join(parts[:-1])
            if folder in folders:
                folders[folder][parts[-1]] = size
        elif path.startswith(f"{subjects}/"):
            problems.append(Problem(path, "is a file where a folder is expected; it is left out", harmless=True))
    yield from folders.items()


def _image(
    listing: Listing,
    folder: str,
    files: dict[str, int],
    settings: Mapping[str, Any],
    problems: list[Problem],
) -> dict[str, Any] | None:
    """The catalog row of an image folder, or None when it has no usable cube."""
    *_, subject, name = folder.split("/")
    cube = f"{name}{_CUBE}"
    if cube not in files:
        others = [file for file in files if file.endswith(_CUBE)]
        found = f", only {others[0]}" if others else ""
        problems.append(Problem(folder, f"has no cube {cube}{found}; the image is left out"))
        return None
    row: dict[str, Any] = {
        "image_id": identifier(f"{subject}#{name}"),
        "subject_id": identifier(subject),
        "path": f"{folder}/{cube}",
        "timestamp": _timestamp(name),
        "camera": None,
    }
    shape = settings.get("shape")
    if isinstance(shape, list) and len(shape) == 3:
        needed = 12 + 4 * shape[0] * shape[1] * shape[2]
        if files[cube] != needed:
            size = f"is {files[cube]:,} bytes, a cube of {shape[1]}×{shape[0]}×{shape[2]} needs {needed:,}"
            problems.append(Problem(row["path"], f"{size}; the image is left out"))
            return None
        row |= {"height": shape[0], "width": shape[1]}
    meta = f"annotations/{name}_meta.json"
    if meta in files:
        row |= {
            key: value for key, value in _metadata(listing, f"{folder}/{meta}", problems).items() if key not in row
        }
    row["camera"] = row.pop("camera_name", None)
    return row


def _timestamp(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, _TIMESTAMP)
    except ValueError:
        return None


def _metadata(listing: Listing, path: str, problems: list[Problem]) -> dict[str, Any]:
    """The plain values of a meta file, and those of its labels on which all labels agree."""
    try:
        with stage("read"):
            content = json.loads((listing.root / path).read_bytes())
        labels = content.get("label_meta", {})
        keys = dict.fromkeys(key for values in labels.values() for key in values)
        agreed = {key: [values.get(key) for values in labels.values()] for key in keys}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        problems.append(Problem(path, f"is no readable meta file ({error}); the image has no metadata"))
        return {}
    row = {key: found[0] for key, found in agreed.items() if all(value == found[0] for value in found)}
    row |= {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    if isinstance(content.get("image_labels"), list):
        row["image_labels"] = [str(label) for label in content["image_labels"]]
    return row


def _annotations(
    image_id: str, folder: str, files: dict[str, int], problems: list[Problem]
) -> Iterator[dict[str, str]]:
    """One row for each `<timestamp>#<layer>#<annotator>#<label>#binary.png`."""
    name = folder.rpartition("/")[2]
    for file in files:
        if not file.startswith("annotations/") or is_hidden(file):
            continue
        parts = file.removeprefix("annotations/").split("#")
        if len(parts) == 5 and parts[0] == name and parts[4] == "binary.png":
            _, layer, annotator, label, _ = parts
            yield {
                "image_id": image_id,
                "layer": layer,
                "annotator": annotator,
                "kind": "mask-binary",
                "label": label,
                "path": f"{folder}/{file}",
            }
        elif len(parts) > 1 and not _is_companion(parts, files):
            problems.append(
                Problem(f"{folder}/{file}", "is an annotation of a kind that is not read; it is left out")
            )


def _is_companion(parts: list[str], files: dict[str, int]) -> bool:
    """Polygon corners whose mask is there too, and masks of colour charts, which annotate no tissue."""
    mask = "annotations/" + "#".join([*parts[:-1], "binary.png"])
    return (parts[-1] == "coordinates.csv" and mask in files) or parts[1] == "squares"
