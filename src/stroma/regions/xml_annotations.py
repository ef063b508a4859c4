"""Annotations that slide viewers keep as XML: ASAP, Aperio ImageScope and Hamamatsu NDP.view (`.ndpa`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.regions.annotation import Annotation
from stroma.regions.masks import parse_colour

Element = ElementTree.Element
ELLIPSE_CORNERS = 120
"""Ellipses and circles become polygons with so many corners, which lose 0.05 % of the area."""


@dataclass(frozen=True)
class SlideFrame:
    """What NDP.view's nanometres from the centre of the glass are counted from.

    Attributes:
        width, height: Of level 0 in pixels.
        mpp: Size of a level-0 pixel in µm.
        offset_nm: (x, y) of the centre of the image on the glass: the properties
            `hamamatsu.XOffsetFromSlideCentre` and `hamamatsu.YOffsetFromSlideCentre`.
    """

    width: int
    height: int
    mpp: float
    offset_nm: tuple[float, float]

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Level-0 pixels of points (n, 2) in nanometres."""
        centre = np.array([self.width / 2, self.height / 2])
        return np.asarray((points - self.offset_nm) / (1000 * self.mpp) + centre)


def read_xml(path: Path, *, frame: SlideFrame | None = None) -> list[Annotation]:
    """Read an XML file of ASAP, ImageScope or NDP.view, whichever it is.

    Args:
        path: The file.
        frame: The slide, which only NDP.view's coordinates need.

    Returns:
        One annotation per region, in the order of the file; ImageScope's negative regions become holes.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is none of these dialects, or a region cannot be used; the message has its index from 0.
        UsageError: an NDP.view file without `frame`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("there is no such file", where=path)
    with stage("read"):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise InvalidData(f"is not valid XML ({error})", where=path) from error
    with stage("decode"):
        try:
            if root.tag == "ASAP_Annotations":
                return list(_asap(root))
            if root.tag == "Annotations" and root.find("Annotation/Regions") is not None:
                return _imagescope(root)
            if root.tag == "annotations" and root.find("ndpviewstate") is not None:
                if frame is None:
                    raise UsageError(
                        "has positions in nanometres on the glass, which mean nothing without the slide",
                        next_step="Give the slide with --slide",
                    )
                return list(_ndpa(root, frame))
        except (InvalidData, UsageError) as error:
            raise type(error)(error.what, where=path, next_step=error.next_step) from error
    raise InvalidData(
        f"is XML of an unknown kind (root element <{root.tag}>)",
        where=path,
        next_step="Known are ASAP, Aperio ImageScope and Hamamatsu NDP.view",
    )


def _asap(root: Element) -> Iterator[Annotation]:
    colours = {group.get("Name"): group.get("Color") for group in root.iter("Group")}
    for index, element in enumerate(root.iterfind("Annotations/Annotation")):
        corners = sorted(element.iterfind("Coordinates/Coordinate"), key=lambda c: _number(c.get("Order"), index))
        points = _points([(c.get("X"), c.get("Y")) for c in corners], index)
        group = element.get("PartOfGroup")
        label = None if group in (None, "None", "") else group
        colour = colours.get(group) or element.get("Color")
        yield Annotation(
            _asap_shape(element.get("Type", ""), points, index),
            label=label,
            name=element.get("Name") or None,
            colour=parse_colour(colour) if colour else None,
        )


def _asap_shape(kind: str, points: NDArray[np.float64], index: int) -> Any:
    if kind in ("Polygon", "Spline", "Rectangle"):  # a spline is taken by its corners
        return _polygon(points, index)
    if kind == "Dot":
        return shapely.Point(points[0]) if len(points) else _polygon(points, index)
    if kind == "PointSet":
        return shapely.MultiPoint(points) if len(points) else _polygon(points, index)
    if kind == "Measurement":
        return _line(points, index)
    raise InvalidData(f"object {index} has the unknown type '{kind}'")


def _imagescope(root: Element) -> list[Annotation]:
    index, result = 0, list[Annotation]()
    for layer in root.iterfind("Annotation"):
        label = _layer_name(layer)
        colour = layer.get("LineColor")
        packed = int(_number(colour, index)) if colour else 0
        rgb = (packed & 255, (packed >> 8) & 255, (packed >> 16) & 255)  # Windows keeps red in the low byte
        objects, holes = list[Annotation](), list[tuple[int, Any]]()
        for region in layer.iterfind("Regions/Region"):
            points = _points([(v.get("X"), v.get("Y")) for v in region.iterfind("Vertices/Vertex")], index)
            shape = _imagescope_shape(region.get("Type", "0"), points, index)
            if region.get("NegativeROA") == "1":
                holes.append((index, shape))
            else:
                name = region.get("Text") or None
                objects.append(
                    Annotation(
                        shape, label=label, name=name, colour=rgb if colour else None, identifier=region.get("Id")
                    )
                )
            index += 1
        result += _with_holes(objects, holes)
    return result


def _layer_name(layer: Element) -> str | None:
    """The name of a layer: its attribute, else its description, which is where ImageScope's users write it."""
    described = [a.get("Value") for a in layer.iterfind("Attributes/Attribute") if a.get("Name") == "Description"]
    return layer.get("Name") or next((text for text in described if text), None)


