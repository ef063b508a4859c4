"""What the values of mask files mean, found by reading a sample of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, StromaError, UnreadableImage
from stroma.images.open import open_image
from stroma.regions.masks import read_mask
from stroma.study.labels import IGNORE, LabelMapping

KINDS = ("mask-index", "mask-palette", "mask-rgb", "mask-instance", "mask-binary")
_MOST_FILES = 200
_MOST_PX = 200_000_000
_MOST_CLASSES = 40
_WINDOW_PX, _WINDOWS = 1024, 6
_NOT_MASKS = "Check that these files are masks; say which are with --images and --masks"


@dataclass(frozen=True)
class MaskSample:
    """What a sample of masks showed.

    Attributes:
        kind: One of `KINDS`.
        labels: The classes, named after their values.
        counts: Class → number of masks read that show it.
        notes: What was found and assumed.
    """

    kind: str
    labels: LabelMapping
    counts: Mapping[str, int]
    notes: Sequence[str]


@dataclass(frozen=True)
class _Seen:
    """One mask: its distinct values (grey, or 0xrrggbb where channels differ), and its palette if it has one."""

    values: NDArray[np.int64]
    pixels: int
    colour: bool = False
    palette: tuple[str, ...] = ()


def examine_masks(paths: Sequence[Path], *, kind: str | None = None, most: int = _MOST_FILES) -> MaskSample:
    """Read a sample of masks, evenly spread over `paths`, and say what their values mean.

    Args:
        paths: The masks.
        kind: What they are known to be; None finds it.
        most: How many to read; fewer when they have more than 200 million pixels together. Of larger TIFF masks
            windows are read.

    Raises:
        InvalidData: none can be read, or the values are neither classes nor objects.
    """
    if not paths:
        raise InvalidData("there are no masks")
    seen: list[_Seen] = []
    unreadable: list[StromaError] = []
    for path in _spread(paths, most):
        if sum(one.pixels for one in seen) > _MOST_PX:
            break
        try:
            seen.append(_look(path))
        except StromaError as error:
            unreadable.append(error)
    if not seen:
        raise unreadable[0]
    kind = kind or _kind(seen, paths[0].parent)
    labels, name_of, note = _labels(kind, seen)
    counted = Counter(name for one in seen for name in {name_of[int(v)] for v in one.values if int(v) in name_of})
    read = f"{len(seen)} of {len(paths)} masks were read" if len(seen) < len(paths) else "all masks were read"
    notes = [note, f"{read} to find their labels"]
    notes += [f"{len(unreadable)} masks cannot be read, the first: {unreadable[0]}"] if unreadable else []
    return MaskSample(kind, labels, {name: counted[name] for name in labels.names}, notes)


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most `most` paths with even gaps, in an order in which every beginning is spread out too."""
    count = min(most, len(paths))
    places = [i * len(paths) // count for i in range(count)]
    return [paths[place] for first in range(7) for place in places[first::7]]


def _look(path: Path) -> _Seen:
    mask = _sampled(path) if path.suffix.lower() in (".tif", ".tiff") else read_mask(path)
    pixels = mask.shape[0] * mask.shape[1]
    if mask.ndim == 3:
        wide = mask.astype(np.int64)
        packed = np.unique((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])
        colour = bool(np.any((packed >> 8) != (packed & 0xFFFF)))
        return _Seen(packed if colour else packed & 0xFF, pixels, colour)
    return _Seen(np.unique(mask).astype(np.int64), pixels, False, _palette(path))


def _sampled(path: Path) -> NDArray[np.integer[Any]]:
    """A TIFF mask; of one as large as a slide a grid of windows, put together."""
    try:
        with open_image(path, reader="tiff") as image:
            height, width, _ = image.shape
            if height * width <= _MOST_PX:
                return read_mask(path)
            places = [(x, y) for y in _starts(height) for x in _starts(width)]
            parts = [image.read(x, y, _WINDOW_PX, _WINDOW_PX) for x, y in places]
    except UnreadableImage:
        return read_mask(path)
    joined = np.concatenate(parts)
    return joined[..., 0] if joined.shape[2] == 1 else joined


def _starts(length: int) -> list[int]:
    last = max(0, length - _WINDOW_PX)
    return sorted({last * i // (_WINDOWS - 1) for i in range(_WINDOWS)})


def _palette(path: Path) -> tuple[str, ...]:
    """Colours of a mask with a palette, as `#rrggbb`."""
    if path.suffix.lower() not in {".png", ".gif", ".bmp"}:
        return ()
    with PIL.Image.open(path) as picture:
        flat = picture.getpalette() if picture.mode == "P" else None
    return tuple("#" + bytes(flat[i : i + 3]).hex() for i in range(0, len(flat), 3)) if flat else ()


def _kind(seen: Sequence[_Seen], where: Path) -> str:
    values = sorted({int(value) for one in seen for value in one.values})
    if any(one.colour for one in seen):
        if len(values) > _MOST_CLASSES:
            raise InvalidData(f"{len(values):,} colours are no classes", where=where, next_step=_NOT_MASKS)
        return "mask-rgb"
    if len(values) <= _MOST_CLASSES:
        return "mask-palette" if any(one.palette for one in seen) else "mask-index"
    if all(len(one.values) >= one.values.max() for one in seen):  # 0 to n, perhaps without a 0
        return "mask-instance"
    raise InvalidData(
        f"{len(values):,} grey values with gaps are neither classes nor objects", where=where, next_step=_NOT_MASKS
    )


def _labels(kind: str, seen: Sequence[_Seen]) -> tuple[LabelMapping, dict[int, str], str]:
    """The classes, value → class, and what the values were taken for."""
    values = sorted({int(value) for one in seen for value in one.values})
    if kind == "mask-rgb":
        names = {value: "background" if value == 0 else f"colour_{value:06x}" for value in values}
        colours = {name: f"#{value:06x}" for value, name in names.items()}
        return LabelMapping.of(names.values(), colours=colours), names, f"masks hold {len(names)} colours"
    if kind == "mask-instance":
        names = {value: "object" if value else "background" for value in values}
        return LabelMapping.of(("background", "object")), names, "masks hold one value per object, 0 is background"
    names, ignore, note = _value_names(values)
    palette = next((one.palette for one in seen if one.palette), ())
    colours = {name: palette[value] for value, name in names.items() if value < len(palette)}
    in_order = list(names) == list(range(len(names)))
    labels = LabelMapping.of(names.values(), colours=colours, sources={} if in_order else names, ignore=ignore)
    return labels, names, note


def _value_names(values: Sequence[int]) -> tuple[dict[int, str], tuple[int, ...], str]:
    """Value → class name, the values that are not annotated, and a sentence about them."""
    if len(values) <= 2 and values[0] == 0:
        inside = values[-1] or 1
        ignore = () if inside == IGNORE else (IGNORE,)
        return {0: "background", inside: "foreground"}, ignore, f"masks hold 0 and {inside}"
    classes = [value for value in values if value != IGNORE]
    names = {value: "background" if value == 0 else f"class_{value}" for value in classes}
    note = f"masks hold the values {', '.join(map(str, classes))}"
    if IGNORE in values:
        note += f", and {IGNORE}, taken for 'not annotated'"
    return names, (IGNORE,), note
