"""From folders of Tivita recordings to rows of the tables, whatever scheme the folders follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from stroma.core.clock import stage
from stroma.core.collector import paused_collector
from stroma.core.errors import StromaError, nearest
from stroma.study.htc.camera_log import parse_camera_log
from stroma.study.htc.identifiers import is_identifying
from stroma.study.htc.names import parse_timestamp
from stroma.study.htc.patient_file import read_patient_file
from stroma.study.htc.settings import SETTINGS_FILE, DatasetSettings, camera_name
from stroma.study.layouts.layout import Scan, annotation_table, catalog_table, identifier
from stroma.study.listing import Listing, Problem, is_hidden, read_small_file

CUBE = "_SpecCube.dat"
DRAWN = (".png", ".csv", ".nrrd", ".xml")
"""Files below a recording that the tables only name: their sizes do not matter."""
_MITK = ".nrrd"
_NAMED = "DataPathMultiorganNamed"
"""The class of data sets whose meta files say what an image is called."""


@dataclass(frozen=True)
class Folder:
    """The folder of a recording.

    Attributes:
        path: Relative to the root; empty for the root itself.
        files: Path below it → size in bytes.
        timestamp: What the names of its files begin with.
        fields: What the scheme of folders says: `subject`, `location`… They become columns.
        cube_path: The cube, relative to the root, where it lies elsewhere.
    """

    path: str
    files: Mapping[str, int]
    timestamp: str
    fields: Mapping[str, str] = field(default_factory=dict)
    cube_path: str = ""

    @property
    def cube(self) -> str:
        """Name of the cube."""
        return f"{self.timestamp}{CUBE}"

    def inside(self, file: str) -> str:
        """The path of a file below the folder, relative to the root."""
        return f"{self.path}/{file}" if self.path else file


@paused_collector()
def scan_recordings(
    listing: Listing,
    folders: Iterable[Folder],
    name: Callable[[Mapping[str, Any]], str],
    settings: Callable[[str], DatasetSettings],
    problems: list[Problem],
    masks: Mapping[str, tuple[str, tuple[str, ...]]] | None = None,
    with_identifiers: bool = False,
) -> Scan:
    """Make the tables; opens `<timestamp>_meta.log` and `annotations/<timestamp>_meta.json`.

    Args:
        listing: What lies below the root.
        folders: The recordings.
        name: Image id from a row with the fields of the folder, `timestamp` (text) and `camera_id`.
        settings: Settings that hold for a folder.
        problems: What is wrong already; more is added.
        masks: Image id → file of masks of htc and the annotations in it.
        with_identifiers: Whether what could name a patient is kept, and patient files (`*.xml`) are opened.
    """
    recordings: list[tuple[dict[str, Any], dict[str, Any]]] = []
    annotations: list[dict[str, str]] = []
    with stage("read"):
        for folder in folders:
            known = settings(folder.path)
            recording = _read(listing, folder, known, name, problems, with_identifiers)
            if recording is None:
                continue
            recordings.append(recording)
            image_id = recording[0]["image_id"]
            of_htc = (masks or {}).get(image_id)
            of_image = list(_drawn_masks(image_id, folder, problems, of_htc))
            problems += _unknown_labels(of_image, known)
            annotations += of_image
            if of_htc:
                drawn = {_key(one) for one in of_image}
                annotations += [one for one in _masks_of_htc(image_id, *of_htc) if _key(one) not in drawn]
    problems += _without_image(masks or {}, {values["image_id"] for values, _ in recordings})
    return Scan(
        catalog_table(_rows(recordings, with_identifiers), where=listing.root),
        annotation_table(annotations),
        tuple(sorted(problems, key=lambda problem: problem.path)),
    )


def _without_image(masks: Mapping[str, tuple[str, tuple[str, ...]]], images: set[str]) -> Iterator[Problem]:
    """Files of masks that belong to no image; told once, since a part of a data set may have the masks of all."""
    lost = [path for image_id, (path, _) in masks.items() if image_id not in images]
    if lost:
        more = f" (nor do {len(lost) - 1} more files of masks)" if len(lost) > 1 else ""
        yield Problem(lost[0], f"belongs to no image that is there{more}", harmless=True)


def _read(
    listing: Listing,
    folder: Folder,
    settings: DatasetSettings,
    name: Callable[[Mapping[str, Any]], str],
    problems: list[Problem],
    with_identifiers: bool,
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What is known of a recording and what its files say of it, or None when it has no usable cube."""
    cube = folder.cube
    if not folder.cube_path and cube not in folder.files:
        others = [file for file in folder.files if file.lower().endswith(CUBE.lower())]
        hint = f", only {others[0]}" if others else ""
        problems.append(Problem(folder.path, f"has no cube {cube}{hint}; the image is left out"))
        return None
    for other in folder.files if folder.path.endswith(folder.timestamp) else ():
        if other.endswith(CUBE) and other != cube and "/" not in other and not is_hidden(other):
            problems.append(Problem(folder.inside(other), f"is a second cube beside {cube}; it is left out"))
    path = folder.cube_path or folder.inside(cube)
    log = _camera_log(listing, folder, problems)
    if log and not log.get("Camera_CamID"):
        file = folder.inside(f"{folder.timestamp}_meta.log")
        problems.append(Problem(file, "names no camera (CamID), it counts as unknown", harmless=True))
    fields = {**folder.fields, "timestamp": folder.timestamp, "camera_id": str(log.get("Camera_CamID") or "unknown")}
    row: dict[str, Any] = {
        "image_id": identifier(name(fields)),
        "subject_id": identifier(folder.fields["subject"]) if "subject" in folder.fields else None,
        "path": path,
        "timestamp": parse_timestamp(folder.timestamp),
        "camera": None,
    }
    if settings.shape is not None:
        height, width, channels = settings.shape
        size, needed = folder.files.get(cube), 12 + 4 * height * width * channels
        if size is not None and size != needed:
            message = f"is {size:,} bytes, a cube of {width}×{height}×{channels} needs {needed:,}"
            problems.append(Problem(path, f"{message}; the image is left out"))
            return None
        row |= {"height": height, "width": width}
    row |= {key: value for key, value in folder.fields.items() if key not in row and key != "subject"}
    meta = _metadata(listing, folder, problems)
    if settings.path_class == _NAMED and isinstance(meta.get("image_name"), str):
        row["image_id"] = identifier(meta["image_name"])
        meta = {key: value for key, value in meta.items() if key != "image_name"}
    patient = _patient(listing, folder, problems) if with_identifiers else {}
    said = {**patient, **meta, **log}
    given = row.pop("camera_name", said.pop("camera_name", None))
    row["camera"] = given or (camera_name(fields["camera_id"], row["timestamp"], settings) if log else None)
    return row, said


