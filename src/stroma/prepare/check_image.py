"""What can be wrong with one image of a study and its annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import polars as pl

from stroma.core.errors import MissingFile, StromaError
from stroma.images.tivita_files import check_cube
from stroma.images.tivita_rgb import CUBE_ENDING
from stroma.study.labels import IGNORE
from stroma.study.recording import Recording
from stroma.study.study import Study, open_study

CHECKS_FORMAT = "checks/1"
CHECK_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "severity": pl.String(),
    "check": pl.String(),
    "path": pl.String(),
    "message": pl.String(),
}
"""One row a finding; `severity` is error, warning or identifier, `path` relative to the study's root."""

Severity = Literal["error", "warning", "identifier"]
_ABOUT = {
    "not_finite": "has values that are no numbers: ",
    "zero_pixel": "has empty pixels: ",
    "all_negative": "is no reflectance: ",
    "zero_value": "has zeros: ",
    "negative_pixel": "has negative pixels: ",
}
"""What is said before the figures of `check_cube`."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be."""

    image_id: str
    severity: Severity
    check: str
    path: str
    message: str

    def row(self) -> tuple[str, ...]:
        """As a row of `CHECK_SCHEMA`."""
        return astuple(self)


def check_image(study: Path, image_id: str, *, strict: bool = False) -> list[Finding]:
    """Read an image and its annotations, and say what is wrong with them.

    Args:
        study: `study.yaml` or its folder.
        image_id: The image.
        strict: Whether single zeros, and pixels that are negative in all channels, are errors.
    """
    recording = _opened(study)[image_id]
    path = str(recording.row["path"])
    found = [
        *_pixels(recording, path, strict),
        *_picture(recording, path),
        *_metadata(recording, path),
        *_annotations(recording, path),
    ]
    return found


@lru_cache(maxsize=1)
def _opened(path: Path) -> Study:
    return open_study(path)


def _pixels(recording: Recording, path: str, strict: bool) -> Iterator[Finding]:
    """Header and size; of Tivita cubes also every value."""
    image_id, row = recording.image_id, recording.row
    if path.endswith(CUBE_ENDING):
        for problem in check_cube(recording.path, shape=None):
            severity: Severity = "error" if problem.is_fatal or strict else "warning"
            message = f"{_ABOUT.get(problem.check, '')}{problem.reason}"
            yield Finding(image_id, severity, problem.check, path, message)
            if problem.check == "unreadable":
                return
    try:
        with recording.open() as image:
            image.read(0, 0, 1, 1)
            height, width, _ = image.shape
        if row.get("height") and (height, width) != (row["height"], row["width"]):
            text = f"is {height} × {width} (height × width), the data set says {row['height']} × {row['width']}"
            yield Finding(image_id, "error", "shape", path, text)
    except StromaError as error:
        yield Finding(image_id, "error", "unreadable", path, error.what)


def _picture(recording: Recording, path: str) -> Iterator[Finding]:
    """Whether the camera's picture is there and fits; only for cubes."""
    if not path.endswith(CUBE_ENDING):
        return
    try:
        recording.rgb()
    except MissingFile as error:
        yield Finding(recording.image_id, "warning", "picture", path, error.what)
    except StromaError as error:
        where = Path(error.where).name if error.where else ""
        yield Finding(recording.image_id, "error", "picture", path, f"has the picture {where}, which {error.what}")


def _metadata(recording: Recording, path: str) -> Iterator[Finding]:
    if not path.endswith(CUBE_ENDING):
        return
    try:
        if not recording.camera_log:
            yield Finding(recording.image_id, "warning", "camera", path, "has no camera log: its camera is unknown")
        elif "Camera_CamID" not in recording.camera_log:
            yield Finding(recording.image_id, "warning", "camera", path, "has a camera log that names no camera")
    except StromaError as error:
        yield Finding(recording.image_id, "error", "camera", path, f"has a camera log which {error.what}")


def _annotations(recording: Recording, path: str) -> Iterator[Finding]:
    """Every mask against the image and the labels."""
    if recording.study.config.labels is None:
        return
    image_id = recording.image_id
    names = recording.annotation_names
    kinds = {row["kind"] for row in recording.study.annotation_rows(image_id)}
    if kinds == {"image"}:
        return
    listed: Any = recording.meta("image_labels", None)
    for name in names:
        try:
            mask = recording.mask(name)
        except StromaError as error:
            where = f"{Path(error.where).name} " if error.where else ""
            yield Finding(image_id, "error", "mask", path, f"has the annotation {name}: {where}{error.what}")
            continue
        if bool((mask.labels == IGNORE).all()):
            yield Finding(image_id, "warning", "mask", path, f"has the annotation {name}, which marks no pixel")
        if mask.overlap_px:
            text = f"has {mask.overlap_px:,} pixels to which {name} gives several labels; they count as not annotated"
            yield Finding(image_id, "warning", "overlap", path, text)
        unlisted = set(recording.labels(name)) - set(listed) if isinstance(listed, list) else set()
        if unlisted:
            text = f"has {', '.join(sorted(unlisted))} in {name}, which its image_labels do not list"
            yield Finding(image_id, "warning", "labels", path, text)
