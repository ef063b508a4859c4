"""What can be wrong with one image of a study and its annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from stroma.core.errors import MissingFile, StromaError
from stroma.images.image import Image
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

_STRIP_PX = 64
_MAX_READ_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or may be."""

    image_id: str
    severity: Literal["error", "warning", "identifier"]
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
    """Header and size; of cubes also every value."""
    image_id = recording.image_id
    try:
        with recording.open() as image:
            row = recording.row
            height, width, channels = image.shape
            if row.get("height") and (height, width) != (row["height"], row["width"]):
                text = f"is {height} × {width} (height × width), the data set says {row['height']} × {row['width']}"
                yield Finding(image_id, "error", "size", path, text)
            if image.wavelengths_nm is None or height * width * channels * image.dtype.itemsize > _MAX_READ_BYTES:
                image.read(0, 0, 1, 1)
                return
            for severity, check, message in _values(image, strict):
                yield Finding(image_id, severity, check, path, message)
    except StromaError as error:
        yield Finding(image_id, "error", "read", path, error.what)


def _values(image: Image, strict: bool) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
    """What is wrong with the values of a cube, read in strips."""
    counts: Counts = dict.fromkeys(("broken", "empty", "zeros", "negative", "positive"), 0)
    height, width, _ = image.shape
    for x in range(0, width, _STRIP_PX):
        strip = image.read(x=x, y=0, w=min(_STRIP_PX, width - x), h=height)
        finite = np.isfinite(strip)
        empty = (strip == 0).all(axis=2)
        counts["broken"] += int((~finite).any(axis=2).sum())
        counts["empty"] += int(empty.sum())
        counts["zeros"] += int(((strip == 0).any(axis=2) & ~empty).sum())
        counts["negative"] += int((strip < 0).all(axis=2).sum())
        counts["positive"] += int((strip >= 0).any(axis=2).sum())
    pixels = height * width
    lesser: Literal["error", "warning"] = "error" if strict else "warning"
    if counts["broken"]:
        yield "error", "numbers", f"has {counts['broken']:,} of {pixels:,} pixels with values that are no numbers"
    if counts["empty"]:
        yield "error", "empty", f"has {counts['empty']:,} of {pixels:,} pixels that are 0 in all channels"
    if not counts["positive"] and not counts["broken"]:
        yield "error", "negative", "has negative values only"
    elif counts["negative"]:
        yield lesser, "negative", f"has {counts['negative']:,} of {pixels:,} pixels that are negative in all channels"
    if counts["zeros"]:
        yield lesser, "zeros", f"has {counts['zeros']:,} of {pixels:,} pixels with the value 0 in some channels"


Counts = dict[str, int]


def _picture(recording: Recording, path: str) -> Iterator[Finding]:
    """Whether the camera's picture is there and fits; only for cubes."""
    if not path.endswith("_SpecCube.dat"):
        return
    try:
        recording.rgb()
    except MissingFile as error:
        yield Finding(recording.image_id, "warning", "picture", path, error.what)
    except StromaError as error:
        where = Path(error.where).name if error.where else ""
        yield Finding(recording.image_id, "error", "picture", path, f"has the picture {where}, which {error.what}")


def _metadata(recording: Recording, path: str) -> Iterator[Finding]:
    if not path.endswith("_SpecCube.dat"):
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
        if (mask.labels == IGNORE).all():
            yield Finding(image_id, "warning", "mask", path, f"has the annotation {name}, which marks no pixel")
        if mask.overlap_px:
            text = f"has {mask.overlap_px:,} pixels to which {name} gives several labels; they count as not annotated"
            yield Finding(image_id, "warning", "overlap", path, text)
        unlisted = set(recording.labels(name)) - set(listed) if isinstance(listed, list) else set()
        if unlisted:
            text = f"has {', '.join(sorted(unlisted))} in {name}, which its image_labels do not list"
            yield Finding(image_id, "warning", "labels", path, text)
