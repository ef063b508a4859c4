"""`open_image`: from a path to an Image, by what the file is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stroma.core.clock import stage
from stroma.core.errors import MissingFile, StromaError, UnreadableImage, UsageError, nearest
from stroma.images import registry
from stroma.images.image import Image

READERS = (
    "tivita", "store", "envi", "hdf5", "matlab", "numpy", "ome_zarr", "zarr", "czi", "openslide", "tiff", "picture",
)  # fmt: skip
"""Our readers, in the order in which they are asked; each has `suffixes` and `accepts(path) -> bool`."""

_READABLE = (
    "Readable are Tivita, ENVI, MATLAB, NumPy and Zarr cubes, slides known to OpenSlide, CZI, OME-Zarr, PNG, JPEG,"
    " BMP and TIFF"
)
_LACKING = dict.fromkeys(
    (".raw", ".img", ".bil", ".bip", ".bsq", ".dat"), "ENVI data need their header (.hdr) beside"
)
_LACKING[".npz"] = "It must hold an array of three dimensions"
_LACKING[".npy"] = "It must hold three dimensions; two open as one channel with reader='numpy'"
"""Suffix → what a file of this kind lacks that no reader accepted."""


def open_image(path: str | Path, *, reader: str | None = None, **options: Any) -> Image:
    """Open an image file.

    Args:
        path: A Tivita cube (`*_SpecCube.dat`) or its folder, an ENVI cube (its `.hdr` or data file), a cube in
            a MATLAB or NumPy file or a Zarr folder, a slide that OpenSlide reads, CZI, OME-Zarr, a PNG, JPEG, BMP or
            TIFF.
        reader: Name of a reader instead of asking each: one of `READERS` (`tivita`, `envi`, `tiff`, …), or of a
            plug-in.
        **options: Passed on to the reader: `mpp=0.5` where a file does not say, `series=`, `z=` and `t=` where a
            TIFF or an OME-Zarr folder holds several images, `variable=` where a MATLAB or NumPy file holds several
            arrays.

    Returns:
        The image; nothing but its header has been read.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: the file is damaged, or of a kind that no reader knows.
        UsageError: an unknown `reader`, or an option that the reader does not have.
    """
    path = Path(path)
    if not path.exists():
        raise missing(path)
    known = [*READERS, *registry.plugins]
    if reader and reader not in known:
        raise UsageError(f"there is no reader '{reader}'", next_step=nearest(reader, known))
    with stage("read"):
        for name in [reader] if reader else known:
            factory = registry.get(name)
            if reader or factory.accepts(path):
                _check_options(name, factory, options, path)
                image: Image = factory(path, **options)
                return image
    if path.is_dir():
        raise UnreadableImage(
            "is a folder, not an image", where=path, next_step=f"Describe it as a study: stroma init '{path}'"
        )
    raise UnreadableImage(
        f"is not an image Stroma can read ({path.stat().st_size:,} bytes, suffix '{path.suffix}')",
        where=path,
        next_step=_LACKING.get(path.suffix.lower(), _READABLE),
    )


def _check_options(name: str, factory: Callable[..., Image], options: Mapping[str, Any], path: Path) -> None:
    parameters = inspect.signature(factory).parameters
    accepted = [option for option in parameters if option != "path"]
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in accepted and not takes_all:
            raise UsageError(
                f"the reader '{name}' has no option '{option}'", where=path, next_step=nearest(option, accepted)
            )


def missing(path: Path) -> StromaError:
    """The error for a path that does not exist, with the nearest name in its folder."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, names)
    return MissingFile("there is no such file", where=path, next_step=hint if hint.startswith("Did") else "")