def _rows(
    recordings: Sequence[tuple[dict[str, Any], dict[str, Any]]], with_identifiers: bool
) -> Iterator[dict[str, Any]]:
    """Rows of the catalog; each key of the files is asked once whether it can name a patient."""
    keys = set().union(*(said for _, said in recordings))
    private = set() if with_identifiers else {key for key in keys if is_identifying(key)}
    for known, said in recordings:
        kept = {key: value for key, value in said.items() if key not in private} if private else said
        yield {**known, **kept, **known}


def _patient(listing: Listing, folder: Folder, problems: list[Problem]) -> dict[str, Any]:
    """What the patient files of a recording say."""
    values: dict[str, Any] = {}
    for file in folder.files:
        if file.endswith(".xml") and "/" not in file:
            try:
                values |= read_patient_file(listing.root / folder.inside(file), with_identifiers=True)
            except StromaError as error:
                problems.append(Problem(folder.inside(file), f"{error.what}; it is left out"))
    return values


def _camera_log(listing: Listing, folder: Folder, problems: list[Problem]) -> Mapping[str, Any]:
    file = f"{folder.timestamp}_meta.log"
    if file not in folder.files:
        return {}
    try:
        path = f"{listing.root}/{folder.inside(file)}"
        return parse_camera_log(read_small_file(path), where=path)
    except (StromaError, OSError) as error:
        message = error.what if isinstance(error, StromaError) else str(error)
        problems.append(Problem(folder.inside(file), f"is no readable camera log ({message}); it is left out"))
        return {}


