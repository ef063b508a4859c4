"""What the metadata of a TIFF says about scale and channels: OME-XML, ImageJ, resolution tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from stroma.images.colour import channel_names
from stroma.images.scale import from_print_resolution

_MICROMETRES = {"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "Å": 1e-4, "in": 25_400.0}

_SVS_MPP = re.compile(r"\|\s*MPP\s*=\s*([0-9]+\.?[0-9]*)")


def named_channels(tiff: Any, series: int, count: int) -> tuple[str, ...]:
    """The names that OME metadata or those of QPTIFF files give the channels, or `gray`, or `channel 0`….

    Args:
        tiff: An open `tifffile.TiffFile`.
        series: Number of the image in it.
        count: Number of channels.
    """
    pixels = _ome_pixels(tiff, series)
    if pixels is not None:
        named = [element.get("Name") or "" for element in pixels if element.tag.endswith("}Channel")]
        if _are_names(named, count):
            return tuple(named)
    if tiff.is_qpi:
        pages = tiff.series[series].pages
        for element in ("Biomarker", "Name"):
            named = [_qptiff_text(page, element) for page in pages]
            if _are_names(named, count):
                return tuple(named)
    return channel_names(count, rgb=False)


def _are_names(names: Sequence[str], count: int) -> bool:
    return len(names) == count and all(names) and len(set(names)) == count


def _qptiff_text(page: Any, name: str) -> str:
    """An element of the description that every page of a QPTIFF file (Akoya, PerkinElmer) has; empty without."""
    try:
        found = ElementTree.fromstring(page.description.strip()).find(name)
    except ElementTree.ParseError:
        return ""
    return "" if found is None else (found.text or "").strip()


def pixel_size_um(tiff: Any, frame: Any, series: int) -> tuple[float | None, float | None]:
    """Width and height of a pixel in µm where OME, ImageJ, Aperio or the resolution tags state them.

    Args:
        tiff: An open `tifffile.TiffFile`.
        frame: Its first page of the series.
        series: Number of the image in it.
    """
    pixels = _ome_pixels(tiff, series)
    if pixels is not None:
        x, y = (_ome_length_um(pixels, f"PhysicalSize{axis}") for axis in "XY")
        return (x, y) if x or y else (None, None)
    if tiff.is_svs:
        stated = _SVS_MPP.search(tiff.pages.first.description)
        return (float(stated[1]), float(stated[1])) if stated else (None, None)
    if tiff.is_imagej:
        unit = _MICROMETRES.get(_unit((tiff.imagej_metadata or {}).get("unit", "")))
    else:
        unit = {2: 25_400.0, 3: 1e4}.get(int(frame.tags.valueof("ResolutionUnit", 2)))
    x, y = (_per_pixel(frame.tags.valueof(f"{axis}Resolution"), unit) for axis in "XY")
    return (x, y) if tiff.is_imagej else (from_print_resolution(x), from_print_resolution(y))


def _ome_length_um(pixels: ElementTree.Element, name: str) -> float | None:
    unit = _MICROMETRES.get(_unit(pixels.get(f"{name}Unit", "µm")))
    text = pixels.get(name)
    return float(text) * unit if text and unit else None


def _unit(text: str) -> str:
    """One spelling of a unit: `um`, `micron`, the Greek mu and an escaped sign all are `µm`."""
    plain = text.strip().replace("\\u00B5", "µ").replace("μ", "µ")
    return {"um": "µm", "micron": "µm", "microns": "µm", "inch": "in", "pixel": ""}.get(plain, plain)


def _per_pixel(resolution: tuple[int, int] | None, unit_um: float | None) -> float | None:
    """µm a pixel from a resolution tag (numerator, denominator) in pixels a unit."""
    if resolution is None or unit_um is None or resolution[0] == 0 or resolution[1] == 0:
        return None
    return unit_um * resolution[1] / resolution[0]


def _ome_pixels(tiff: Any, series: int) -> ElementTree.Element | None:
    """The `Pixels` element of an image in OME metadata."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return None
    found = [
        element for element in ElementTree.fromstring(tiff.ome_metadata).iter() if element.tag.endswith("}Pixels")
    ]
    return found[series] if series < len(found) else None
