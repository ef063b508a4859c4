"""What is wrong with annotations: each problem with the index of its object, nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import shapely

from stroma.core.errors import InvalidData, nearest
from stroma.regions.annotation import Annotation

Kind = Literal["outside", "partly outside", "self-crossing", "no area", "unknown class", "no class"]
_AREAS = ("Polygon", "MultiPolygon")
_NAMED = 10
_NEXT: dict[Kind, str] = {
    "outside": "Check that the file belongs to this image; files of QuPath may need --qupath-bounds",
    "self-crossing": "Draw it again, or mend all such outlines with --repair, which changes no pixel inside",
    "no area": "Remove the object, or draw it again",
    "unknown class": "Correct the class, or add it with --label",
    "no class": "Give the object a class or a name, or all such objects one with --unclassified",
}


@dataclass(frozen=True)
class Problem:
    """Something wrong with one object.

    Attributes:
        index: Position of the object in its file, from 0.
        kind: What kind of problem.
        message: One line for the user, without the index.
        fatal: Whether the object cannot be used as it is.
    """

    index: int
    kind: Kind
    message: str
    fatal: bool

    def __str__(self) -> str:
        return f"object {self.index}: {self.message}"


def find_problems(
    annotations: Sequence[Annotation],
    *,
    size: tuple[int, int] | None = None,
    labels: Collection[str] | None = None,
) -> list[Problem]:
    """Check annotations.

    Args:
        annotations: What to check.
        size: (height, width) of the image in level-0 pixels; None skips the check of positions.
        labels: Known classes; None skips the check of classes. QuPath's ignored classes (`Ignore*`) are known.

    Returns:
        All problems, by object.
    """
    shapes = np.empty(len(annotations), dtype=object)
    shapes[:] = [annotation.geometry for annotation in annotations]
    found = [*_crossings(shapes), *_positions(shapes, size), *_classes(annotations, labels)]
    return sorted(found, key=lambda problem: problem.index)


def _crossings(shapes: Any) -> list[Problem]:
    problems = []
    areal = np.isin(shapely.get_type_id(shapes), (3, 6))
    for index in np.flatnonzero(areal & ~shapely.is_valid(shapes)).tolist():
        if shapely.make_valid(shapes[index]).area > 0:
            reason = shapely.is_valid_reason(shapes[index]).replace("[", " at (").replace("]", ")")
            problems.append(Problem(index, "self-crossing", f"its outline is not valid: {reason}", True))
        else:
            problems.append(Problem(index, "no area", "its outline encloses no area", True))
    return problems


def _positions(shapes: Any, size: tuple[int, int] | None) -> list[Problem]:
    if size is None or not len(shapes):
        return []
    height, width = size
    left, top, right, bottom = shapely.bounds(shapes).T
    before = (right < 0) | (bottom < 0) | ((right == 0) & (left < 0)) | ((bottom == 0) & (top < 0))
    outside = before | (left >= width) | (top >= height)
    partly = ~outside & ((left < 0) | (top < 0) | (right > width) | (bottom > height))
    problems = []
    for kind, which, fatal in (("outside", outside, True), ("partly outside", partly, False)):
        for index in np.flatnonzero(which).tolist():
            box = ", ".join(f"{value:g}" for value in shapely.bounds(shapes[index]))
            text = f"lies {kind} the image of {height} × {width} px (left, top, right, bottom: {box})"
            problems.append(Problem(index, kind, text, fatal))  # type: ignore[arg-type]
    return problems


def _classes(annotations: Sequence[Annotation], labels: Collection[str] | None) -> list[Problem]:
    if labels is None:
        return []
    known, problems = set(labels), []
    for index, annotation in enumerate(annotations):
        name = annotation.class_name
        if name is None:
            problems.append(Problem(index, "no class", "has neither a class nor a name", True))
        elif name not in known and not annotation.ignored:
            hint = nearest(name, known)
            problems.append(Problem(index, "unknown class", f"has the unknown class '{name}'. {hint}".strip(), True))
    return problems


def require_no_problems(problems: Sequence[Problem], *, where: Any = None) -> None:
    """Stop at fatal problems.

    Raises:
        InvalidData: there are some; the message has the first and their number.
    """
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        more = f" (and {len(fatal) - 1:,} more problems, {_objects(fatal[1:])})" if len(fatal) > 1 else ""
        raise InvalidData(
            f"{fatal[0]}{more}",
            where=where,
            next_step=_NEXT[fatal[0].kind],
        )


def _objects(problems: Sequence[Problem]) -> str:
    """`of objects 3, 4, 17 …`: the first of them."""
    indices = sorted({problem.index for problem in problems})
    shown = ", ".join(f"{index}" for index in indices[:_NAMED])
    return f"of object{'s' if len(indices) > 1 else ''} {shown}{', …' if len(indices) > _NAMED else ''}"


def repair(annotation: Annotation) -> Annotation:
    """Make a self-crossing outline valid without changing its inside (even-odd rule); lines and points stay.

    Raises:
        InvalidData: nothing with an area is left.
    """
    shape = annotation.geometry
    if shape.geom_type not in _AREAS or shape.is_valid:
        return annotation
    parts = shapely.get_parts(shapely.make_valid(shape))
    flat = shapely.get_parts(parts) if len(parts) else parts
    areas = [part for part in flat if part.geom_type == "Polygon" and part.area > 0]
    if not areas:
        raise InvalidData("an outline without an area cannot be repaired")
    mended = areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
    return replace(annotation, geometry=mended)
