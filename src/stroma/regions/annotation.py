"""`Annotation`: one drawn or detected object, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stroma.core.errors import InvalidData

KINDS = ("annotation", "detection", "cell", "tile", "tma core", "root", "unknown")
"""What QuPath calls the type of an object."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object on one image.

    Attributes:
        geometry: Shapely polygon, multi-polygon, line(s) or point(s) in level-0 pixels; a pixel's centre is at +0.5.
        label: Its class, or None when it has none.
        name: What the annotator called it, or None.
        colour: (red, green, blue), 0-255, of the class or else of the object, or None.
        kind: One of `KINDS`.
        measurements: Name → number.
        metadata: Name → text.
        nucleus: Geometry of the nucleus of a cell, or None.
        identifier: Id in the file it came from, or None.
        plane: (z, t) of the plane it was drawn on.
        locked: Whether it is protected against editing.
    """

    geometry: Any
    label: str | None = None
    name: str | None = None
    colour: tuple[int, int, int] | None = None
    kind: str = "annotation"
    measurements: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    nucleus: Any = None
    identifier: str | None = None
    plane: tuple[int, int] = (0, 0)
    locked: bool = False

    @property
    def class_name(self) -> str | None:
        """The class, else the name: many people name objects instead of classifying them."""
        return self.label or self.name

    @property
    def ignored(self) -> bool:
        """Whether it has one of QuPath's ignored classes, whose names end with `*` (`Ignore*`, `Region*`)."""
        return (self.class_name or "").endswith("*")


def index_of(
    annotation: Annotation, names: Mapping[str, int], *, index: int, ignore: int, unclassified: int | None = None
) -> int:
    """The class index of an annotation.

    Args:
        annotation: The annotation.
        names: Class name → index.
        index: Its position in its file, for the message.
        ignore: Index of ignored classes (`Ignore*`) that `names` does not list: not annotated.
        unclassified: Index of annotations without class and name; None makes them an error.

    Raises:
        InvalidData: an unknown class, or none where one is needed.
    """
    name = annotation.class_name
    if name is None:
        if unclassified is None:
            raise InvalidData(
                f"object {index} has neither a class nor a name",
                next_step="Say with --unclassified which class such objects get",
            )
        return unclassified
    if name in names:
        return names[name]
    if annotation.ignored:
        return ignore
    raise InvalidData(
        f"object {index} has the unknown class '{name}'", next_step=f"Known are {', '.join(sorted(names))}"
    )
