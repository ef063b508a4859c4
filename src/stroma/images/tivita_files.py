"""What lies beside a Tivita cube and is no picture: dark and white references; and whether a cube is sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, StromaError, UnreadableImage
from stroma.images.tivita import read_cube, read_shape

DARK_ENDING = "DarkPattern.dpic"
WHITE_NAME = "EqBinWhiteCube.dat"
CAMERA_SHAPE = (480, 640, 100)
"""(height, width, channels) of every cube that the cameras write."""

CAMERA_MAXIMUM = 1023
"""Largest raw count: the sensor has ten bits."""

_COLUMNS_AT_ONCE = 64
_LARGEST_SIDE = 65_536


@dataclass(frozen=True)
class CubeProblem:
    """Something that is wrong with a cube.

    Attributes:
        check: Which check found it: `unreadable`, `shape`, `not_finite`, `zero_pixel`, `all_negative`, `zero_value`
            or `negative_pixel`.
        reason: What was found, with numbers.
        is_fatal: Whether the cube should not be used; else it is a warning.
    """

    check: str
    reason: str
    is_fatal: bool


def read_dark(path: Path | str) -> NDArray[np.float64]:
    """Read the dark pattern of a camera: raw counts without light, averaged over the columns.

    The file holds two big-endian int32 (rows, channels), then big-endian float64.

    Args:
        path: `*_DarkPattern.dpic`.

    Returns:
        (rows, channels) raw counts in the order of the file, usually (480, 100).

    Raises:
        UnreadableImage: it cannot be opened, or its size contradicts its header.
    """
    path = Path(path)
    with stage("read"):
        try:
            size = path.stat().st_size
            with path.open("rb") as handle:
                header = np.frombuffer(handle.read(8).ljust(8, b"\0"), dtype=">i4")
                rows, channels = int(header[0]), int(header[1])
                if not (0 < rows <= _LARGEST_SIDE and 0 < channels <= _LARGEST_SIDE):
                    raise UnreadableImage(
                        f"is no dark pattern: its header says {rows} rows, {channels} channels", where=path
                    )
                if size != 8 + 8 * rows * channels:
                    needed = 8 + 8 * rows * channels
                    raise UnreadableImage(
                        f"is {size:,} bytes, a dark pattern of {rows} rows and {channels} channels needs {needed:,}",
                        where=path,
                        next_step="Copy the file from the camera again",
                    )
                content = handle.read()
        except OSError as error:
            raise UnreadableImage(f"cannot be opened ({error.strerror or error})", where=path) from error
    return np.frombuffer(content, dtype=">f8").reshape(rows, channels).astype(np.float64)


def read_white(path: Path | str) -> NDArray[np.float32]:
    """Read the white reference (`EqBinWhiteCube.dat`), which is stored like a cube.

    Returns:
        (height, width, channels) raw counts above dark.

    Raises:
        UnreadableImage: as for `read_cube`.
    """
    return read_cube(path)


def raw_counts(
    cube: NDArray[np.floating], white: NDArray[np.floating], dark: NDArray[np.floating]
) -> NDArray[np.float32]:
    """What the sensor counted, before the camera software corrected it: `cube · white + dark`.

    Args:
        cube: (height, width, channels) reflectance.
        white: (height, width, channels), from `read_white`.
        dark: (height, channels), from `read_dark`.

    Returns:
        (height, width, channels) counts, float32, up to `CAMERA_MAXIMUM`.

    Raises:
        InvalidData: the sizes differ.
    """
    if cube.ndim != 3 or white.shape != cube.shape or dark.shape != (cube.shape[0], cube.shape[2]):
        raise InvalidData(
            f"a cube {cube.shape}, white {white.shape} and dark {dark.shape} do not belong together",
            next_step="Dark has the cube's height and channels, white its whole shape",
        )
    counts: NDArray[np.float32] = (cube * white + dark[:, None, :]).astype(np.float32)
    return counts


def oversaturated(counts: NDArray[np.floating], threshold: float = 1000) -> NDArray[np.bool_]:
    """Which pixels received too much light in any channel.

    Args:
        counts: (height, width, channels), from `raw_counts`.
        threshold: Counts above it are too many.

    Returns:
        (height, width).
    """
    return np.asarray((counts > threshold).any(axis=2))


def check_cube(path: Path | str, *, shape: tuple[int, int, int] | None = CAMERA_SHAPE) -> list[CubeProblem]:
    """Say what is wrong with a cube; it is read in stripes, never whole.

    Fatal are a file that cannot be read, another shape, values that are not finite, pixels that are 0 in all
    channels, and a cube of negative values alone; single zeros and pixels of negative values alone are warnings.

    Args:
        path: The cube.
        shape: (height, width, channels) that it must have; None allows any.

    Returns:
        The problems, fatal ones first; empty for a sound cube.
    """
    path = Path(path)
    try:
        found = read_shape(path)
        counts = _counted(path, found)
    except StromaError as error:
        return [CubeProblem("unreadable", error.what, True)]
    pixels, values = found[0] * found[1], found[0] * found[1] * found[2]
    problems = []
    if shape is not None and found != shape:
        problems.append(CubeProblem("shape", f"is {_sizes(found)}, not {_sizes(shape)}", True))
    if counts["not_finite"]:
        problems.append(CubeProblem("not_finite", f"{counts['not_finite']:,} of {values:,} values", True))
    if counts["zero_pixel"]:
        problems.append(CubeProblem("zero_pixel", f"{counts['zero_pixel']:,} of {pixels:,} pixels are all 0", True))
    if counts["negative_value"] == values:
        problems.append(CubeProblem("all_negative", "all values are below 0", True))
    if counts["zero_value"] and not counts["zero_pixel"]:
        problems.append(CubeProblem("zero_value", f"{counts['zero_value']:,} of {values:,} values are 0", False))
    if counts["negative_pixel"] and counts["negative_value"] < values:
        reason = f"{counts['negative_pixel']:,} of {pixels:,} pixels are below 0 in all channels"
        problems.append(CubeProblem("negative_pixel", reason, False))
    return problems


def _counted(path: Path, shape: tuple[int, int, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for x in range(0, shape[1], _COLUMNS_AT_ONCE):
        stripe = read_cube(path, x=x, w=min(_COLUMNS_AT_ONCE, shape[1] - x))
        for name, count in _stripe_counts(stripe).items():
            total[name] = total.get(name, 0) + count
    return total


def _stripe_counts(stripe: NDArray[Any]) -> dict[str, int]:
    with stage("transform"):
        is_zero, is_negative = stripe == 0, stripe < 0
        return {
            "not_finite": stripe.size - int(np.count_nonzero(np.isfinite(stripe))),
            "zero_value": int(np.count_nonzero(is_zero)),
            "zero_pixel": int(np.count_nonzero(is_zero.all(axis=2))),
            "negative_value": int(np.count_nonzero(is_negative)),
            "negative_pixel": int(np.count_nonzero(is_negative.all(axis=2))),
        }


def _sizes(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}×{shape[0]}×{shape[2]} (width×height×channels)"
