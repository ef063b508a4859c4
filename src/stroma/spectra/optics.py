"""Diffuse reflectance of tissue from what it is made of: blood, oxygenation, water, fat, scattering."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stroma.spectra.chromophores import fat_per_cm, haemoglobin_per_cm, melanosome_per_cm, water_per_cm

REFRACTIVE_INDEX = 1.4
"""Of soft tissue, relative to air."""


class TissueOptics:
    """Tissue reflectance at fixed wavelengths; holds the absorption of the pure chromophores.

    Fractions are of volume, 0-1. All tissue properties are numbers or arrays (...) that broadcast against each
    other; spectra are (..., C) float32.

    Args:
        wavelengths_nm: (C,) within 500 to 1000 nm.

    Raises:
        UsageError: a wavelength lies outside the tables.
    """

    def __init__(self, wavelengths_nm: ArrayLike) -> None:
        self.wavelengths_nm: NDArray[np.float64] = np.asarray(wavelengths_nm, dtype=np.float64)
        oxygenated, deoxygenated = haemoglobin_per_cm(self.wavelengths_nm)
        self._oxygenated = oxygenated.astype(np.float32)
        self._deoxygenated = deoxygenated.astype(np.float32)
        self._water = water_per_cm(self.wavelengths_nm).astype(np.float32)
        self._fat = fat_per_cm(self.wavelengths_nm).astype(np.float32)
        self._melanosome = melanosome_per_cm(self.wavelengths_nm).astype(np.float32)

    @cached_property
    def _log_relative_wavelength(self) -> NDArray[np.float32]:
        return np.log(self.wavelengths_nm / 500.0).astype(np.float32)

    def absorption_per_cm(
        self,
        *,
        blood: ArrayLike,
        oxygenation: ArrayLike,
        water: ArrayLike = 0.0,
        fat: ArrayLike = 0.0,
        melanin: ArrayLike = 0.0,
    ) -> NDArray[np.float32]:
        """Absorption coefficient as the volume-weighted sum over chromophores.

        S. L. Jacques, Physics in Medicine and Biology 58:R37, 2013, equation 12.

        Args:
            blood: Blood volume fraction.
            oxygenation: Share of haemoglobin that carries oxygen, 0-1.
            water: Water volume fraction.
            fat: Fat volume fraction.
            melanin: Melanosome volume fraction.

        Returns:
            (..., C) in 1/cm.
        """
        blood_, oxygenation_ = _column(blood), _column(oxygenation)
        result: NDArray[np.float32] = (blood_ * oxygenation_) * self._oxygenated
        result += (blood_ * (1 - oxygenation_)) * self._deoxygenated
        for fraction, absorption in ((water, self._water), (fat, self._fat), (melanin, self._melanosome)):
            if np.any(fraction):
                result = np.asarray(result + _column(fraction) * absorption, dtype=np.float32)
        return result

    def reduced_scattering_per_cm(self, *, at_500_per_cm: ArrayLike, power: ArrayLike) -> NDArray[np.float32]:
        """Reduced scattering coefficient a · (λ / 500 nm)^-b.

        Jacques 2013, equation 1; his table 2 has a = 18.9 /cm, b = 1.3 on average for soft tissue, 18.4 and 0.67
        for fatty tissue, 27.1 and 1.63 for fibrous tissue, 46.0 and 1.42 for skin.

        Args:
            at_500_per_cm: a, the value at 500 nm, in 1/cm.
            power: b; small for large scatterers, 4 for Rayleigh scattering.

        Returns:
            (..., C) in 1/cm.
        """
        result: NDArray[np.float32] = _column(at_500_per_cm) * np.exp(-_column(power) * self._log_relative_wavelength)
        return result

    def reflectance(
        self,
        *,
        blood: ArrayLike,
        oxygenation: ArrayLike,
        water: ArrayLike,
        fat: ArrayLike,
        scattering_per_cm: ArrayLike,
        scattering_power: ArrayLike,
        melanin: ArrayLike = 0.0,
    ) -> NDArray[np.float32]:
        """Diffuse reflectance (..., C), 0-1, of thick tissue; see `absorption_per_cm`, `diffuse_reflectance`."""
        absorption = self.absorption_per_cm(
            blood=blood, oxygenation=oxygenation, water=water, fat=fat, melanin=melanin
        )
        scattering = self.reduced_scattering_per_cm(at_500_per_cm=scattering_per_cm, power=scattering_power)
        return diffuse_reflectance(absorption, scattering)


def diffuse_reflectance(
    absorption_per_cm: ArrayLike,
    reduced_scattering_per_cm: ArrayLike,
    *,
    refractive_index: float = REFRACTIVE_INDEX,
) -> NDArray[np.float32]:
    """Total diffuse reflectance of a half space under broad illumination.

    R = a'/2 · (1 + exp(-4/3 · A · s)) · exp(-s) with the transport albedo a' = µs' / (µa + µs'),
    s = sqrt(3 (1 - a')) and the internal reflection A = (1 + r) / (1 - r): T. J. Farrell, M. S. Patterson and
    B. Wilson, Medical Physics 19:879, 1992, equation 15; r = -1.440/n² + 0.710/n + 0.668 + 0.0636 n from
    R. A. J. Groenhuis et al., Applied Optics 22:2456, 1983.

    Args:
        absorption_per_cm: µa, (...) in any unit of inverse length.
        reduced_scattering_per_cm: µs', (...) in the same unit, positive.
        refractive_index: n of the tissue relative to the medium above it.

    Returns:
        (...) float32, 0-1: 1 without absorption, towards 0 as absorption dominates.
    """
    absorption = np.asarray(absorption_per_cm, dtype=np.float32)
    scattering = np.asarray(reduced_scattering_per_cm, dtype=np.float32)
    inside = internal_reflection(refractive_index)
    # 1 - a' = µa / (µa + µs'), without the cancellation of subtracting
    total = absorption + scattering
    attenuation = np.sqrt(3 * absorption / total)
    albedo = scattering / total
    result: NDArray[np.float32] = (
        0.5 * albedo * (1 + np.exp(np.float32(-4 / 3 * inside) * attenuation)) * np.exp(-attenuation)
    )
    return result


def internal_reflection(refractive_index: float) -> float:
    """A = (1 + r) / (1 - r) of the boundary condition of the diffusion equation; 1 for equal indices."""
    n = refractive_index
    reflection = 0.0 if n == 1 else -1.440 / n**2 + 0.710 / n + 0.668 + 0.0636 * n
    return (1 + reflection) / (1 - reflection)


def _column(values: ArrayLike) -> NDArray[Any]:
    """`values` as float32 with a last axis for the wavelengths."""
    return np.asarray(values, dtype=np.float32)[..., None]
