"""Pixel sizes: one number in µm a pixel, or none; nothing is guessed from print resolutions."""

from __future__ import annotations

import math
from pathlib import Path

from stroma.core.errors import UnreadableImage, UsageError

_ANISOTROPY = 0.01
_COARSEST_MICROSCOPE = 20.0
"""Coarser pixel sizes in resolution tags come from print defaults (72 dpi is 353 µm, 300 dpi 85 µm)."""


def one_mpp(x_um: float | None, y_um: float | None, *, path: Path, given: float | None = None) -> float | None:
    """Reduce the stated pixel sizes to one.

    Args:
        x_um: Width of a pixel in µm, or None when it is not stated.
        y_um: Height of a pixel in µm, or None when it is not stated.
        path: The file, for the message.
        given: The user's own value; it wins over everything stated.

    Returns:
        Geometric mean of both in µm, or None when nothing usable is stated.

    Raises:
        UsageError: `given` is not a positive number.
        UnreadableImage: width and height differ by more than 1 %.
    """
    if given is not None:
        if not (math.isfinite(given) and given > 0):
            raise UsageError(f"mpp={given} is no pixel size", where=path, next_step="Give µm per pixel, above 0")
        return float(given)
    stated = [value for value in (x_um, y_um) if value is not None and math.isfinite(value) and value > 0]
    if not stated:
        return None
    low, high = min(stated), max(stated)
    if high > low * (1 + _ANISOTROPY):
        raise UnreadableImage(
            f"has pixels of {x_um:g} × {y_um:g} µm, which are not square",
            where=path,
            next_step="Give one value with mpp=, or resample the image",
        )
    return math.sqrt(low * high)


def from_print_resolution(um: float | None) -> float | None:
    """Keep a pixel size from a resolution tag only where a microscope may have written it (up to 20 µm)."""
    return um if um is not None and 0 < um <= _COARSEST_MICROSCOPE else None
