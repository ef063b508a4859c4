"""Wavelengths of a file's bands: units, plausibility, and the names that channels get from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError

_TO_NM = {"nm": 1.0, "nanometers": 1.0, "nanometer": 1.0, "nanometres": 1.0, "nanometre": 1.0}
_TO_NM |= dict.fromkeys(("µm", "μm", "um", "micrometers", "micrometer", "micrometres", "micron", "microns"), 1000.0)

_LARGEST_UM = 100.0
"""Without a unit, wavelengths below are taken for µm: no optical camera sees 100 nm, none 100 µm."""


def wavelengths_to_nm(values: NDArray[Any], unit: str, *, path: Path) -> NDArray[np.float64] | None:
    """Turn the wavelengths of a file into nm.

    Args:
        values: (bands,) numbers as stored.
        unit: As stored (`nm`, `Micrometers`, `Wavenumber`, …); empty or `unknown`: µm if all values are below
            100, else nm.
        path: For messages.

    Returns:
        (bands,) nm, or None where the unit is no length (`Index`, `GHz`); wavenumbers in 1/cm are converted.

    Raises:
        InvalidData: a value is not positive or not finite.
    """
    known = unit.strip().lower()
    result = np.asarray(values, dtype=np.float64).ravel()
    wrong = result[~(np.isfinite(result) & (result > 0))]
    if wrong.size:
        raise InvalidData(f"has the wavelength {wrong[0]:g}, which is not positive and finite", where=path)
    if known == "wavenumber":
        return np.asarray(1e7 / result)
    if known in ("", "unknown"):
        known = "µm" if result.max(initial=0) < _LARGEST_UM else "nm"
    return result * _TO_NM[known] if known in _TO_NM else None


def given_wavelengths(given: Sequence[float], *, path: Path) -> tuple[NDArray[np.float64], str]:
    """What a caller said, with its unit (none).

    Raises:
        UsageError: they are no numbers.
    """
    try:
        return np.asarray(given, dtype=np.float64), ""
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the wavelengths {str(given)[:60]} are no numbers", where=path, next_step="Write [500, 510.5, 520]"
        ) from error


def stated_wavelengths(
    stated: tuple[NDArray[Any], str] | None, count: int, *, path: Path
) -> NDArray[np.float64] | None:
    """Wavelengths of an image in nm from (values, unit) of its file or of the caller.

    Raises:
        InvalidData: they are not one for each channel, or not positive and finite.
    """
    if stated is None:
        return None
    values, unit = np.ravel(stated[0]), stated[1]
    if len(values) != count:
        raise InvalidData(f"has {count} channels, but {len(values)} wavelengths were given", where=path)
    return wavelengths_to_nm(values, unit, path=path)


def band_names(count: int, wavelengths_nm: NDArray[np.float64] | None) -> tuple[str, ...]:
    """`500.0 nm`… where wavelengths are known, else `channel 0` and so on."""
    if wavelengths_nm is None:
        return tuple(f"channel {i}" for i in range(count))
    return tuple(f"{wavelength:.1f} nm" for wavelength in wavelengths_nm)


def check_channels(channels: slice | list[int] | None, count: int, path: Path) -> slice | list[int]:
    """What to index the channels with.

    Raises:
        UsageError: there is no such channel.
    """
    if channels is None:
        return slice(None)
    if isinstance(channels, slice):
        return channels
    for channel in channels:
        if not -count <= channel < count:
            raise UsageError(f"there is no channel {channel}", where=path, next_step=f"Use 0 to {count - 1}")
    return channels
