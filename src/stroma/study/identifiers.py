"""Where in the files of a study names of patients may lie. Their values are never returned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
from openslide import OpenSlide, OpenSlideError

from stroma.core.clock import stage
from stroma.core.errors import StromaError
from stroma.images.slide import SlideImage
from stroma.study.htc.camera_log import parse_camera_log
from stroma.study.htc.identifiers import is_identifying
from stroma.study.listing import is_hidden, list_files, read_small_file
from stroma.study.patterns import SLIDE_SUFFIXES, suffix_of
from stroma.study.study import Study

_BEGINNING = 4096
_TABLES = (".feather", ".csv", ".tsv", ".parquet")
_OF_CAMERAS = (".xml", ".log")


def identifiers_in(study: Study) -> Iterator[tuple[str, str]]:
    """Go through the files of a study, and of its whole root for the files of cameras.

    Patient files of cameras are all `*.xml` that do not begin like annotation files of ASAP, ImageScope or
    NDP.view. Of JSON files, tables and camera logs the keys are looked at, of slides whether they hold pictures of
    labels.

    Yields:
        Path relative to the root, and what lies there, as the end of a sentence that begins with the path. Patient
        files may be called after the patient, so their folder is named.
    """
    listed = study.listing().files
    beside = (path for path in list_files(study.root, without_size=("",)).files if path not in listed)
    files = [*listed, *(path for path in beside if suffix_of(path) in _OF_CAMERAS)]
    told: set[str] = set()
    for path in files:
        if is_hidden(path):
            continue
        suffix = suffix_of(path)
        file = study.root / path
        if suffix == ".xml" and not _is_drawn(file):
            place = f"{path.rpartition('/')[0]}/*.xml".lstrip("/")
            if place not in told:
                yield place, "is a patient file of the camera: names, birth dates, numbers of admissions"
            told.add(place)
        elif path.endswith("_meta.log"):
            keys = sorted(key for key in _keys_of_log(file) if is_identifying(key))
            if keys:
                yield path, f"has {', '.join(keys)}"
        elif suffix == ".json":
            keys = sorted(set(_keys_of_json(file)))
            if keys:
                yield path, f"has {', '.join(keys)}"
        elif suffix in _TABLES:
            columns = [name for name in _columns(file) if is_identifying(name)]
            if columns:
                yield path, f"has the columns {', '.join(columns)}"
        elif suffix in SLIDE_SUFFIXES and SlideImage.accepts(file):
            yield from _in_slide(file, path)


def _is_drawn(file: Path) -> bool:
    """Whether an XML file holds annotations."""
    try:
        with file.open("rb") as handle:
            return (
                re.search(rb"<(ASAP_Annotations|Annotations|annotations)[\s>]", handle.read(_BEGINNING)) is not None
            )
    except OSError:
        return False


def _in_slide(file: Path, path: str) -> Iterator[tuple[str, str]]:
    with suppress(OpenSlideError), OpenSlide(str(file)) as slide:
        pictures = sorted(set(slide.associated_images) & {"label", "macro"})
        if pictures:
            yield path, f"has pictures of the glass ({', '.join(pictures)}), on which a name may stand"


def _keys_of_log(file: Path) -> Iterable[str]:
    try:
        return parse_camera_log(read_small_file(str(file)), where=file)
    except (StromaError, OSError):  # what is wrong with the file is told elsewhere
        return ()


def _keys_of_json(file: Path) -> Iterator[str]:
    try:
        with stage("read"):
            content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # what is wrong with the file is told elsewhere
        return
    pending: list[Any] = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            yield from (str(key) for key in value if is_identifying(str(key)))
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _columns(file: Path) -> list[str]:
    try:
        if file.suffix.lower() == ".feather":
            return list(pl.read_ipc_schema(file))
        if file.suffix.lower() == ".parquet":
            return list(pl.read_parquet_schema(file))
        with file.open("rb") as handle:
            first = handle.readline(1 << 16).decode("utf-8", "replace")
        return [cell.strip().strip('"') for cell in first.replace("\t", ",").replace(";", ",").split(",")]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return []
