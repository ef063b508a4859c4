"""OME-Zarr (OME-NGFF 0.1 to 0.5): pyramids in Zarr folders, read chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.colour import RGB, channel_names
from stroma.images.guard import foreign_bytes
from stroma.images.image import Box, Image, Level, downsample_of
from stroma.images.scale import one_mpp
from stroma.images.zarr_array import METADATA, ZarrArray, list_arrays, read_attributes

_OLD_AXES = ("t", "c", "z", "y", "x")  # until 0.3 they need not be named
_MICROMETRES = {
    "angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0, "millimeter": 1e3,
    "centimeter": 1e4, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip
_COLOURS = ("ff0000", "00ff00", "0000ff")
_MARKS = ("multiscales", "bioformats2raw.layout", "plate")


class OmeZarrImage(Image):
    """An image of an OME-Zarr folder.

    Channels are called as its `omero` metadata say; three 8-bit ones shown in red, green and blue that have no other
    names are RGB.

    Args:
        path: The folder: an image, or what bioformats2raw writes, a folder of several.
        mpp: Size of a pixel in µm; wins over what the folder states.
        series: Which image of several.
        z: Which plane of a stack; needed when there are several.
        t: Which time point; needed when there are several.
        rgb: Take three channels as red, green and blue though the folder does not call them so.

    Raises:
        UnreadableImage: the folder is damaged or holds what is not read, its pixels are not square, or a plane has to
            be chosen.
        UsageError: there is no such series, plane or time point.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".zarr",)  # of a folder

    def __init__(
        self,
        path: Path | str,
        *,
        mpp: float | None = None,
        series: int = 0,
        z: int | None = None,
        t: int | None = None,
        rgb: bool = False,
    ) -> None:
        self.path = Path(path)
        with foreign_bytes(self.path):
            group = _image_group(self.path, series)
            described = _described(self.path, group)
        self._levels = tuple(_level_array(self.path, group, name, described.axes) for name in described.datasets)
        first = self._levels[0]
        kinds = {(level.dtype, _length(level, described.axes, "c")) for level in self._levels}
        if len(kinds) > 1:
            raise UnreadableImage("has levels of different types or channels", where=self.path)
        self._axes = described.axes
        self._planes = {"z": self._chosen("z", z), "t": self._chosen("t", t)}
        sizes = [(_length(level, self._axes, "y"), _length(level, self._axes, "x")) for level in self._levels]
        self.levels = tuple(Level(height, width, downsample_of((height, width), sizes[0])) for height, width in sizes)
        self.dtype = first.dtype
        self.channels = _channels(described.channels, _length(first, self._axes, "c"), self.dtype, rgb)
        self.mpp = one_mpp(*described.pixel_size_um, path=self.path, given=mpp)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a folder with the metadata of OME-Zarr."""
        if not path.is_dir() or not any((path / name).is_file() for name in METADATA):
            return False
        found = _ome(path)
        return any(name in found for name in _MARKS)

    def _chosen(self, axis: str, wanted: int | None) -> int:
        count = _length(self._levels[0], self._axes, axis)
        if wanted is None and count > 1:
            raise UnreadableImage(
                f"holds {count} planes along {axis}",
                where=self.path,
                next_step=f"Choose one: open_image(path, {axis}=0)",
            )
        if wanted is not None and not 0 <= wanted < count:
            raise UsageError(f"there is no {axis}={wanted}", where=self.path, next_step=f"Use 0 to {count - 1}")
        return wanted or 0

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        array = self._levels[level]
        chosen = np.arange(len(self.channels))[slice(None) if channels is None else channels]
        places = {
            "y": np.arange(box.y, box.y + box.h),
            "x": np.arange(box.x, box.x + box.w),
            **{axis: np.array([plane]) for axis, plane in self._planes.items()},
            "c": chosen,
        }
        if level:  # stacks may shrink along z too
            last = _length(array, self._axes, "z") - 1
            places["z"] = np.array([round(self._planes["z"] * last / max(1, self._depth - 1))])
        ascending = np.unique(chosen)  # a chunk is read once
        stored = array.read(tuple(ascending if axis == "c" else places[axis] for axis in self._axes))
        order = [self._axes.index(axis) for axis in "yxc" if axis in self._axes]
        rest = [i for i in range(len(self._axes)) if i not in order]
        pixels = stored.transpose(*order, *rest).reshape(box.h, box.w, -1)
        return np.ascontiguousarray(pixels[:, :, np.searchsorted(ascending, chosen)])

    @property
    def _depth(self) -> int:
        return _length(self._levels[0], self._axes, "z")


@dataclass(frozen=True)
class _Described:
    """What the metadata of an image say: axes, paths of the levels, channels, size of a pixel."""

    axes: tuple[str, ...]
    datasets: tuple[str, ...]
    channels: tuple[dict[str, Any], ...]
    pixel_size_um: tuple[float | None, float | None]


def _ome(folder: Path) -> dict[str, Any]:
    """The OME metadata of a folder: since 0.5 they have a key of their own."""
    attributes = read_attributes(folder)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _image_group(path: Path, series: int) -> Path:
    """The folder of the image: itself, or one of those that bioformats2raw wrote."""
    found = _ome(path)
    if "plate" in found:
        raise UnreadableImage(
            "is a plate of many fields", where=path, next_step=f"Open a field of it, such as {path / 'A' / '1' / '0'}"
        )
    if "multiscales" in found:
        if series:
            raise UsageError(f"there is no series {series}", where=path, next_step="Use 0")
        return path
    numbers = [int(entry.name) for entry in path.iterdir() if entry.name.isdecimal() and "multiscales" in _ome(entry)]
    if series not in numbers:
        known = ", ".join(str(number) for number in sorted(numbers)[:12]) or "none"
        raise UsageError(f"there is no series {series}", where=path, next_step=f"It holds: {known}")
    return path / str(series)


def _described(path: Path, group: Path) -> _Described:
    found = _ome(group)
    scales = found["multiscales"][0]
    named = [entry["name"] if isinstance(entry, dict) else entry for entry in scales.get("axes", _OLD_AXES)]
    axes = tuple(str(name).lower() for name in named)
    if not {"x", "y"} <= set(axes) <= set(_OLD_AXES) or len(set(axes)) != len(axes):
        raise UnreadableImage(f"has the axes {', '.join(axes)}; read are t, c, z, y, x", where=path)
    units = [entry.get("unit") if isinstance(entry, dict) else None for entry in scales.get("axes", _OLD_AXES)]
    top = scales["datasets"][0]
    factors = [
        math.prod(_scale(entry, len(axes))[axes.index(axis)] for entry in (scales, top)) for axis in ("x", "y")
    ]
    sizes = [
        factor * _MICROMETRES[unit] if (unit := str(units[axes.index(axis)]).lower()) in _MICROMETRES else None
        for axis, factor in zip(("x", "y"), factors, strict=True)
    ]
    datasets = tuple(str(entry["path"]) for entry in scales["datasets"])
    omero = found.get("omero")
    channels = omero.get("channels", []) if isinstance(omero, dict) else []
    return _Described(
        axes, datasets, tuple(entry for entry in channels if isinstance(entry, dict)), (sizes[0], sizes[1])
    )


def _scale(entry: dict[str, Any], count: int) -> list[float]:
    """Size of a pixel along every axis, in the units of the axes."""
    for transformation in entry.get("coordinateTransformations") or ():
        if transformation.get("type") == "scale":
            values = [float(value) for value in transformation["scale"]]
            if len(values) == count:
                return values
    return [1.0] * count


def _level_array(path: Path, group: Path, name: str, axes: tuple[str, ...]) -> ZarrArray:
    folder = group / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise UnreadableImage(f"names a level outside itself: '{name}'", where=path)
    array = list_arrays(folder).get("") if folder.is_dir() else None
    if array is None or len(array.shape) != len(axes) or min(array.shape) < 1:
        raise UnreadableImage(
            f"is damaged: its level '{name}' is no array along {', '.join(axes)}",
            where=path,
            next_step="Copy the folder again",
        )
    array.require_plausible()
    return array


def _length(array: ZarrArray, axes: tuple[str, ...], axis: str) -> int:
    return array.shape[axes.index(axis)] if axis in axes else 1


def _channels(stated: tuple[dict[str, Any], ...], count: int, dtype: np.dtype[Any], rgb: bool) -> tuple[str, ...]:
    labels = [str(entry.get("label") or "") for entry in stated]
    colours = tuple(str(entry.get("color") or "").lower() for entry in stated)
    plain = all(not label or label.lower().startswith(("channel", "red", "green", "blue")) for label in labels)
    if count == 3 and (rgb or (dtype == np.uint8 and colours == _COLOURS and plain)):
        return RGB
    if len(labels) == count > 1 and all(labels) and len(set(labels)) == count:
        return tuple(labels)
    return channel_names(count, rgb=False)
