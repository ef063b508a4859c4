"""Files of Tivita cameras and of data sets of htc, which are known by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stroma.images.htc_blosc import read_htc_header
from stroma.images.tivita import read_shape
from stroma.images.tivita_files import DARK_ENDING, WHITE_NAME, read_dark
from stroma.images.tivita_rgb import CUBE_ENDING, PARAMETER_PICTURES
from stroma.regions.coordinates import read_coordinates_csv
from stroma.regions.masks import binary_from_mask, read_mask
from stroma.regions.nrrd import read_mitk_nrrd
from stroma.spectra.colour_masks import is_chip_mask_name, read_chip_mask
from stroma.spectra.spectrometer import is_spectrometer_name, read_spectrometer
from stroma.study.htc.camera_log import read_camera_log
from stroma.study.htc.meta_table import read_meta_table
from stroma.study.htc.names import parse_timestamp
from stroma.study.htc.path_links import LINKS_FILE, read_path_links
from stroma.study.htc.patient_file import read_patient_file
from stroma.study.htc.settings import SETTINGS_FILE, DatasetSettings
from stroma.support.description import Description

_FRAMED = ((480, 640), (513, 646), (550, 680))
"""Sizes of the camera's pictures that `read_tivita_rgb` knows without being told that of the cube."""


def describe_recording_file(path: Path, *, with_identifiers: bool) -> Description | None:
    """Say what a file is by its name; None where its name says nothing.

    Args:
        path: A file.
        with_identifiers: Whether a patient file is shown whole.

    Raises:
        StromaError: it is damaged.
    """
    if path.suffix.lower() == ".xml" and any(path.parent.glob(f"*{CUBE_ENDING}")):
        said: dict[str, Any] = dict(read_patient_file(path, with_identifiers=with_identifiers))
        return Description("patient file of a Tivita camera", said, _line("stroma.study", "read_patient_file", path))
    describe_it = next((found for matches, found in _KINDS if matches(path)), None)
    return None if describe_it is None else describe_it(path)


def picture_of_camera(path: Path, height: int, width: int) -> tuple[str, str] | None:
    """What a picture beside a Tivita cube shows, and the line that opens it; None for other pictures."""
    stem, _, shown = path.stem.rpartition("_")
    if not path.with_name(stem + CUBE_ENDING).is_file():
        return None
    size = "" if (height, width) in _FRAMED else f", height={height}, width={width}"
    parameter = next((name for name, picture in PARAMETER_PICTURES.items() if picture == shown), "")
    if parameter:
        imported = "from stroma.images import read_parameter_picture as r"
        return (
            f"{parameter} as the Tivita camera showed it",
            f"{imported}; {parameter} = r({str(path)!r}{size}).values",
        )
    newer = path.with_name(f"{stem}_HSI-RGB-Image.png").is_file()
    kinds = {"HSI-RGB-Image": False, "RGB-Image": newer, "RGB-Capture": True}
    if shown not in kinds:
        return None
    kind = "picture of the RGB sensor" if kinds[shown] else "RGB picture reconstructed from the cube"
    return (
        f"{kind} of a Tivita camera",
        f"from stroma.images import read_tivita_rgb; rgb = read_tivita_rgb({str(path)!r}{size})",
    )


def _line(module: str, function: str, path: Path, after: str = "") -> str:
    name = function.removeprefix("read_")
    return f"from {module} import {function}; {name} = {function}({str(path)!r}){after}"


def _dark(path: Path) -> Description:
    rows, channels = read_dark(path).shape
    facts = {"rows": rows, "channels": channels, "size_bytes": path.stat().st_size}
    return Description("dark pattern of a Tivita camera", facts, _line("stroma.images", "read_dark", path))


def _white(path: Path) -> Description:
    facts = {"shape": list(read_shape(path)), "size_bytes": path.stat().st_size}
    return Description("white reference of a Tivita camera", facts, _line("stroma.images", "read_white", path))


def _log(path: Path) -> Description:
    said = read_camera_log(path)
    facts = {
        "camera": said.get("Camera_CamID", "not named"),
        "software": said.get("SW_Name", ""),
        "values": len(said),
    }
    return Description("log of a Tivita camera", facts, _line("stroma.study", "read_camera_log", path))


def _spectrometer(path: Path) -> Description:
    nm = read_spectrometer(path).wavelengths_nm
    facts = {"values": len(nm), "wavelengths_nm": [float(nm[0]), float(nm[-1])], "size_bytes": path.stat().st_size}
    return Description("measurement of a spectrometer", facts, _line("stroma.spectra", "read_spectrometer", path))


