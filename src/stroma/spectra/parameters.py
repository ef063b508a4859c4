"""Tissue parameters of reflectance spectra by published formulas: StO2, NIR perfusion, THI, TWI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stroma.core.config import Section
from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.core.threads import in_threads
from stroma.spectra.derivatives import savitzky_golay_matrix
from stroma.spectra.normalise import absorbance, measured


def _ascending(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError("a window goes from a shorter to a longer wavelength")
    return window


NamedWindow = Annotated[tuple[float, float], AfterValidator(_ascending)]
PARAMETERS = ("StO2", "NIR", "THI", "TWI", "OHI", "TLI")
"""All parameters of the camera, in the order in which tables list them."""

WATER_BAND = "WaterBand"
PUBLISHED = ("StO2", "NIR", "THI", "TWI")
"""Those with a published formula. None was found for the organ haemoglobin and the tissue lipid index."""

_BLOCK = 4_096  # spectra at a time


class ParameterConstants(Section):
    """Every number in the formulas; each can be overridden.

    The windows are those of A. Holmer et al., Biomedical Engineering 63:547, 2018, with absorbance A = -ln(R). The
    scales between 0 and 1 are not in the paper; the defaults are those of an open re-implementation (class
    HSOpenTivita of the package hsi), except for the window of the derivative: 25 nm there, 45 nm here, because noise
    makes minima of a second derivative deeper (see docs/tissue-parameters.md for what each gives on phantoms).

    Attributes:
        absorbance_floor: Reflectance below counts as this.
        derivative_window_nm: Width of the Savitzky-Golay window, made an odd number of bands.
        derivative_order: Of its polynomial.
        sto2_oxygenated_nm: Where the second derivative is most negative in oxygenated blood.
        sto2_deoxygenated_nm: And in deoxygenated blood.
        sto2_r1: Divisor of the first minimum.
        sto2_r2: Divisor of the second.
        sto2_least_per_nm2: Sum of both below which there is no blood to speak of: rounding would decide.
        nir_deep_nm: Numerator of the NIR perfusion.
        nir_reference_nm: Its denominator.
        nir_s1: Ratio that gives 0.
        nir_s2: Ratio that gives 1.
        thi_blood_nm: Numerator of the tissue haemoglobin index.
        thi_reference_nm: Its denominator.
        thi_t1: Ratio that gives 0.
        thi_t2: Ratio that gives 1.
        twi_water_nm: Numerator of the tissue water index.
        twi_reference_nm: Its denominator.
        twi_u1: Ratio that gives 0.
        twi_u2: Ratio that gives 1.
        water_band_nm: Where the second derivative is most negative in water.
        water_band_per_nm2: Depth of that minimum that gives 1 (our own parameter, not published).
        background_dark: Mean reflectance below which a pixel is background.
        background_green_nm: Blood is dark here …
        background_red_nm: … and bright here: tissue reflects less in the first than in the second.
        background_green_to_red: Ratio of the two from which on a pixel is background (cloth, gauze, metal).
    """

    absorbance_floor: float = Field(1e-3, gt=0, lt=1)
    derivative_window_nm: float = Field(45.0, gt=0)
    derivative_order: int = Field(3, ge=2)
    sto2_oxygenated_nm: NamedWindow = (570.0, 590.0)
    sto2_deoxygenated_nm: NamedWindow = (740.0, 780.0)
    sto2_r1: float = Field(1.0, gt=0)
    sto2_r2: float = Field(0.15, gt=0)
    sto2_least_per_nm2: float = Field(1e-6, gt=0)
    nir_deep_nm: NamedWindow = (825.0, 925.0)
    nir_reference_nm: NamedWindow = (655.0, 735.0)
    nir_s1: float = 0.0
    nir_s2: float = 1.9
    thi_blood_nm: NamedWindow = (530.0, 590.0)
    thi_reference_nm: NamedWindow = (785.0, 825.0)
    thi_t1: float = 1.3
    thi_t2: float = 3.0
    twi_water_nm: NamedWindow = (955.0, 980.0)
    twi_reference_nm: NamedWindow = (880.0, 900.0)
    twi_u1: float = 0.4
    twi_u2: float = 2.0
    water_band_nm: NamedWindow = (945.0, 985.0)
    water_band_per_nm2: float = Field(1e-3, gt=0)
    background_dark: float = 0.03
    background_green_nm: NamedWindow = (505.0, 535.0)
    background_red_nm: NamedWindow = (610.0, 650.0)
    background_green_to_red: float = Field(0.97, gt=0)

    @field_validator("nir_s2", "thi_t2", "twi_u2")
    @classmethod
    def _differ(cls, value: float, info: ValidationInfo) -> float:
        name = str(info.field_name)
        zero = f"{name[:-1]}1"
        if value == info.data.get(zero):
            raise ValueError(f"the ratios that give 0 and 1 ({zero} and {name}) have to differ")
        return value


_WINDOWS = {
    "StO2": ("sto2_oxygenated_nm", "sto2_deoxygenated_nm"),
    "NIR": ("nir_deep_nm", "nir_reference_nm"),
    "THI": ("thi_blood_nm", "thi_reference_nm"),
    "TWI": ("twi_water_nm", "twi_reference_nm"),
    WATER_BAND: ("water_band_nm",),
    "background": ("background_green_nm", "background_red_nm"),
}


def compute_parameter(
    name: str, spectra: NDArray[Any], wavelengths_nm: ArrayLike, constants: ParameterConstants | None = None
) -> NDArray[np.float32]:
    """Compute one tissue parameter by its published formula.

    With A = -ln(reflectance), m the minimum of its second derivative in a window (0 where it is positive) and ⟨A⟩ its
    mean in a window:

    - `StO2`: (m1/r1) / (m1/r1 + m2/r2), oxygenation of the blood;
    - `NIR`: (⟨A⟩ 825-925 / ⟨A⟩ 655-735 - s1) / (s2 - s1), near-infrared perfusion;
    - `THI`: (⟨A⟩ 530-590 / ⟨A⟩ 785-825 - t1) / (t2 - t1), tissue haemoglobin index;
    - `TWI`: (⟨A⟩ 955-980 / ⟨A⟩ 880-900 - u1) / (u2 - u1), tissue water index;
    - `WaterBand`: -m of the water band divided by a depth. This one is ours: unlike TWI it does not follow the blood.

    Args:
        name: One of `PUBLISHED`, or `WaterBand`.
        spectra: (..., C) reflectance, 1 = white reference (not normalised).
        wavelengths_nm: (C,), ascending.
        constants: All numbers of the formulas.

    Returns:
        (...) float32, clipped to 0-1; NaN for spectra that are zero or not finite, and where a formula divides by 0.

    Raises:
        UsageError: there is no published formula of this name, or the wavelengths do not cover it.
        InvalidData: the wavelengths do not fit the spectra.
    """
    return compute_parameters((name,), spectra, wavelengths_nm, constants)[name]


def compute_parameters(
    names: Iterable[str],
    spectra: NDArray[Any],
    wavelengths_nm: ArrayLike,
    constants: ParameterConstants | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Compute several parameters at once; what they share is computed once. See `compute_parameter`."""
    constants, wanted = constants or ParameterConstants(), tuple(names)
    nm = _checked_wavelengths(spectra, wavelengths_nm)
    for name in wanted:
        if name not in _FORMULAS:
            raise UsageError(
                f"there is no published formula for '{name}'",
                next_step="It comes from the camera's pictures, htc's intermediates or a vendor module only"
                if name in PARAMETERS
                else nearest(name, _FORMULAS),
            )
        _check_cover(name, nm, constants)
    flat = spectra.reshape(-1, spectra.shape[-1])
    found = {name: np.empty(len(flat), np.float32) for name in wanted}

    def compute(number: int) -> None:
        part = slice(number * _BLOCK, (number + 1) * _BLOCK)
        block = _Block(flat[part], nm, constants)
        for name, values in found.items():
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                result = _FORMULAS[name](block, constants)
            known = np.isfinite(result) & block.measured
            values[part] = np.where(known, np.clip(result, 0, 1), np.float32(np.nan))

    in_threads(compute, -(-len(flat) // _BLOCK))
    return {name: values.reshape(spectra.shape[:-1]) for name, values in found.items()}


def covered(
    wavelengths_nm: ArrayLike, constants: ParameterConstants | None = None, names: Iterable[str] = PUBLISHED
) -> tuple[str, ...]:
    """Which of `names` the wavelengths cover."""
    nm = np.asarray(wavelengths_nm, np.float64)
    return tuple(name for name in names if not _uncovered(name, nm, constants or ParameterConstants()))


def background_mask(
    spectra: NDArray[Any], wavelengths_nm: ArrayLike, constants: ParameterConstants | None = None
) -> NDArray[np.bool_]:
    """Pixels that do not look like tissue: not measured, dark, or not darker in the green than in the red.

    Blood makes every tissue darker from 505 to 535 nm than from 610 to 650 nm; cloth, gauze and metal are not. Where
    the wavelengths do not cover both windows, the first two conditions decide.

    Args:
        spectra: (..., C) reflectance.
        wavelengths_nm: (C,), ascending.
        constants: The `background_…` numbers.

    Returns:
        (...) bool.

    Raises:
        InvalidData: the wavelengths do not fit the spectra.
    """
    constants = constants or ParameterConstants()
    nm = _checked_wavelengths(spectra, wavelengths_nm)
    with_colour = not _uncovered("background", nm, constants)

    flat = spectra.reshape(-1, spectra.shape[-1])
    result = np.empty(len(flat), np.bool_)
    for start in range(0, len(flat), _BLOCK):
        block = np.ascontiguousarray(flat[start : start + _BLOCK], np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            outside = ~measured(block) | ~(block.mean(axis=1) >= constants.background_dark)
            if with_colour:
                green = block[:, _inside(nm, constants.background_green_nm)].mean(axis=1)
                red = block[:, _inside(nm, constants.background_red_nm)].mean(axis=1)
                outside |= ~(green < red * constants.background_green_to_red)
        result[start : start + _BLOCK] = outside
    return result.reshape(spectra.shape[:-1])


class _Block:
    """Some spectra, and what several formulas need of them.

    Args:
        spectra: (n, C) reflectance.
        nm: (C,).
        constants: All numbers of the formulas.
    """

    def __init__(self, spectra: NDArray[Any], nm: NDArray[np.float64], constants: ParameterConstants) -> None:
        self.nm, self.constants = nm, constants
        reflectance = np.ascontiguousarray(spectra, np.float32)
        self.measured = measured(reflectance)
        self.absorbance = absorbance(reflectance, constants.absorbance_floor, np.e)

    def mean(self, window: NamedWindow) -> NDArray[np.float32]:
        """Mean absorbance in a window, (n,)."""
        return np.asarray(self.absorbance[:, _inside(self.nm, window)].mean(axis=1), np.float32)

    def deepest(self, window: NamedWindow) -> NDArray[np.float32]:
        """Minimum of the second derivative of the absorbance in a window, per nm², (n,)."""
        step = float(self.nm[-1] - self.nm[0]) / (len(self.nm) - 1)
        bands, order = _window_bands(step, self.constants), self.constants.derivative_order
        matrix = savitzky_golay_matrix(len(self.nm), bands, order, 2, step)[:, _inside(self.nm, window)]
        return np.asarray((self.absorbance @ matrix).min(axis=1), np.float32)


def _sto2(block: _Block, c: ParameterConstants) -> NDArray[np.float32]:
    oxygenated = np.minimum(block.deepest(c.sto2_oxygenated_nm), 0) / c.sto2_r1
    deoxygenated = np.minimum(block.deepest(c.sto2_deoxygenated_nm), 0) / c.sto2_r2
    without_bands = oxygenated + deoxygenated > -c.sto2_least_per_nm2
    return np.asarray(np.where(without_bands, np.nan, oxygenated / (oxygenated + deoxygenated)), np.float32)


def _water_band(block: _Block, c: ParameterConstants) -> NDArray[np.float32]:
    return np.asarray(-block.deepest(c.water_band_nm) / c.water_band_per_nm2, np.float32)


def _nir(block: _Block, c: ParameterConstants) -> NDArray[np.float32]:
    ratio = block.mean(c.nir_deep_nm) / block.mean(c.nir_reference_nm)
    return np.asarray((ratio - c.nir_s1) / (c.nir_s2 - c.nir_s1), np.float32)


def _thi(block: _Block, c: ParameterConstants) -> NDArray[np.float32]:
    ratio = block.mean(c.thi_blood_nm) / block.mean(c.thi_reference_nm)
    return np.asarray((ratio - c.thi_t1) / (c.thi_t2 - c.thi_t1), np.float32)


def _twi(block: _Block, c: ParameterConstants) -> NDArray[np.float32]:
    ratio = block.mean(c.twi_water_nm) / block.mean(c.twi_reference_nm)
    return np.asarray((ratio - c.twi_u1) / (c.twi_u2 - c.twi_u1), np.float32)


_Formula = Callable[[_Block, ParameterConstants], NDArray[np.float32]]
_FORMULAS: dict[str, _Formula] = {"StO2": _sto2, "NIR": _nir, "THI": _thi, "TWI": _twi, WATER_BAND: _water_band}


def _window_bands(step_nm: float, constants: ParameterConstants) -> int:
    """The window of the derivative as an odd number of bands, enough for its polynomial."""
    order = constants.derivative_order
    return max(2 * round((constants.derivative_window_nm / step_nm - 1) / 2) + 1, order + 1 + order % 2)


def _inside(nm: NDArray[np.float64], window: NamedWindow) -> NDArray[np.bool_]:
    return np.asarray((nm >= window[0]) & (nm <= window[1]))


def _checked_wavelengths(spectra: NDArray[Any], wavelengths_nm: ArrayLike) -> NDArray[np.float64]:
    nm = np.asarray(wavelengths_nm, np.float64).ravel()
    if spectra.shape[-1:] != nm.shape:
        raise InvalidData(f"spectra of shape {spectra.shape} do not have {len(nm)} wavelengths")
    if not np.isfinite(nm).all() or (np.diff(nm) <= 0).any():
        raise InvalidData("the wavelengths are not finite or do not increase")
    return nm


def _uncovered(name: str, nm: NDArray[np.float64], constants: ParameterConstants) -> str:
    """Why a formula cannot be used with these wavelengths; empty if it can."""
    for key in _WINDOWS[name]:
        low, high = getattr(constants, key)
        if not _inside(nm, (low, high)).any() or nm[0] > low or nm[-1] < high:
            return f"needs {low:g} to {high:g} nm"
    if name in ("StO2", WATER_BAND):
        steps = np.diff(nm)
        if steps.max() > 1.05 * steps.min():
            return "needs evenly spaced wavelengths"
        if _window_bands(float(steps.mean()), constants) > len(nm):
            return f"needs {_window_bands(float(steps.mean()), constants)} bands or more"
    return ""


def _check_cover(name: str, nm: NDArray[np.float64], constants: ParameterConstants) -> None:
    reason = _uncovered(name, nm, constants)
    if reason:
        raise UsageError(
            f"the formula of {name} {reason}, there are {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm",
            next_step="Resample the spectra (stroma.spectra.resample_spectra)"
            if "evenly" in reason
            else "Leave this parameter out: nothing is extrapolated",
        )
