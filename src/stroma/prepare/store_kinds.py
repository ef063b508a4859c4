"""What each kind of store holds: from an image of a study to the array that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.provenance import InputRecord
from stroma.images.image import Image
from stroma.prepare.store_options import PrepareOptions
from stroma.regions.superpixels import SlicOptions, slic
from stroma.spectra.normalise import l1
from stroma.spectra.parameter_maps import BACKGROUND
from stroma.study.parameters import parameter_files, read_parameters
from stroma.study.study import Study

_HALF_MAX = float(np.finfo(np.float16).max)
_BLOCK_ROWS = 16


@dataclass(frozen=True)
class Content:
    """What goes into a store.

    Attributes:
        pixels: (h, w, C).
        channels: Names of the channels.
        wavelengths_nm: Of the channels, where the stored values are spectra.
        not_measured: Pixels whose spectrum is zero or has a value that is not finite.
    """

    pixels: NDArray[Any]
    channels: tuple[str, ...]
    wavelengths_nm: NDArray[np.float64] | None = None
    not_measured: int = 0


def make_content(study: Study, image_id: str, image: Image, options: PrepareOptions) -> Content:
    """Compute what the store of an image holds.

    Args:
        study: The study.
        image_id: The image.
        image: It, opened.
        options: With the kind.

    Raises:
        InvalidData: a value of the image is finite and too large for float16.
    """
    if options.kind == "rgb":
        return Content(study.rgb(image_id), ("red", "green", "blue"))
    if options.kind == "parameters":
        return _parameters(study, image_id, options)
    if options.kind == "superpixels":
        pixels = study.rgb(image_id) if options.of == "rgb" else image.read()
        chosen = SlicOptions(options.segments, options.compactness, options.sigma_px)
        with stage("transform"):
            if options.of == "image" and image.wavelengths_nm is not None:
                pixels = l1(pixels)  # uneven light would draw borders of its own
            return Content(slic(pixels, chosen)[:, :, None], ("superpixel",))
    spectra = image.read()
    with stage("transform"):
        stored, not_measured = to_half(spectra, normalise=options.kind == "l1")
    if options.kind == "raw16" and bool((np.isinf(stored) & np.isfinite(spectra)).any()):
        raise InvalidData(
            f"has values up to {np.abs(spectra[np.isfinite(spectra)]).max():g}, float16 ends at {_HALF_MAX:g}",
            where=image.path,
            next_step="Store it as --kind l1, or train on the original images",
        )
    return Content(stored, image.channels, image.wavelengths_nm, not_measured)


def _parameters(study: Study, image_id: str, options: PrepareOptions) -> Content:
    """Maps of tissue parameters and of the background, in which they are 0; channels are called `StO2 (camera)`."""
    found = read_parameters(study[image_id], options.source, options.constants)
    maps = [np.nan_to_num(found[name], nan=0.0) for name in found.values]
    pixels = np.stack([*maps, found.background.astype(np.float32)], axis=2)
    names = tuple(f"{name} ({source})" for name, source in found.sources.items())
    return Content(pixels, (*names, BACKGROUND))


def store_inputs(study: Study, image_id: str, options: PrepareOptions) -> tuple[InputRecord, ...]:
    """The files that a store is made from."""
    image = InputRecord.of(image_id, study.image_path(image_id))
    if options.kind != "parameters":
        return (image,)
    files = parameter_files(study[image_id], options.source)
    return (image, *(InputRecord.of(f"{image_id}/{path.name}", path) for path in files))


def to_half(spectra: NDArray[Any], *, normalise: bool) -> tuple[NDArray[np.float16], int]:
    """Spectra as float16, L1-normalised in float32 before if wanted; some rows at a time, to stay in the cache.

    Args:
        spectra: (h, w, C).
        normalise: Divide each by the sum of its absolute values.

    Returns:
        (h, w, C) float16, and the number of spectra that are zero or have a value that is not finite.
    """
    stored = np.empty(spectra.shape, dtype=np.float16)
    not_measured = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for y in range(0, len(spectra), _BLOCK_ROWS):
            rows = spectra[y : y + _BLOCK_ROWS]
            total = np.abs(rows).sum(axis=2, dtype=np.float32)
            not_measured += int((~(np.isfinite(total) & (total > 0))).sum())
            stored[y : y + _BLOCK_ROWS] = l1(rows) if normalise else rows
    return stored, not_measured
