"""ZEISS CZI slides: mosaics with their own pyramid, composed piece by piece."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage, UsageError
from stroma.images.cache import DECODED, file_key
from stroma.images.colour import RGB, channel_names
from stroma.images.czi_blocks import MAGIC, Blocks, read_blocks
from stroma.images.guard import foreign_bytes
from stroma.images.image import Box, Image, Level
from stroma.images.scale import one_mpp

_TYPES = {0: np.uint8, 1: np.uint16, 2: np.float32, 3: np.uint8, 4: np.uint16, 9: np.uint8}
_COLOURED = (3, 4, 9)
_COVERED = 0.9
_FINEST = 1.5


class CziImage(Image):
    """A CZI file: brightfield or fluorescence, mosaics, scenes, stacks.

    Level 0 begins at the corner of the box around all pieces; what no piece covers is white (0 in fluorescence).
    Smaller levels are those that the file holds of every scene.

    Args:
        path: The file.
        mpp: Size of a pixel in µm; wins over what the file states.
        scene: Which scene (piece of tissue) of several; by default all, where they lie on the glass.
        z: Which plane of a stack; needed when there are several.
        t: Which time point; needed when there are several.

    Raises:
        UnreadableImage: the file is damaged or holds what is not read, its pixels are not square, or a plane has to
            be chosen.
        UsageError: there is no such scene, plane or time point.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".czi",)

    def __init__(
        self,
        path: Path | str,
        *,
        mpp: float | None = None,
        scene: int | None = None,
        z: int | None = None,
        t: int | None = None,
    ) -> None:
        self.path = Path(path)
        blocks = read_blocks(self.path)
        for axis, wanted in (("z", z), ("t", t)):
            blocks = blocks.kept(blocks.column(axis) == self._chosen(blocks, axis, wanted))
        if scene is not None:
            known = sorted(set(blocks.column("s").tolist()))
            if scene not in known:
                raise UsageError(f"there is no scene {scene}", where=self.path, next_step=f"It holds: {known}")
            blocks = blocks.kept(blocks.column("s") == scene)
        kinds = set(blocks.column("pixels").tolist())
        if len(kinds) > 1:
            raise UnreadableImage("holds pixels of several types, which are not read", where=self.path)
        kind = kinds.pop()
        self._coloured = kind in _COLOURED
        self._planes = sorted(set(blocks.column("c").tolist()))
        if self._coloured and len(self._planes) > 1:
            raise UnreadableImage(
                f"holds {len(self._planes)} channels of colours, which are not read", where=self.path
            )
        self.dtype = np.dtype(_TYPES[kind])
        about = _metadata(self.path, blocks.metadata)
        self.channels = RGB if self._coloured else _channel_names(about, self._planes)
        self.mpp = one_mpp(_distance_um(about, "X"), _distance_um(about, "Y"), path=self.path, given=mpp)
        factors = _factors(blocks)
        self._origin = (int(blocks.column("x").min()), int(blocks.column("y").min()))
        right, bottom = (int((blocks.column(a) + blocks.column(b)).max()) for a, b in (("x", "w"), ("y", "h")))
        height, width = bottom - self._origin[1], right - self._origin[0]
        used = _complete(blocks, factors)
        self.levels = tuple(Level(-(-height // f), -(-width // f), float(f)) for f in used)
        self._blocks = tuple(blocks.kept(factors == f) for f in used)

    @staticmethod
    def accepts(path: Path) -> bool:
        """Whether `path` is a file that begins like a CZI."""
        if not path.is_file():
            return False
        with foreign_bytes(path), path.open("rb") as handle:
            return handle.read(len(MAGIC)) == MAGIC

    def close(self) -> None:
        """Let go of decoded pieces."""
        DECODED.forget(self.path)

    def _chosen(self, blocks: Blocks, axis: str, wanted: int | None) -> int:
        known = sorted(set(blocks.column(axis).tolist()))
        if wanted is None and len(known) > 1:
            raise UnreadableImage(
                f"holds {len(known)} planes along {axis}",
                where=self.path,
                next_step=f"Choose one: open_image(path, {axis}={known[0]})",
            )
        if wanted is not None and wanted not in known:
            raise UsageError(f"there is no {axis}={wanted}", where=self.path, next_step=f"It holds: {known}")
        return known[0] if wanted is None else wanted

    def _read_level(self, level: int, box: Box, channels: slice | list[int] | None) -> NDArray[Any]:
        if self._coloured:
            pixels = self._compose(level, box, self._planes[0], 3)
            return pixels if channels is None else np.ascontiguousarray(pixels[:, :, channels])
        chosen = np.arange(len(self.channels))[slice(None) if channels is None else channels]
        result = np.empty((box.h, box.w, len(chosen)), dtype=self.dtype)
        for place, channel in enumerate(chosen.tolist()):
            result[:, :, place] = self._compose(level, box, self._planes[channel], 1)[:, :, 0]
        return result

    def _compose(self, level: int, box: Box, plane: int, samples: int) -> NDArray[Any]:
        """Lay the pieces that touch `box` over each other, in the order of the mosaic."""
        blocks, factor = self._blocks[level], self.levels[level].downsample
        left = np.rint((blocks.column("x") - self._origin[0]) / factor).astype(np.int64)
        top = np.rint((blocks.column("y") - self._origin[1]) / factor).astype(np.int64)
        right, bottom = left + blocks.column("stored_w"), top + blocks.column("stored_h")
        touched = (left < box.x + box.w) & (right > box.x) & (top < box.y + box.h) & (bottom > box.y)
        rows = np.flatnonzero(touched & (blocks.column("c") == plane))
        rows = rows[np.argsort(blocks.column("m")[rows], kind="stable")]
        result = np.full((box.h, box.w, samples), self.fill, dtype=self.dtype)
        file = file_key(self.path)
        with foreign_bytes(self.path), self.path.open("rb") as handle:
            for row in rows.tolist():
                place = Box(int(left[row]), int(top[row]), int(right[row] - left[row]), int(bottom[row] - top[row]))
                common = place.intersect(box)
                part = (int(blocks.column("position")[row]), "czi")
                pixels = DECODED.get(file, part, lambda row=row: blocks.read(handle, row))  # type: ignore[misc]
                y, x = common.y - place.y, common.x - place.x
                target = result[common.y - box.y :, common.x - box.x :][: common.h, : common.w]
                target[...] = pixels[y : y + common.h, x : x + common.w]
        return result


def _factors(blocks: Blocks) -> NDArray[np.int64]:
    """How many pixels of the finest level a pixel of each block spans, along each side: a power of 2, or of 3.

    Sizes of blocks are rounded, so the powers are those of what the largest of the smaller ones shows.
    """
    wide = blocks.column("stored_w") > blocks.column("stored_h")
    logical = np.where(wide, blocks.column("w"), blocks.column("h"))
    ratios = logical / np.where(wide, blocks.column("stored_w"), blocks.column("stored_h"))
    smaller = np.flatnonzero(ratios > _FINEST)
    factors = np.ones(len(ratios), dtype=np.int64)
    if len(smaller):
        base = 3 if round(float(ratios[smaller].min())) == 3 else 2
        powers = np.rint(np.log(ratios[smaller]) / math.log(base)).astype(np.int64)
        factors[smaller] = base**powers
    return factors


def _complete(blocks: Blocks, factors: NDArray[np.int64]) -> list[int]:
    """The factors of the levels that hold all of every scene."""
    if not (factors == 1).any():
        raise UnreadableImage("holds no level of full resolution", where=blocks.path)
    scenes = set(blocks.column("s")[factors == 1].tolist())
    used = []
    for factor in np.unique(factors).tolist():
        of_level = blocks.kept(factors == factor)
        areas = [_area(of_level, scene) / _area(blocks.kept(factors == 1), scene) for scene in scenes]
        planes = set(of_level.column("c").tolist()) == set(blocks.column("c").tolist())
        if planes and min(areas) >= _COVERED:
            used.append(factor)
    if used[:1] != [1]:
        raise UnreadableImage("lacks channels at full resolution", where=blocks.path)
    return used


def _area(blocks: Blocks, scene: int) -> float:
    """Of the box around the blocks of a scene."""
    mine = blocks.kept(blocks.column("s") == scene)
    if not len(mine.table):
        return 0.0
    sides = [(mine.column(a) + mine.column(b)).max() - mine.column(a).min() for a, b in (("x", "w"), ("y", "h"))]
    return float(math.prod(sides))


def _metadata(path: Path, text: str) -> ElementTree.Element | None:
    if not text:
        return None
    with foreign_bytes(path, ElementTree.ParseError):
        return ElementTree.fromstring(text)


def _distance_um(about: ElementTree.Element | None, axis: str) -> float | None:
    found = None if about is None else about.find(f".//Scaling/Items/Distance[@Id='{axis}']/Value")
    try:
        return float(found.text or "") * 1e6 if found is not None else None
    except ValueError:
        return None


def _channel_names(about: ElementTree.Element | None, planes: list[int]) -> tuple[str, ...]:
    found = [] if about is None else about.findall(".//Information/Image/Dimensions/Channels/Channel")
    names = {entry.get("Id", ""): entry.get("Name") or "" for entry in found}
    named = [names.get(f"Channel:{plane}", "") for plane in planes]
    if all(named) and len(set(named)) == len(named):
        return tuple(named)
    return channel_names(len(planes), rgb=False)
