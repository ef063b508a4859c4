"""Wavelengths of the channels of a TIFF stack, as the programs that write such stacks leave them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from stroma.images.bands import given_wavelengths, stated_wavelengths, wavelengths_to_nm
from stroma.images.variables import WAVELENGTH_NAME

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_ENVI_LIST = re.compile(r"^\s*wavelengths?\s*[=:]\s*[{\[]([^}\]]*)[}\]]", re.IGNORECASE | re.MULTILINE)
_ENVI_UNIT = re.compile(r"^\s*wavelength units?\s*[=:]\s*(\w+)", re.IGNORECASE | re.MULTILINE)
_NAMED = re.compile(rf"^\D{{0,20}}?({_NUMBER})\s*(nm|nanometers?|um|µm|μm|micrometers?)\b", re.IGNORECASE)
_GDAL = "GDAL_METADATA"
_LONGEST_TEXT = 10_000_000


def stack_wavelengths(
    tiff: Any, series: int, count: int, given: Sequence[float] | None, path: Path
) -> NDArray[np.float64] | None:
    """Centre wavelength of each channel in nm, or None where the file does not say.

    Looked for are, in this order: a list of JSON metadata (tifffile), an entry `wavelength = {…}` as in ENVI
    headers in the description or ImageJ's info, the emission wavelengths of OME metadata, GDAL's metadata of the
    bands, and channels or pages that are all called like `500 nm`.

    Args:
        tiff: An open `tifffile.TiffFile`.
        series: Number of the image in it.
        count: Number of channels.
        given: What the caller says; wins over the file.
        path: For messages.

    Raises:
        InvalidData: not one wavelength was given for each channel.
    """
    if given is not None:
        return stated_wavelengths(given_wavelengths(given, path=path), count, path=path)
    if count < 2:
        return None
    for find in (_of_json, _of_text, _of_ome, _of_gdal, _of_names):
        found = find(tiff, series, count)
        if found is not None and len(found[0]) == count and all(np.isfinite(v) and v > 0 for v in found[0]):
            return wavelengths_to_nm(np.asarray(found[0], dtype=np.float64), found[1], path=path)
    return None


_Found = tuple[list[float], str] | None


def _of_json(tiff: Any, series: int, count: int) -> _Found:
    described = tiff.shaped_metadata or ()
    entries = described[series] if series < len(described) else {}
    lists = [
        value
        for name, value in entries.items()
        if WAVELENGTH_NAME.search(name) and isinstance(value, list | tuple) and len(value) == count
    ]
    is_one = len(lists) == 1 and all(type(entry) in (int, float) for entry in lists[0])
    return ([float(entry) for entry in lists[0]], str(entries.get("wavelength_units", ""))) if is_one else None


def _of_text(tiff: Any, series: int, count: int) -> _Found:
    info = (tiff.imagej_metadata or {}).get("Info", "") if tiff.is_imagej else ""
    text = f"{tiff.pages[0].description}\n{info}"[:_LONGEST_TEXT]
    listed, unit = _ENVI_LIST.search(text), _ENVI_UNIT.search(text)
    if listed is None:
        return None
    entries = [entry for entry in re.split(r"[\s,;]+", listed[1]) if entry]
    if not all(re.fullmatch(_NUMBER, entry) for entry in entries):
        return None
    return [float(entry) for entry in entries], unit[1] if unit else ""


def _of_ome(tiff: Any, series: int, count: int) -> _Found:
    if not tiff.is_ome or not tiff.ome_metadata:
        return None
    pixels = [e for e in ElementTree.fromstring(tiff.ome_metadata).iter() if e.tag.endswith("}Pixels")]
    channels = [e for e in pixels[series] if e.tag.endswith("}Channel")] if series < len(pixels) else []
    stated = [(e.get("EmissionWavelength"), e.get("EmissionWavelengthUnit", "nm")) for e in channels]
    if all(value and re.fullmatch(_NUMBER, value) and unit == "nm" for value, unit in stated):
        return [float(value) for value, _ in stated if value], "nm"
    return _parsed([e.get("Name") or "" for e in channels])


def _of_gdal(tiff: Any, series: int, count: int) -> _Found:
    text = tiff.pages[0].tags.valueof(_GDAL)
    if not text:
        return None
    by_band: dict[str, dict[int, str]] = {}
    for item in ElementTree.fromstring(str(text)[:_LONGEST_TEXT].strip("\0 \n")).iter("Item"):
        band, name = item.get("sample") or "", (item.get("name") or "").lower()
        if band.isdigit():
            by_band.setdefault(name, {})[int(band)] = (item.text or "").strip()
    bands = range(count)
    for name in ("wavelength", "central_wavelength_nm", "center_wavelength"):
        values = [by_band.get(name, {}).get(band, "") for band in bands]
        if all(re.fullmatch(_NUMBER, value) for value in values):
            unit = by_band.get("wavelength_units", {}).get(0, "nm" if name.endswith("_nm") else "")
            return [float(value) for value in values], unit
    return _parsed([by_band.get("description", {}).get(band, "") for band in bands])


def _of_names(tiff: Any, series: int, count: int) -> _Found:
    if tiff.is_imagej:
        return _parsed([str(label) for label in (tiff.imagej_metadata or {}).get("Labels", ())])
    pages = tiff.series[series].pages
    if len(pages) != count or any(page is None for page in pages):
        return None
    return _parsed([str(page.aspage().tags.valueof("ImageDescription", "") or "") for page in pages])


def _parsed(names: list[str]) -> _Found:
    """The wavelengths of names that all begin with one and its unit, such as `500 nm` or `band 3 (515.2 nm)`."""
    found = [_NAMED.match(name) or re.search(rf"\(({_NUMBER})\s*(nm|um|µm|μm)\)", name) for name in names]
    units = {match[2].lower() for match in found if match}
    if not found or not all(found) or len(units) != 1:
        return None
    return [float(match[1]) for match in found if match], units.pop()
