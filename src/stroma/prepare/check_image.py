"""What can be wrong with one image of a study and its annotations."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.core.errors import MissingFile, StromaError
from stroma.core.files import id_to_name, write_bytes
from stroma.images.tivita_files import check_cube
from stroma.images.tivita_rgb import CUBE_ENDING
from stroma.prepare.check_pixels import THUMBNAIL_PX, Pixels, difference_hash, look_at
from stroma.regions.masks import check_size
from stroma.study.labels import IGNORE
from stroma.study.marks import count_marks
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

FACTS_FORMAT = "facts/1"
FACTS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "path": pl.String(),
    "height": pl.Int64(),
    "width": pl.Int64(),
    "channels": pl.Int64(),
    "dtype": pl.String(),
    "mpp": pl.Float64(),
    "content": pl.String(),
    "alike": pl.String(),
    "blank": pl.Boolean(),
    "tissue": pl.Float64(),
    **{f"{what}_{colour}": pl.Float64() for what in ("mean", "std") for colour in ("red", "green", "blue")},
}
"""One row an image: what `Pixels` says; `alike` is its difference hash. Null for what could not be read."""

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


@dataclass(frozen=True)
class CheckedImage:
    """What was found out about one image.

    Attributes:
        findings: What is wrong with it.
        facts: A row of `FACTS_SCHEMA`.
        labels: (label, pixels) of each class that its annotations mark; null pixels for a label of the whole image.
    """

    findings: tuple[Finding, ...]
    facts: tuple[Any, ...]
    labels: tuple[tuple[str, int | None], ...]


def check_image(study: Path, image_id: str, *, strict: bool = False, thumbnails: Path | None = None) -> CheckedImage:
    """Read an image and its annotations, and say what is wrong with them.

    Args:
        study: `study.yaml` or its folder.
        image_id: The image.
        strict: Whether single zeros, and pixels that are negative in all channels, are errors.
        thumbnails: Folder for a small picture of it, `<id>.jpg`.
    """
    recording = _opened(study)[image_id]
    path = str(recording.row["path"])
    is_cube = path.endswith(CUBE_ENDING)
    found = [*_cube_values(recording, path, strict)] if is_cube else []
    facts = _Facts()
    if not any(finding.check == "unreadable" for finding in found):
        picture, of_picture = _camera_picture(recording, path) if is_cube else (None, [])
        facts, of_pixels = _pixels(recording, path, picture, thumbnails)
        found += [*of_pixels, *of_picture]
    if is_cube:
        found += _camera(recording, path)
    labels, of_annotations = _annotations(recording, path, facts)
    return CheckedImage((*found, *of_annotations), facts.row(recording), labels)


@lru_cache(maxsize=1)
def _opened(path: Path) -> Study:
    return open_study(path)


def _cube_values(recording: Recording, path: str, strict: bool) -> Iterator[Finding]:
    """Every value of a Tivita cube."""
    for problem in check_cube(recording.path, shape=None):
        severity: Severity = "error" if problem.is_fatal or strict else "warning"
        message = f"{_ABOUT.get(problem.check, '')}{problem.reason}"
        yield Finding(recording.image_id, severity, problem.check, path, message)


@dataclass(frozen=True)
class _Facts:
    """Header and pixels of an image; both None for one that cannot be read."""

    shape: tuple[int, int, int] | None = None
    dtype: str | None = None
    mpp: float | None = None
    pixels: Pixels | None = None

    def row(self, recording: Recording) -> tuple[Any, ...]:
        height, width, channels = self.shape or (None, None, None)
        head = (recording.image_id, recording.subject_id, str(recording.row["path"]))
        if self.pixels is None:
            return (*head, height, width, channels, self.dtype, self.mpp, *[None] * 10)
        look = self.pixels
        colours = (*look.mean, *look.spread) if look.mean else (None,) * 6
        alike = None if look.picture is None or look.constant else difference_hash(look.picture)
        return (
            *head, height, width, channels, self.dtype, self.mpp, look.content, alike, look.constant, look.tissue,
            *colours,
        )  # fmt: skip


def _pixels(
    recording: Recording, path: str, picture: NDArray[np.uint8] | None, thumbnails: Path | None
) -> tuple[_Facts, list[Finding]]:
    """Header, size and pixels."""
    image_id, row = recording.image_id, recording.row
    facts, found = _Facts(), list[Finding]()
    try:
        with recording.open() as image:
            height, width, _ = image.shape
            facts = _Facts(image.shape, str(image.dtype), image.mpp)
            if row.get("height") and (height, width) != (row["height"], row["width"]):
                text = f"is {height} × {width} (height × width), the data set says {row['height']} × {row['width']}"
                found.append(Finding(image_id, "error", "shape", path, text))
            look = look_at(image, recording.path, picture)
    except StromaError as error:
        return facts, [*found, Finding(image_id, "error", "unreadable", path, error.what)]
    if look.not_finite and not path.endswith(CUBE_ENDING):
        text = f"has values that are no numbers: {look.not_finite:,} of {np.prod(facts.shape or ()):,} values"
        found.append(Finding(image_id, "error", "not_finite", path, text))
    if look.constant or look.tissue == 0:
        text = "is blank: all its pixels are equal" if look.constant else "is blank: no tissue was found on it"
        found.append(Finding(image_id, "warning", "blank", path, text))
    if thumbnails is not None and look.picture is not None:
        content = io.BytesIO()
        Picture.fromarray(look.picture).resize(_thumbnail_size(look.picture), Picture.Resampling.BOX).save(
            content, format="JPEG", quality=80
        )
        write_bytes(thumbnails / f"{id_to_name(image_id)}.jpg", content.getvalue())
    return replace(facts, pixels=look), found


def _thumbnail_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = picture.shape[:2]
    factor = min(1.0, THUMBNAIL_PX / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _camera_picture(recording: Recording, path: str) -> tuple[NDArray[np.uint8] | None, list[Finding]]:
    """The picture that the camera made of a cube, whether it is there and fits."""
    try:
        return recording.rgb(), []
    except MissingFile as error:
        return None, [Finding(recording.image_id, "warning", "picture", path, error.what)]
    except StromaError as error:
        where = Path(error.where).name if error.where else ""
        text = f"has the picture {where}, which {error.what}"
        return None, [Finding(recording.image_id, "error", "picture", path, text)]


def _camera(recording: Recording, path: str) -> Iterator[Finding]:
    """The camera's log; what is wrong in it is told of the log itself, as the listing of the files does."""
    log = f"{path.removesuffix(CUBE_ENDING)}_meta.log"
    try:
        if not recording.camera_log:
            yield Finding(recording.image_id, "warning", "camera", path, "has no camera log: its camera is unknown")
        elif "Camera_CamID" not in recording.camera_log:
            text = "is a camera log that names no camera (CamID), which counts as unknown"
            yield Finding(recording.image_id, "warning", "camera", log, text)
    except StromaError as error:
        yield Finding(recording.image_id, "error", "camera", log, f"is no readable camera log: {error.what}")


