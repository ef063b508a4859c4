"""`intermediates/segmentations/<image_name>.blosc`: masks of htc, one array an annotation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, StromaError
from stroma.images.htc_blosc import read_htc_blosc, read_htc_header
from stroma.study.labels import LabelMapping
from stroma.study.listing import Listing, Problem
from stroma.study.mitk_masks import collapse_layers

_SUFFIX = ".blosc"


def annotations_in(listing: Listing, folder: str, problems: list[Problem]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The masks below a folder; only the headers of the files are read.

    Returns:
        Image id → path of the file and names of its annotations (`semantic#primary`).
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for path in _files(listing.files, folder):
        try:
            names = list(read_htc_header(listing.root / path))
        except StromaError as error:
            problems.append(Problem(path, f"{error.what}; its masks are left out"))
            continue
        if not all(isinstance(name, str) for name in names):
            problems.append(Problem(path, "holds no masks by annotation; it is left out"))
            continue
        found[path.rpartition("/")[2].removesuffix(_SUFFIX)] = (path, tuple(names))
    return found


def _files(files: Iterable[str], folder: str) -> list[str]:
    return [path for path in files if path.endswith(_SUFFIX) and path.startswith(f"{folder}/")]


def read_segmentation(path: Path, annotation: str, labels: LabelMapping) -> tuple[NDArray[np.uint8], int]:
    """Read the mask of one annotation.

    A mask may have several layers; a pixel to which they give different labels counts as not annotated.

    Args:
        path: The file.
        annotation: `semantic#primary`.
        labels: The classes; `sources` says which values of the file they are.

    Returns:
        (h, w) class indices, `IGNORE` (255) where not annotated, and the number of pixels with several labels.

    Raises:
        InvalidData: there is no such annotation, it is no mask, or it has a value outside the mapping.
        UnreadableImage: the file is damaged.
    """
    content = read_htc_blosc(path)
    if not isinstance(content, dict) or annotation not in content:
        raise InvalidData(f"has no annotation '{annotation}'", where=path)
    stored: NDArray[Any] = content[annotation]
    if stored.ndim not in (2, 3) or stored.dtype != np.uint8 or stored.size == 0:
        raise InvalidData(f"'{annotation}' is {stored.dtype} of shape {stored.shape}, no mask", where=path)
    with stage("transform"):
        layers = labels.from_source(stored.reshape(-1, *stored.shape[-2:]), where=path)
        return collapse_layers(layers)
