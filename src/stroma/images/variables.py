"""Which of a file's named arrays is the image, and which holds its wavelengths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError, nearest
from stroma.images.bands import given_wavelengths

WAVELENGTH_NAME = re.compile(r"wav|wellenl|lambda|^wl|_wl|_nm$|^nm$|centers|centres", re.IGNORECASE)
"""What arrays, variables and attributes that hold wavelengths are called."""


@dataclass(frozen=True)
class Variable:
    """A named array of a file, without its values.

    Attributes:
        shape: As stored.
        kind: Type in the file's own words.
        is_real: Whether it holds real numbers.
    """

    shape: tuple[int, ...]
    kind: str
    is_real: bool

    def __str__(self) -> str:
        return f"{'×'.join(str(size) for size in self.shape) or 'scalar'} {self.kind}"


def choose_image(variables: Mapping[str, Variable], wanted: str | None, path: Path) -> str:
    """Name of the array that is the image.

    Args:
        variables: All of the file.
        wanted: What the caller named, or None: the only one of three dimensions.
        path: For messages.

    Raises:
        UsageError: `wanted` is not there.
        InvalidData: it is no real array of two or three dimensions, or without `wanted` there is none or are
            several; the message lists all with their shapes.
    """
    listed = ", ".join(f"{name} ({variable})" for name, variable in list(variables.items())[:20]) or "nothing"
    if wanted is not None:
        if wanted not in variables:
            raise UsageError(f"has no variable '{wanted}'", where=path, next_step=nearest(wanted, variables))
        variable = variables[wanted]
        if not variable.is_real or len(variable.shape) not in (2, 3) or 0 in variable.shape:
            raise InvalidData(
                f"has the variable {wanted} ({variable}), which is no image",
                where=path,
                next_step="Give real numbers of shape (height, width, channels)",
            )
        return wanted
    found = [
        name
        for name, variable in variables.items()
        if variable.is_real and len(variable.shape) == 3 and 0 not in variable.shape
    ]
    if len(found) == 1:
        return found[0]
    what = f"has {len(found)} arrays of three dimensions" if found else "has no array of three dimensions"
    flat = [name for name, one in variables.items() if one.is_real and len(one.shape) == 2 and 0 not in one.shape]
    named = f"Name the image: open_image(path, variable={(found or flat or [''])[0]!r})"
    raise InvalidData(
        f"{what}; it holds {listed}",
        where=path,
        next_step=named if found or flat else "Save the image itself, as real numbers (height, width, channels)",
    )


def find_wavelengths(
    variables: Mapping[str, Variable],
    channels: int,
    wanted: str | Sequence[float] | None,
    path: Path,
    read: Callable[[str], tuple[NDArray[Any], str]],
) -> tuple[NDArray[Any], str] | None:
    """Wavelengths and their unit: those that the caller gave, else those of `choose_wavelengths`.

    Args:
        variables: All of the file.
        channels: Of the image.
        wanted: What the caller named or gave, or None.
        path: For messages.
        read: Values and unit of an array by its name.

    Raises:
        UsageError: there is no array of that name, or what was given are no numbers.
        InvalidData: it has not one number a channel.
    """
    if wanted is not None and not isinstance(wanted, str):
        return given_wavelengths(wanted, path=path)
    name = choose_wavelengths(variables, channels, wanted, path)
    return None if name is None else read(name)


def choose_wavelengths(
    variables: Mapping[str, Variable], channels: int, wanted: str | None, path: Path
) -> str | None:
    """Name of the array that holds the wavelengths: one-dimensional, `channels` long and called like it.

    Args:
        variables: All of the file.
        channels: Of the image.
        wanted: What the caller named, or None: the only one whose name says it (`wavelengths`, `lambda`, …).
        path: For messages.

    Returns:
        The name, or None where there is none or it is not clear which.

    Raises:
        UsageError: `wanted` is not there.
        InvalidData: it has not one number a channel.
    """
    if wanted is not None:
        if wanted not in variables:
            raise UsageError(f"has no variable '{wanted}'", where=path, next_step=nearest(wanted, variables))
        if not _is_list(variables[wanted], channels):
            raise InvalidData(
                f"has the variable {wanted} ({variables[wanted]}), which is not one number for each of {channels}"
                " channels",
                where=path,
            )
        return wanted
    found = [name for name, value in variables.items() if _is_list(value, channels) and WAVELENGTH_NAME.search(name)]
    return found[0] if len(found) == 1 else None


def _is_list(variable: Variable, length: int) -> bool:
    sides = sorted(variable.shape)
    return variable.is_real and bool(sides) and sides[-1] == length and all(side == 1 for side in sides[:-1])