def _stated_labels(recording: Recording, path: str) -> tuple[list[str] | None, list[str], list[Finding]]:
    """What the meta file of an image says of its labels.

    Returns:
        `image_labels` (None where there are none), the labels with values of their own, and what is wrong.
    """
    try:
        meta = recording.annotation_meta
    except StromaError as error:
        place = Path(error.where).relative_to(recording.study.root).as_posix() if error.where else path
        text = f"is no readable meta file: it {error.what}"
        return None, [], [Finding(recording.image_id, "error", "meta", place, text)]
    listed, described = meta.get("image_labels", recording.row.get("image_labels")), meta.get("label_meta")
    return (
        [str(label) for label in listed] if isinstance(listed, list) else None,
        [str(label) for label in described] if isinstance(described, dict) else [],
        [],
    )


def _annotations(
    recording: Recording, path: str, facts: _Facts
) -> tuple[tuple[tuple[str, int | None], ...], list[Finding]]:
    """Every mask against the image and the labels; and the classes that they mark."""
    known = recording.study.config.labels
    image_id, found = recording.image_id, list[Finding]()
    rows = recording.study.annotation_rows(image_id)
    whole = sorted({str(row["label"]) for row in rows if row["kind"] == "image"})
    if known is None or (rows and {row["kind"] for row in rows} == {"image"}):
        for label in whole:
            try:
                _ = None if known is None else known.from_name(label)
            except StromaError as error:
                found.append(Finding(image_id, "error", "label", path, error.what))
        return tuple((label, None) for label in whole), found
    listed, described, problems = _stated_labels(recording, path)
    found += problems
    counted: Counter[str] = Counter()
    for name in recording.annotation_names:
        try:
            marks = count_marks(recording.study, image_id, *name.split("#", 1))
            if facts.shape is not None:
                check_size(np.broadcast_to(np.uint8(0), marks.size), *facts.shape[:2], where=None)
        except StromaError as error:
            where = f"{Path(error.where).name} " if error.where else ""
            found.append(Finding(image_id, "error", "mask", path, f"has the annotation {name}: {where}{error.what}"))
            continue
        present = marks.pixels
        counted.update({label: int(present[index]) for index, label in enumerate(known.names) if present[index]})
        if not present[:IGNORE].any():
            text = f"has the annotation {name}, which marks no pixel"
            found.append(Finding(image_id, "warning", "mask", path, text))
        if marks.overlap_px:
            text = (
                f"has {marks.overlap_px:,} pixels to which {name} gives several labels; they count as not annotated"
            )
            found.append(Finding(image_id, "warning", "overlap", path, text))
        unlisted = {label for index, label in enumerate(known.names) if present[index]} - set(listed or ())
        if unlisted and listed is not None:
            text = f"has {', '.join(sorted(unlisted))} in {name}, which its image_labels do not list"
            found.append(Finding(image_id, "warning", "labels", path, text))
    if recording.annotation_names and not any(finding.check == "mask" for finding in found):
        gone = [n for n in described if n not in known.ignore and known.aliases.get(n, n) not in counted]
        if gone:
            text = f"has {', '.join(gone)} in its meta file (label_meta), but in no annotation"
            found.append(Finding(image_id, "warning", "labels", path, text))
    return tuple(sorted(counted.items())), found
