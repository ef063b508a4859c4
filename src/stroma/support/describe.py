"""What a file or folder is, in plain values; of what could name a patient nothing is taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stroma.core.errors import StromaError
from stroma.images import registry as images
from stroma.images.envi import EnviImage
from stroma.images.hdf5_cube import Hdf5Image
from stroma.images.matlab import MatlabImage
from stroma.images.numpy_cube import NumpyImage
from stroma.images.open import READERS, missing, open_image
from stroma.images.picture import PictureImage
from stroma.images.slide import SlideImage
from stroma.images.tiff import TiffImage
from stroma.images.tivita import TivitaImage, read_shape
from stroma.images.tivita_files import DARK_ENDING, WHITE_NAME, read_dark
from stroma.images.tivita_rgb import CUBE_ENDING, PARAMETER_PICTURES
from stroma.images.zarr_cube import ZarrImage
from stroma.spectra.colour_masks import is_chip_mask_name, read_chip_mask
from stroma.spectra.spectrometer import is_spectrometer_name, read_spectrometer
from stroma.study.config import STUDY_FILE
from stroma.study.htc.patient_file import read_patient_file
from stroma.study.layouts.recognise import recognise
from stroma.support.description import Description, quoted, record_facts
from stroma.support.known_files import describe_file, describe_study


def describe(path: Path, *, with_identifiers: bool = False) -> Description:
    """Say what `path` is.

    Args:
        path: A file or a folder of any kind.
        with_identifiers: Whether patient files of cameras are shown whole.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is an image that is damaged or not supported.
        InvalidData: it is a table or a document that is damaged.
    """
    if not path.exists():
        raise missing(path)
    beside = None if path.is_dir() else _beside_cube(path, with_identifiers)
    if beside is not None:
        return beside
    if any(images.get(name).accepts(path) for name in (*READERS, *images.plugins)):
        return _image(path)
    return _folder(path) if path.is_dir() else describe_file(path)


def _image(path: Path) -> Description:
    with open_image(path) as image:
        image.read(0, 0, 1, 1)  # a header can be whole where the pixels are not
        facts: dict[str, Any] = {"shape": list(image.shape), "dtype": str(image.dtype)}
        if image.wavelengths_nm is None:
            facts["channels"] = list(image.channels)
        else:
            facts["wavelengths_nm"] = [float(image.wavelengths_nm[0]), float(image.wavelengths_nm[-1])]
        facts["mpp"] = image.mpp
        if len(image.levels) > 1:
            facts["levels"] = [[level.height, level.width, level.downsample] for level in image.levels]
        kind, following, opens = "image", "", f"import stroma; image = stroma.open_image({str(path)!r})"
        if isinstance(image, TivitaImage):
            kind = "Tivita hyperspectral cube"
        elif isinstance(image, EnviImage):
            kind = "ENVI cube"
        elif isinstance(image, MatlabImage):
            kind = f"cube in a MATLAB file (variable {image.variable})"
        elif isinstance(image, Hdf5Image):
            kind = f"cube in an HDF5 file (array {image.variable})"
        elif isinstance(image, NumpyImage):
            kind = f"cube in a NumPy file (array {image.variable})" if image.variable else "cube in a NumPy file"
        elif isinstance(image, ZarrImage):
            kind = f"cube in a Zarr folder (array {image.variable})" if image.variable else "cube in a Zarr folder"
        elif isinstance(image, PictureImage):
            kind, parameter = f"{image.format} picture", _parameter_of(path)
            if parameter:
                kind = f"{parameter} as the Tivita camera showed it"
                opens = (
                    f"from stroma.images import read_parameter_picture as r; {parameter} = r({str(path)!r}).values"
                )
        elif isinstance(image, TiffImage):
            kind = "TIFF image" if image.wavelengths_nm is None else "cube in a TIFF stack"
        elif isinstance(image, SlideImage):
            kind = f"whole slide ({image.vendor})"
            facts |= _slide_facts(image)
            following = f"stroma tile {quoted(path)} -o tiles"
    facts["size_bytes"] = _size(path)
    if isinstance(image, EnviImage):
        facts["size_bytes"] = _size(image.header_path) + _size(image.data_path)
    return Description(kind, facts, opens, following)


def _beside_cube(path: Path, with_identifiers: bool) -> Description | None:
    """The references and patient files of a Tivita camera, which are no images."""
    if path.suffix.lower() == ".xml" and any(path.parent.glob(f"*{CUBE_ENDING}")):
        said: dict[str, Any] = dict(read_patient_file(path, with_identifiers=with_identifiers))
        opens = f"from stroma.study import read_patient_file; patient = read_patient_file({str(path)!r})"
        return Description("patient file of a Tivita camera", said, opens)
    if path.name.endswith(DARK_ENDING):
        rows, channels = read_dark(path).shape
        facts = {"rows": rows, "channels": channels, "size_bytes": path.stat().st_size}
        opens = f"from stroma.images import read_dark; dark = read_dark({str(path)!r})"
        return Description("dark pattern of a Tivita camera", facts, opens)
    if path.name.endswith(WHITE_NAME):
        height, width, channels = read_shape(path)
        facts = {"shape": [height, width, channels], "size_bytes": path.stat().st_size}
        opens = f"from stroma.images import read_white; white = read_white({str(path)!r})"
        return Description("white reference of a Tivita camera", facts, opens)
    if is_spectrometer_name(path.name):
        spectra = read_spectrometer(path)
        nm = spectra.wavelengths_nm
        facts = {
            "values": len(nm),
            "wavelengths_nm": [float(nm[0]), float(nm[-1])],
            "size_bytes": path.stat().st_size,
        }
        opens = f"from stroma.spectra import read_spectrometer; spectra = read_spectrometer({str(path)!r})"
        return Description("measurement of a spectrometer", facts, opens)
    if is_chip_mask_name(path.name):
        found = read_chip_mask(path)
        facts = {
            "shape": list(found.mask.shape),
            "board": found.board.name,
            "chips": len(np.unique(found.mask[found.mask > 0])),
        }
        opens = f"from stroma.spectra import read_chip_mask; mask = read_chip_mask({str(path)!r}).mask"
        return Description("mask of a colour checker", facts, opens)
    return None


def _parameter_of(path: Path) -> str:
    """Which tissue parameter a picture beside a Tivita cube shows, or an empty string."""
    stem, _, shown = path.stem.rpartition("_")
    names = [name for name, picture in PARAMETER_PICTURES.items() if picture == shown]
    return names[0] if names and path.with_name(stem + CUBE_ENDING).is_file() else ""


def _slide_facts(image: SlideImage) -> dict[str, Any]:
    bounds, power = image.scan_bounds, image.properties.get("openslide.objective-power")
    facts: dict[str, Any] = {"objective": f"{power}×"} if power else {}
    return facts if bounds == image.bounds else {**facts, "scan_bounds": [bounds.x, bounds.y, bounds.w, bounds.h]}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _folder(folder: Path) -> Description:
    name = quoted(folder)
    if (folder / "run.json").is_file():
        facts = record_facts(folder / "run.json")
        facts["folds_trained"] = len(list((folder / "folds").glob("*/card.json")))
        opens = f"from stroma.runs import Run; run = Run.open({str(folder)!r})"
        return Description("run folder of Stroma", facts, opens, f"stroma predict {name} IMAGE -o predictions")
    if (folder / STUDY_FILE).is_file():
        return describe_study(folder / STUDY_FILE, folder)
    records = sorted(folder.glob("*.done.json"))
    if records:
        facts = record_facts(records[0]) | {
            "complete_items": len(records),
            "failures": (folder / "failures.parquet").is_file(),
        }
        return Description("results of Stroma", facts | _contents(folder))
    try:
        found = recognise(folder)
    except StromaError as error:
        return Description("folder", {**_contents(folder), "layout": f"not recognised: {error.what}"})
    facts = {"layout": found.name, "found": found.reason}
    return Description("folder of images", facts, "", f"stroma init {name}")


def _contents(folder: Path) -> dict[str, Any]:
    names = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    suffixes = Counter(entry.suffix.lower() or "no suffix" for entry in names if entry.is_file())
    return {"files": dict(suffixes.most_common(8)), "folders": sum(entry.is_dir() for entry in names)}
