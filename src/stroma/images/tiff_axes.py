"""Which pages of a TIFF are the channels of one image: its axes, and the choice among series, z and t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.guard import check_plausible
from stroma.images.planes import Plane, mapped_plane, segmented_plane

_CHANNEL_AXES = "CQI"  # channels, and pages that nothing is said about
_MAX_CHANNELS = 4_096


@dataclass(frozen=True)
class Choice:
    """What of a file with many images is read; None where there is nothing to choose."""

    series: int
    z: int | None
    t: int | None


def planes_of(path: Path, level: Any, choice: Choice) -> tuple[Plane, ...]:
    """Find the planes of a level in the order of the channels.

    Args:
        path: The file.
        level: One level of a series (`tifffile.TiffPageSeries`).
        choice: Which z and t.

    Raises:
        UnreadableImage: planes are missing, damaged or not chosen, or the file has an axis that is not read.
        UsageError: there is no such plane.
    """
    frame = level.keyframe
    if frame.dtype is None or frame.dtype.kind not in "buif":
        raise UnreadableImage(f"holds values of type {frame.dtype}, which are not read", where=path)
    axes, lengths = _leading_axes(level)
    count = math.prod(lengths)
    separate, _, height, width, contiguous = frame.shaped
    if count * separate * contiguous > _MAX_CHANNELS:
        raise UnreadableImage(f"holds {count:,} planes, which is more than an image has channels", where=path)
    check_plausible(path, height, width, count, frame.dtype.itemsize, path.stat().st_size)
    chosen = [index for index in np.ndindex(*lengths) if _is_chosen(path, axes, lengths, index, choice)]
    numbers = [int(np.ravel_multi_index(index, lengths)) if lengths else 0 for index in chosen]
    if level.dataoffset is not None and frame.dtype.kind != "b":
        return tuple(mapped_plane(path, level, number) for number in numbers)
    pages = [level.pages[number] for number in numbers]
    if any(page is None for page in pages):
        raise UnreadableImage("lacks some of the planes that it declares", where=path)
    return tuple(segmented_plane(_file_of(page, path), page) for page in pages)


def _leading_axes(level: Any) -> tuple[str, tuple[int, ...]]:
    """The axes before those of a page, with their lengths; axes of length 1 are left out."""
    inner = len(level.keyframe.shape)
    if "".join(axis for axis in level.axes[len(level.shape) - inner :] if axis in "YX") == "YX":
        kept = list(range(len(level.shape)))
    else:  # such as (1, H, W, 1), of which the page knows (H, W)
        kept = [i for i, length in enumerate(level.shape) if length > 1 or level.axes[i] in "YX"]
    outer = kept[: len(kept) - inner]
    return "".join(level.axes[i] for i in outer), tuple(level.shape[i] for i in outer)


def _file_of(page: Any, path: Path) -> Path:
    """The file a page lies in: OME-TIFF may spread an image over several."""
    file = Path(page.parent.filehandle.path)
    return path if file == path.absolute() else file


def _is_chosen(path: Path, axes: str, leading: Sequence[int], index: tuple[int, ...], choice: Choice) -> bool:
    """Whether the plane at `index` is one of the channels of the chosen z and t."""
    for axis, size, position in zip(axes, leading, index, strict=True):
        if axis in _CHANNEL_AXES or size == 1:
            continue
        wanted = {"Z": choice.z, "T": choice.t}.get(axis)
        if axis not in "ZT":
            raise UnreadableImage(f"has an axis '{axis}' of length {size}, which is not read", where=path)
        if wanted is None:
            raise UnreadableImage(
                f"holds {size} planes along {axis.lower()}",
                where=path,
                next_step=f"Choose one: open_image(path, {axis.lower()}=0)",
            )
        if not 0 <= wanted < size:
            raise UsageError(f"there is no {axis.lower()}={wanted}", where=path, next_step=f"Use 0 to {size - 1}")
        if position != wanted:
            return False
    return True
