"""Tissue parameters of a recording: those that were computed before, or by a formula or a vendor's module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.images.tivita_rgb import CUBE_ENDING, PARAMETER_PICTURES
from stroma.spectra.parameter_maps import (
    BACKGROUND,
    ParameterSource,
    TissueParameters,
    check_maps,
    published_parameters,
    vendor_modules,
    vendor_parameters,
)
from stroma.spectra.parameters import PARAMETERS, ParameterConstants, background_mask, covered

if TYPE_CHECKING:
    from stroma.study.recording import Recording

HTC_PARAMETERS = "parameter_images"
SOURCES = ("auto", "htc", "camera", "published")


def read_parameters(
    recording: Recording,
    source: str = "auto",
    constants: ParameterConstants | None = None,
    *,
    cube: NDArray[Any] | None = None,
) -> TissueParameters:
    """The tissue parameters of a recording; each map says where it comes from.

    Args:
        recording: Which one.
        source: `htc` (its intermediates `parameter_images`, which the vendor's code computed), `camera` (the pictures
            beside the cube, read back through their colour scale), `published` (formulas), or the name of a vendor's
            module. `auto` takes each parameter from htc, else from the camera, else from the formulas.
        constants: All numbers of the formulas.
        cube: (H, W, C), where it has been read already.

    Raises:
        MissingFile: there is nothing of this source.
        UsageError: an unknown source, an image without wavelengths, or wavelengths that cover no formula.
        InvalidData: what was computed before does not fit the image.
    """
    readers = {"htc": _from_htc, "camera": _from_camera}
    if source in readers:
        found = readers[source](recording, constants, cube)
        if found is None:
            kind = "parameter images of htc" if source == "htc" else "pictures of parameters by the camera"
            raise MissingFile(
                f"has no {kind}", where=recording.path, next_step="Use the source 'published', or 'auto'"
            )
        return found
    if source not in SOURCES:
        check_source(source)
        pixels, nm = _spectra(recording, cube)
        camera_id = recording.camera_log.get("Camera_CamID")
        return vendor_parameters(source, pixels, nm, None if camera_id is None else str(camera_id), constants)
    if source == "published":
        return published_parameters(*_spectra(recording, cube), constants)
    return _best(recording, constants, cube)


def check_source(source: str) -> None:
    """Check that there is such a source, before anything is computed.

    Raises:
        UsageError: there is none, or a vendor's module cannot be imported.
    """
    if source in SOURCES:
        return
    if source not in vendor_modules.names():
        known = ", ".join([*SOURCES, *vendor_modules.names()])
        raise UsageError(
            f"there is no source '{source}' of tissue parameters",
            next_step=f"Known: {known}; a vendor's module is added by an entry point of stroma.parameters",
        )
    vendor_modules.get(source)


def parameters_at(
    recording: Recording,
    pixels: NDArray[np.bool_],
    cube: NDArray[Any],
    source: str = "auto",
    constants: ParameterConstants | None = None,
) -> TissueParameters:
    """As `read_parameters`, for some pixels only, so that formulas are not evaluated elsewhere.

    Args:
        recording: Which one.
        pixels: (H, W), which of its pixels, n of them.
        cube: (H, W, C), all of it.
        source: See `read_parameters`.
        constants: All numbers of the formulas.

    Returns:
        Maps of (n,) values, in raster order.
    """
    if source == "published" or (source == "auto" and not parameter_files(recording)):
        _, nm = _spectra(recording, cube)
        return published_parameters(cube[pixels], nm, constants)
    found = read_parameters(recording, source, constants, cube=cube)
    values = {name: value[pixels] for name, value in found.values.items()}
    return TissueParameters(values, found.sources, found.background[pixels])


def _best(recording: Recording, constants: ParameterConstants | None, cube: NDArray[Any] | None) -> TissueParameters:
    """Each parameter from htc, else from the camera, else by its formula."""
    parts = [_from_htc(recording, constants, cube)]
    if parts[0] is None or len(parts[0].values) < len(PARAMETERS):
        parts.append(_from_camera(recording, constants, cube))
        with recording.open() as image:
            computable = image.wavelengths_nm is not None and bool(covered(image.wavelengths_nm, constants))
        if computable or not any(parts):
            parts.append(published_parameters(*_spectra(recording, cube), constants))
    found = [part for part in parts if part is not None]
    values: dict[str, NDArray[np.float32]] = {}
    sources: dict[str, ParameterSource] = {}
    for part in reversed(found):
        values |= part.values
        sources |= part.sources
    order = [*(name for name in PARAMETERS if name in values), *(name for name in values if name not in PARAMETERS)]
    return TissueParameters({n: values[n] for n in order}, {n: sources[n] for n in order}, found[0].background)


def parameter_files(recording: Recording, source: str = "auto") -> list[Path]:
    """The files beside the cube that parameters of this source are read from."""
    files = []
    htc = recording.preprocessed_file(HTC_PARAMETERS) if source in ("auto", "htc") else None
    if htc is not None:
        files.append(htc)
    if source in ("auto", "camera"):
        files += _pictures(recording).values()
    return files


def _from_htc(
    recording: Recording, constants: ParameterConstants | None, cube: NDArray[Any] | None
) -> TissueParameters | None:
    path = recording.preprocessed_file(HTC_PARAMETERS)
    if path is None:
        return None
    with stage("read"):
        content = recording.preprocessed(HTC_PARAMETERS)
    if not isinstance(content, dict) or BACKGROUND not in content:
        raise InvalidData("holds no parameter images with their background", where=path)
    values = {name: np.asarray(content[name], np.float32) for name in PARAMETERS if name in content}
    with recording.open() as image:
        size = image.shape[:2]
    check_maps(values, size, where=str(path))
    background = np.asarray(content[BACKGROUND]).astype(np.bool_)
    if background.shape != size:
        raise InvalidData(f"has a background of shape {background.shape}, the image is {size}", where=path)
    return TissueParameters(values, dict.fromkeys(values, "vendor"), background)


def _from_camera(
    recording: Recording, constants: ParameterConstants | None, cube: NDArray[Any] | None
) -> TissueParameters | None:
    names = list(_pictures(recording))
    if not names:
        return None
    with stage("read"):
        values = {name: recording.parameter_picture(name) for name in names}
    pixels, nm = _spectra(recording, cube)
    return TissueParameters(values, dict.fromkeys(names, "camera"), background_mask(pixels, nm, constants))


def _pictures(recording: Recording) -> dict[str, Path]:
    """The camera's pictures of parameters that lie beside the cube."""
    stem = recording.path.name.removesuffix(CUBE_ENDING)
    paths = {
        name: recording.path.with_name(f"{stem}_{PARAMETER_PICTURES[name]}.png")
        for name in PARAMETERS
        if recording.path.name.endswith(CUBE_ENDING)
    }
    return {name: path for name, path in paths.items() if path.is_file()}


def _spectra(recording: Recording, cube: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    with recording.open() as image:
        if image.wavelengths_nm is None:
            raise UsageError(
                "has no wavelengths, so that no tissue parameter can be computed",
                where=recording.path,
                next_step="Tissue parameters are for hyperspectral images",
            )
        return image.read() if cube is None else cube, image.wavelengths_nm