def _chips(path: Path) -> Description:
    found = read_chip_mask(path)
    chips = len(np.unique(found.mask[found.mask > 0]))
    facts = {"shape": list(found.mask.shape), "board": found.board.name, "chips": chips}
    return Description("mask of a colour checker", facts, _line("stroma.spectra", "read_chip_mask", path, ".mask"))


def _drawn_by(path: Path) -> dict[str, Any]:
    _, layer, annotator, label, _ = path.name.split("#")
    return {"label": label, "annotator": f"{layer}#{annotator}"}


def _binary(path: Path) -> Description:
    mask = binary_from_mask(read_mask(path), where=path)
    facts = {**_drawn_by(path), "shape": list(mask.shape), "marked_px": int(mask.sum())}
    return Description("mask of one label by one annotator", facts, _line("stroma.regions", "read_mask", path))


def _outline(path: Path) -> Description:
    outline = read_coordinates_csv(path)
    facts = {**_drawn_by(path), "points": len(outline.exterior.coords) - 1}
    return Description(
        "outline of one label by one annotator",
        facts,
        _line("stroma.regions.coordinates", "read_coordinates_csv", path),
    )


def _mitk(path: Path) -> Description:
    found = read_mitk_nrrd(path)
    names = [label.name for layer in found.labels for label in layer]
    facts = {"layers": len(found.mask), "shape": list(found.mask.shape[1:]), "labels": names}
    return Description("segmentation of MITK", facts, _line("stroma.regions", "read_mitk_nrrd", path))


def _blosc(path: Path) -> Description:
    header = read_htc_header(path)
    sizes = {name: f"{'×'.join(str(side) for side in shape)} {dtype}" for name, (shape, dtype) in header.items()}
    facts: dict[str, Any] = {"array": sizes[None]} if None in sizes else {"arrays": sizes}
    facts["size_bytes"] = path.stat().st_size
    return Description("arrays of htc (Blosc)", facts, _line("stroma.images.htc_blosc", "read_htc_blosc", path))


def _settings(path: Path) -> Description:
    found = DatasetSettings.load(path)
    facts: dict[str, Any] = {"name": str(found.content.get("dataset_name", ""))}
    if found.shape is not None:
        facts["shape"] = list(found.shape)
    facts["labels"] = list(found.labels() or ())
    opens = f"from stroma.study.htc.settings import DatasetSettings; settings = DatasetSettings.load({str(path)!r})"
    return Description("settings of a data set of htc", facts, opens)


def _links(path: Path) -> Description:
    links = read_path_links(path)
    facts = {"groups": len(links), "images": sum(len(names) for names in links.values())}
    return Description(
        "links to images of other data sets (htc)", facts, _line("stroma.study", "read_path_links", path)
    )


def _index(path: Path) -> Description:
    table = read_meta_table(path)
    facts = {"images": len(table), "columns": {name: str(kind) for name, kind in table.schema.items()}}
    return Description(
        "index of the images of a data set (htc)",
        facts,
        _line("stroma.study.htc.meta_table", "read_meta_table", path),
    )


def _archive(path: Path) -> Description:
    return Description("archive of a Tivita camera, which is not read", {"size_bytes": path.stat().st_size})


def _pickle(path: Path) -> Description:
    facts = {"size_bytes": path.stat().st_size}
    return Description("pickled objects, never opened, since a pickle can run programs", facts)


def _is_annotation(path: Path, ending: str) -> bool:
    parts = path.name.split("#")
    return len(parts) == 5 and parts[-1] == ending and all(parts)


_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Description]], ...] = (
    (lambda path: path.name.endswith(DARK_ENDING), _dark),
    (lambda path: path.name.endswith(WHITE_NAME), _white),
    (lambda path: parse_timestamp(path.name.removesuffix("_meta.log")) is not None, _log),
    (lambda path: is_spectrometer_name(path.name), _spectrometer),
    (lambda path: is_chip_mask_name(path.name), _chips),
    (lambda path: _is_annotation(path, "binary.png"), _binary),
    (lambda path: _is_annotation(path, "coordinates.csv"), _outline),
    (lambda path: path.suffix.lower() == ".nrrd", _mitk),
    (lambda path: path.suffix.lower() == ".blosc", _blosc),
    (lambda path: path.name == SETTINGS_FILE, _settings),
    (lambda path: path.name == LINKS_FILE, _links),
    (lambda path: path.name.endswith("@meta.feather"), _index),
    (lambda path: path.suffix.lower() == ".tiv", _archive),
    (lambda path: path.suffix.lower() in (".pkl", ".pickle"), _pickle),
)
"""Whether a name is of a kind, and what describes it; asked in this order."""