def _imagescope_shape(kind: str, points: NDArray[np.float64], index: int) -> Any:
    if kind in ("0", "1"):
        return _polygon(points, index)
    if kind == "2" and len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        return _ellipse((low + high) / 2, (high - low) / 2, index)
    if kind in ("3", "4"):
        return _line(points, index)
    if kind == "5" and len(points):
        return shapely.Point(points[0])
    raise InvalidData(f"object {index} has the unknown type '{kind}' with {len(points)} vertices")


def _with_holes(objects: Sequence[Annotation], holes: Sequence[tuple[int, Any]]) -> list[Annotation]:
    """Cut negative regions out of the regions of their layer that they lie in."""
    result = list(objects)
    for index, hole in holes:
        hit = [i for i, entry in enumerate(result) if entry.geometry.intersects(hole)]
        if not hit:
            raise InvalidData(f"object {index} is a negative region that lies in no other region of its layer")
        for i in hit:
            try:
                cut = result[i].geometry.difference(hole)
            except shapely.GEOSException as error:
                raise InvalidData(
                    f"object {index} is a negative region that cannot be cut out: an outline crosses itself",
                    next_step="Draw it, or the region around it, again",
                ) from error
            if not cut.is_empty:
                result[i] = replace(result[i], geometry=cut)
    return result


def _ndpa(root: Element, frame: SlideFrame) -> Iterator[Annotation]:
    for index, state in enumerate(root.iterfind("ndpviewstate")):
        element = state.find("annotation")
        if element is None:
            raise InvalidData(f"object {index} has no annotation element")
        unit = (state.findtext("coordformat") or "nanometers").strip().lower()
        if unit != "nanometers":
            raise InvalidData(f"object {index} has positions in '{unit}' where nanometres are known")
        colour = element.get("color")
        yield Annotation(
            _ndpa_shape(element, frame, index),
            label=(state.findtext("title") or "").strip() or None,
            name=(state.findtext("details") or "").strip() or None,
            colour=parse_colour(colour) if colour else None,
            identifier=state.get("id"),
        )


def _ndpa_shape(element: Element, frame: SlideFrame, index: int) -> Any:
    kind = (element.get("type") or "").lower()
    if kind in ("freehand", "freehandline", "rectangle"):
        pairs = [(p.findtext("x"), p.findtext("y")) for p in element.iterfind("pointlist/point")]
        points = frame.pixels(_points(pairs, index))
        closed = (element.findtext("closed") or "1").strip() != "0"
        return _polygon(points, index) if closed else _line(points, index)
    if kind == "circle":
        centre = frame.pixels(_points([(element.findtext("x"), element.findtext("y"))], index))[0]
        radius = _number(element.findtext("radius"), index) / (1000 * frame.mpp)
        return _ellipse(centre, np.array([radius, radius]), index)
    if kind == "pin":
        return shapely.Point(frame.pixels(_points([(element.findtext("x"), element.findtext("y"))], index))[0])
    if kind in ("linearmeasure", "pointer"):
        ends = [(element.findtext(f"x{i}"), element.findtext(f"y{i}")) for i in (1, 2)]
        return _line(frame.pixels(_points(ends, index)), index)
    raise InvalidData(f"object {index} has the unknown type '{kind}'")


def _number(text: str | None, index: int) -> float:
    try:
        value = float((text or "").replace(",", "."))  # ASAP writes the comma of some locales
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InvalidData(f"object {index} has '{text or ''}' where a number is needed")
    return value


def _points(pairs: Sequence[tuple[str | None, str | None]], index: int) -> NDArray[np.float64]:
    return np.array([(_number(x, index), _number(y, index)) for x, y in pairs], dtype=np.float64).reshape(-1, 2)


def _polygon(points: NDArray[np.float64], index: int) -> Any:
    if len(np.unique(points, axis=0)) < 3:
        raise InvalidData(f"object {index} has {len(points)} corners, which enclose no area")
    return shapely.Polygon(points)


def _line(points: NDArray[np.float64], index: int) -> Any:
    if len(points) < 2:
        raise InvalidData(f"object {index} is a line with {len(points)} points")
    return shapely.LineString(points)


def _ellipse(centre: NDArray[np.float64], radii: NDArray[np.float64], index: int) -> Any:
    if not (radii > 0).all():
        raise InvalidData(f"object {index} is an ellipse without an area")
    angle = np.arange(ELLIPSE_CORNERS) * (2 * np.pi / ELLIPSE_CORNERS)
    return shapely.Polygon(centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1))
