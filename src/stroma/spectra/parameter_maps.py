"""Maps of tissue parameters that say where they come from, and modules of a vendor that compute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.core.registry import Registry
from stroma.spectra.parameters import (
    PARAMETERS,
    PUBLISHED,
    WATER_BAND,
    ParameterConstants,
    background_mask,
    compute_parameters,
    covered,
)

ParameterSource = Literal["published formula", "own formula", "vendor", "camera"]
BACKGROUND = "background"
_LOOKED_AT, _MOST_REFLECTANCE = 1000, 2.0
"""Spectra whose mean is looked at, and what the middle one of them is at most where 1 is the white reference."""


class VendorModule(Protocol):
    """What a plug-in is: a function of an entry point of the group `stroma.parameters`."""

    def __call__(
        self, cube: NDArray[np.float32], wavelengths_nm: NDArray[np.float64], camera_id: str | None
    ) -> Mapping[str, NDArray[Any]]:
        """Compute maps.

        Args:
            cube: (H, W, C) reflectance.
            wavelengths_nm: (C,).
            camera_id: As in the camera's log, if there is one; formulas may depend on the lamp.

        Returns:
            Name (`StO2`, `NIR`, `THI`, `TWI`, `OHI`, `TLI`) → (H, W) values 0-1, and perhaps `background` → (H, W),
            True where there is no tissue.
        """


vendor_modules = Registry("stroma.parameters", {})
"""Modules of vendors by name: `[project.entry-points."stroma.parameters"] tivita = "package.module:function"`."""


@dataclass(frozen=True)
class TissueParameters:
    """Tissue parameters of one image.

    Attributes:
        values: Name → (H, W) float32, 0-1, NaN where there is no value; also of pixels of the background.
        sources: Name → where the values come from.
        background: (H, W) bool, True where there is no tissue.
    """

    values: Mapping[str, NDArray[np.float32]]
    sources: Mapping[str, ParameterSource]
    background: NDArray[np.bool_] = field(repr=False)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """The map of a parameter, NaN on the background.

        Raises:
            UsageError: there is none; the message says which there are.
        """
        if name not in self.values:
            why = "there is no published formula for it" if name in PARAMETERS[4:] else "it was not computed"
            raise UsageError(f"there is no map '{name}': {why}", next_step=f"There are {', '.join(self.values)}")
        return np.where(self.background, np.float32(np.nan), self.values[name])

    def describe(self) -> str:
        """`StO2, NIR: camera; THI: published formula`."""
        by_source: dict[str, list[str]] = {}
        for name, source in self.sources.items():
            by_source.setdefault(source, []).append(name)
        return "; ".join(f"{', '.join(names)}: {source}" for source, names in by_source.items())


def published_parameters(
    cube: NDArray[Any], wavelengths_nm: NDArray[np.float64], constants: ParameterConstants | None = None
) -> TissueParameters:
    """All parameters with a published formula that the wavelengths cover, and the water band.

    Args:
        cube: (H, W, C) reflectance, or (n, C), which gives maps (n,).
        wavelengths_nm: (C,).
        constants: All numbers of the formulas.

    Raises:
        UsageError: the wavelengths cover none of them.
        InvalidData: the values are no reflectance but counts or per cent.
    """
    constants = constants or ParameterConstants()
    names = covered(wavelengths_nm, constants, (*PUBLISHED, WATER_BAND))
    if not names:
        raise UsageError(
            f"{len(wavelengths_nm)} bands from {wavelengths_nm[0]:g} to {wavelengths_nm[-1]:g} nm cover no formula "
            "of a tissue parameter",
            next_step=f"The formulas of {', '.join(PUBLISHED)} need bands between 530 and 980 nm",
        )
    _check_reflectance(cube)
    with stage("transform"):
        values = compute_parameters(names, cube, wavelengths_nm, constants)
        sources: dict[str, ParameterSource] = {
            name: "own formula" if name == WATER_BAND else "published formula" for name in names
        }
        return TissueParameters(values, sources, background_mask(cube, wavelengths_nm, constants))


def _check_reflectance(cube: NDArray[Any]) -> None:
    """The logarithm of counts has values too, and the formulas would make maps of them."""
    spectra = cube.reshape(-1, cube.shape[-1])
    means = spectra[:: max(1, len(spectra) // _LOOKED_AT)].mean(axis=1, dtype=np.float64)
    means = means[np.isfinite(means) & (means != 0)]
    if means.size and np.median(means) > _MOST_REFLECTANCE:
        raise InvalidData(
            f"values are {np.median(means):.4g} on average: formulas of tissue parameters need reflectance, "
            "where 1 is the white reference",
            next_step="Divide by the white reference (after the dark one), or leave them out (--parameters none)",
        )


def vendor_parameters(
    name: str,
    cube: NDArray[Any],
    wavelengths_nm: NDArray[np.float64],
    camera_id: str | None = None,
    constants: ParameterConstants | None = None,
) -> TissueParameters:
    """Parameters by the module of a vendor; its result is checked.

    Args:
        name: Of the plug-in.
        cube: (H, W, C) reflectance.
        wavelengths_nm: (C,).
        camera_id: As in the camera's log.
        constants: For the background where the module gives none.

    Raises:
        UsageError: there is no such plug-in.
        InvalidData: it returned no map, one of another size, or values beyond 0-1.
    """
    module: VendorModule = vendor_modules.get(name)
    with stage("transform"):
        result = dict(module(np.asarray(cube, np.float32), np.asarray(wavelengths_nm), camera_id))
    given = result.pop(BACKGROUND, None)
    values = {key: np.asarray(value, np.float32) for key, value in result.items()}
    check_maps(values, cube.shape[:2], where=f"vendor module '{name}'")
    background = background_mask(cube, wavelengths_nm, constants) if given is None else np.asarray(given, np.bool_)
    if background.shape != cube.shape[:2]:
        raise InvalidData(f"gives a background of shape {background.shape}", where=f"vendor module '{name}'")
    return TissueParameters(values, dict.fromkeys(values, "vendor"), background)


def check_maps(values: Mapping[str, NDArray[np.float32]], size: tuple[int, ...], *, where: str) -> None:
    """Check names, sizes and the range of maps.

    Raises:
        InvalidData: one is wrong, or there is none.
    """
    if not values:
        raise InvalidData("gives no map", where=where)
    for name, value in values.items():
        if name not in PARAMETERS:
            raise InvalidData(
                f"gives a map '{name}' that is no parameter", where=where, next_step=f"Known: {', '.join(PARAMETERS)}"
            )
        if value.shape != tuple(size):
            raise InvalidData(f"gives '{name}' of shape {value.shape}, the image is {tuple(size)}", where=where)
        known = value[np.isfinite(value)]
        if known.size and (known.min() < 0 or known.max() > 1):
            raise InvalidData(
                f"gives '{name}' from {known.min():g} to {known.max():g}, values are fractions 0-1", where=where
            )
