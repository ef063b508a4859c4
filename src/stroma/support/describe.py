"""What a file or folder is, in plain values; of what could name a patient nothing is taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

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
from stroma.images.tivita import TivitaImage
from stroma.images.zarr_cube import ZarrImage
from stroma.study.config import STUDY_FILE
from stroma.study.layouts.recognise import recognise
from stroma.support.description import Description, quoted, record_facts
from stroma.support.known_files import describe_file, describe_study
from stroma.support.recording_files import describe_recording_file, picture_of_camera
from stroma.support.weight_files import describe_htc_run, describe_weights


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
    known = None if path.is_dir() else describe_recording_file(path, with_identifiers=with_identifiers)
    if known is not None:
        return known
    if any(images.get(name).accepts(path) for name in (*READERS, *images.plugins)):
        return _image(path)
    return _folder(path) if path.is_dir() else describe_weights(path) or describe_file(path)


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
            kind, opens = picture_of_camera(path, *image.shape[:2]) or (f"{image.format} picture", opens)
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
    run = describe_htc_run(folder)
    if run is not None:
        return run
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
