"""Writing what htc needs to know about a study: its masks, its table of images, its preprocessed cubes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.files import atomic_path
from stroma.core.tables import polars_writes
from stroma.spectra.normalise import l1
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.htc.names import ImageName
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.study import Study

_NOT_FOR_HTC = ("image_id", "subject_id", "path", "timestamp", "camera", "height", "width")


def write_htc_masks(study: Study, folder: Path | str) -> list[Path]:
    """Write `<folder>/segmentations/<image_id>.blosc`: all annotations of an image, as `semantic#primary` → mask.

    The masks hold the indices of the data set (`labels.sources`), and 255 where nothing is annotated.

    Args:
        study: With labels.
        folder: Usually the folder `intermediates` beside `data`.

    Returns:
        The files, one for each annotated image, sorted.

    Raises:
        StromaError: a mask that cannot be read, see `Study.annotated_mask`.
    """
    table = _values(study.labels)
    paths = []
    for image_id in study.annotations["image_id"].unique().sort():
        masks = study[image_id].masks()
        content = {name: table[mask.labels] for name, mask in masks.items()}
        paths.append(write_htc_blosc(Path(folder) / "segmentations" / f"{image_id}.blosc", content))
    return paths


def write_htc_meta_table(study: Study, folder: Path | str) -> Path:
    """Write `<folder>/tables/<name>@meta.feather`: the index with which htc finds images by name.

    What stands in the annotation meta files is not repeated: htc reads it there, and joins its tables of median
    spectra to this one by all columns of equal names.

    Args:
        study: Whose images lie below its root or `root/data`.
        folder: Usually the folder `intermediates` beside `data`.

    Raises:
        InvalidData: an id that is no image name of htc.
    """
    catalog = study.catalog
    names = [_checked(image_id) for image_id in catalog["image_id"]]
    annotations: dict[str, set[str]] = {}
    for row in study.annotations.iter_rows(named=True):
        annotations.setdefault(row["image_id"], set()).add(f"{row['layer']}#{row['annotator']}")
    folders = [PurePosixPath(path).parent.as_posix().removeprefix("data/") for path in catalog["path"]]
    table = pl.DataFrame(
        {
            "image_name": [str(name) for name in names],
            "subject_name": catalog["subject_id"],
            "timestamp": [name.parts[-1] if name.parts[-1] != "overlap" else name.parts[-2] for name in names],
            "camera_name": catalog["camera"] if "camera" in catalog.columns else [None] * len(names),
            "path": folders,
            "annotation_name": pl.Series(
                [sorted(annotations.get(n.image_id, ())) for n in names], dtype=pl.List(pl.String)
            ),
        }
    )
    in_meta_files = _keys_of_meta_files(study)
    added = [name for name in catalog.columns if name not in _NOT_FOR_HTC and name not in in_meta_files]
    table = table.with_columns(catalog.select(added))
    path = Path(folder) / "tables" / f"{study.name}@meta.feather"
    with stage("write"), atomic_path(path) as temporary, polars_writes(temporary):
        table.write_ipc(temporary, compression="lz4", compat_level=pl.CompatLevel.oldest())
    return path


def _keys_of_meta_files(study: Study) -> set[str]:
    """The keys of all annotation meta files, also those of single labels."""
    keys: set[str] = set()
    for recording in study.select():
        meta = recording.annotation_meta
        keys.update(meta)
        for values in meta.get("label_meta", {}).values():
            keys.update(values)
    return keys


def write_htc_cubes(study: Study, folder: Path | str, kind: Literal["L1", "raw16"] = "L1") -> list[Path]:
    """Write `<folder>/preprocessing/<kind>/<image_id>.blosc`: cubes as htc reads them (`input/preprocessing: L1`).

    Files that are there already stay.

    Args:
        study: Of hyperspectral images.
        folder: Usually the folder `intermediates` beside `data`.
        kind: `L1`: each spectrum divided by the sum of its absolute values, float16. `raw16`: reflectance, float16.

    Returns:
        The files, one for each image, sorted.

    Raises:
        InvalidData: a value of the image is finite and too large for float16.
    """
    paths = []
    for image_id in study:
        path = Path(folder) / "preprocessing" / kind / f"{image_id}.blosc"
        paths.append(path)
        if path.is_file() and path.stat().st_size:
            continue
        cube = study[image_id].cube()
        with stage("transform"), np.errstate(over="ignore"):
            stored = (l1(cube) if kind == "L1" else cube).astype(np.float16)
        if (np.isinf(stored) & np.isfinite(cube)).any():
            raise InvalidData(
                "has values beyond what float16 holds", where=study.image_path(image_id), next_step="Write L1 instead"
            )
        write_htc_blosc(path, stored)
    return paths


def _values(labels: LabelMapping) -> NDArray[np.uint8]:
    """Class index → value in the files of the data set."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    sources = {name: value for value, name in labels.sources.items()}
    for index, name in enumerate(labels.names):
        value = sources.get(name, index)
        if not 0 <= value < IGNORE:
            raise InvalidData(f"the label '{name}' has the index {value}, htc knows 0 to 254", where="labels.sources")
        table[index] = value
    return table


def _checked(image_id: str) -> ImageName:
    name = ImageName.parse(image_id)
    if "/" in image_id or len(name.parts) < 2:
        raise InvalidData(f"'{image_id}' is no image name of htc (subject#timestamp)")
    return name