def _metadata(listing: Listing, folder: Folder, problems: list[Problem]) -> Mapping[str, Any]:
    """The plain values of a meta file, and those of its labels on which all labels agree."""
    file = f"annotations/{folder.timestamp}_meta.json"
    if file not in folder.files:
        return {}
    path = folder.inside(file)
    try:
        return _plain_values(read_small_file(f"{listing.root}/{path}"))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        is_form = isinstance(error, AttributeError | TypeError)
        reason = "it, or its label_meta, is no table" if is_form else str(error)
        problems.append(Problem(path, f"is no readable meta file ({reason}); the image has no metadata"))
        return {}


@lru_cache(maxsize=1 << 12)
def _plain_values(content: bytes) -> Mapping[str, Any]:
    """As `_metadata`, from the bytes of the file, which are the same for many images of an organ."""
    meta = json.loads(content)
    labels = meta.get("label_meta", {})
    keys = dict.fromkeys(key for values in labels.values() for key in values)
    agreed = {key: [values.get(key) for values in labels.values()] for key in keys}
    row = {key: found[0] for key, found in agreed.items() if all(value == found[0] for value in found)}
    row = {key: value for key, value in {**row, **meta}.items() if not isinstance(value, dict | list)}
    if isinstance(meta.get("image_labels"), list):
        row["image_labels"] = [str(label) for label in meta["image_labels"]]
    return row


def _drawn_masks(
    image_id: str, folder: Folder, problems: list[Problem], known: tuple[str, tuple[str, ...]] | None
) -> Iterator[dict[str, str]]:
    """One row for each `<timestamp>#<layer>#<annotator>#<label>#binary.png`, and each NRRD file not in `known`."""
    in_htc = known[1] if known else ()
    for file in folder.files:
        if not file.startswith("annotations/") or "#" not in file or is_hidden(file):
            continue
        parts = file.removeprefix("annotations/").split("#")
        if parts[0] != folder.timestamp and folder.cube_path == "":
            problems.append(Problem(folder.inside(file), "is an annotation of another recording; it is left out"))
        elif len(parts) == 5 and parts[4] == "binary.png":
            _, layer, annotator, label, _ = parts
            yield {
                "image_id": image_id,
                "layer": layer,
                "annotator": annotator,
                "kind": "mask-binary",
                "label": label,
                "path": folder.inside(file),
            }
        elif len(parts) == 3 and parts[2].endswith(_MITK) and f"{parts[1]}#{parts[2][: -len(_MITK)]}" not in in_htc:
            yield {
                "image_id": image_id,
                "layer": parts[1],
                "annotator": parts[2].removesuffix(_MITK),
                "kind": "mask-mitk",
                "path": folder.inside(file),
            }
        elif not _is_companion(parts, folder.files, known):
            problems.append(
                Problem(folder.inside(file), "is an annotation of a kind that is not read; it is left out")
            )


def _unknown_labels(annotations: Iterable[Mapping[str, str]], settings: DatasetSettings) -> Iterator[Problem]:
    known = settings.content.get("label_mapping")
    for annotation in annotations:
        label = annotation.get("label")
        if known and label is not None and label not in known:
            hint = nearest(label, known)
            yield Problem(annotation["path"], f"is labelled '{label}', which {SETTINGS_FILE} does not know. {hint}")


def _is_companion(parts: list[str], files: Mapping[str, int], known: tuple[str, tuple[str, ...]] | None) -> bool:
    """Polygon corners whose mask is there too, masks of colour charts, and sources of the masks of htc."""
    mask = "annotations/" + "#".join([*parts[:-1], "binary.png"])
    if parts[-1] == "coordinates.csv" and mask in files:
        return True
    annotation = f"{parts[1]}#{PurePosixPath(parts[2]).stem}" if len(parts) == 3 else ""
    return parts[1] == "squares" or (known is not None and annotation in known[1])


def _key(row: Mapping[str, str]) -> str:
    return f"{row['layer']}#{row['annotator']}"


def _masks_of_htc(image_id: str, path: str, names: Iterable[str]) -> Iterator[dict[str, str]]:
    """One row for each annotation in a file of `intermediates/segmentations`."""
    for annotation in names:
        layer, _, annotator = annotation.rpartition("#")
        yield {
            "image_id": image_id,
            "layer": layer,
            "annotator": annotator,
            "kind": "mask-htc",
            "path": path,
        }
