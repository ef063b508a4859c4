"""What there is to embed: the tiles of slides from `stroma tile`, or pictures of which each is a tile."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.files import id_to_name
from stroma.core.provenance import InputRecord, head_and_tail
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, read_table
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.prepare import histoprep
from stroma.prepare.inputs import Source, find_inputs
from stroma.prepare.slide_grid import read_tile
from stroma.prepare.slide_tiles import TILES_FORMAT, tile_table_path
from stroma.prepare.sources import open_source, read_sources, sources_path
from stroma.prepare.stain_file import SlideStains, read_stains, stains_path
from stroma.slides.stain import normalise

_TILE_NAME = re.compile(r"x(-?\d+)_y(-?\d+)_w(\d+)_h(\d+)")
_TILE_FOLDERS = ("tiles", "images")

Row = dict[str, Any]


class TileSet(Protocol):
    """Tiles that become one features table.

    Attributes:
        item: Its name.
        sources: (image_id, subject_id, path) of the images the tiles come from.
    """

    @property
    def item(self) -> str:
        """See above."""

    @property
    def sources(self) -> tuple[tuple[str, str, Path], ...]:
        """See above."""

    def addresses(self) -> pl.DataFrame:
        """The tiles, columns of `ADDRESS_SCHEMA`, in the order of the features."""

    def settings(self) -> dict[str, Any]:
        """What the features depend on beside the encoder, for provenance."""

    def inputs(self) -> tuple[InputRecord, ...]:
        """What the features are made from, for provenance."""

    def reader(self) -> TileReader:
        """What reads the tiles; close it afterwards."""


class TileReader(Protocol):
    """Reads tiles by their rows; may be called from several threads."""

    def read(self, rows: Sequence[tuple[int, Row]]) -> list[NDArray[np.uint8]]:
        """Tiles (h, w, 3) uint8 of (position in the table, address) rows."""

    def close(self) -> None:
        """Release the files."""


@dataclass(frozen=True)
class SlideTiles:
    """Tiles of one slide, read from the slide itself by their addresses.

    Attributes:
        item: The slide's image id.
        subject_id: Whose it is.
        slide: The slide.
        table: Its tile table.
        stain: Output of `stroma stain`: its tiles are given the stains that it says.
    """

    item: str
    subject_id: str
    slide: Path
    table: Path
    stain: Path | None = None

    @property
    def sources(self) -> tuple[tuple[str, str, Path], ...]:
        """The slide."""
        return ((self.item, self.subject_id, self.slide),)

    def addresses(self) -> pl.DataFrame:
        """The tiles, in the order of the tile table."""
        return read_table(self.table, format=TILES_FORMAT).select(*ADDRESS_SCHEMA)

    def settings(self) -> dict[str, Any]:
        """The settings of the tiles, among them how their slide is opened."""
        return {"tiles": dict(read_provenance(self.table).settings)}

    def inputs(self) -> tuple[InputRecord, ...]:
        """The tile table and the slide."""
        records = (InputRecord.of("tiles", self.table), InputRecord.of(self.item, self.slide))
        return records if self.stain is None else (*records, InputRecord.of("stains", self._stains_path(self.stain)))

    def _stains_path(self, folder: Path) -> Path:
        read_stains(folder, self.item)  # missing or damaged ones are named
        return stains_path(folder, self.item)

    def reader(self) -> TileReader:
        """A reader that opens the slide once in each thread."""
        stains = None if self.stain is None else read_stains(self.stain, self.item)
        return _SlideReader(self.slide, self.settings()["tiles"], stains)


class _SlideReader:
    def __init__(self, slide: Path, settings: Mapping[str, Any], stains: SlideStains | None) -> None:
        self._slide, self._settings, self._stains = slide, settings, stains
        self._mine = threading.local()
        self._opened: list[Image] = []

    def read(self, rows: Sequence[tuple[int, Row]]) -> list[NDArray[np.uint8]]:
        image: Image | None = getattr(self._mine, "image", None)
        if image is None:
            image = self._mine.image = open_source(self._slide, self._settings)
            self._opened.append(image)
        tiles = (rgb(read_tile(image, row, self._settings), where=self._slide) for _, row in rows)
        stains = self._stains
        return list(tiles) if stains is None else [normalise(tile, stains.source, stains.target) for tile in tiles]

    def close(self) -> None:
        for image in self._opened:
            image.close()


@dataclass(frozen=True)
class PictureTiles:
    """Pictures of which each is one tile.

    Attributes:
        item: Name of the group, by default of the folder.
        pictures: In the order of the features; `path`, `image_id` and `subject_id` of each.
        slide: When the names are tile addresses, the folder that stands for the slide they were cut from.
    """

    item: str
    pictures: tuple[Source, ...]
    slide: Path | None = None

    @property
    def sources(self) -> tuple[tuple[str, str, Path], ...]:
        """The pictures, or the slide they were cut from."""
        if self.slide is None:
            return tuple((p.image_id, p.subject_id, p.path) for p in self.pictures)
        subjects = {p.subject_id for p in self.pictures}
        return ((self.item, subjects.pop() if len(subjects) == 1 else self.item, self.slide),)

    def addresses(self) -> pl.DataFrame:
        """Where the tiles lie: in the slide, as their names say, or each in a picture of its own."""
        rows = [self._address(position, picture) for position, picture in enumerate(self.pictures)]
        return pl.DataFrame(rows, schema=ADDRESS_SCHEMA, orient="row")

    def _address(self, position: int, picture: Source) -> tuple[str, int, int, int, int, int, float | None]:
        if self.slide is not None:
            x, y, w, h = tile_address(picture.path)
            return self.item, position, x, y, w, h, None
        with open_image(picture.path, **picture.options) as image:
            if len(image.levels) > 1:
                raise UsageError(
                    f"is a slide of {image.bounds.w:,} × {image.bounds.h:,} px, and would count as a single tile",
                    where=picture.path,
                    next_step="Cut it first: stroma tile SLIDES -o tiles",
                )
            return picture.image_id, 0, 0, 0, image.bounds.w, image.bounds.h, image.mpp

    def settings(self) -> dict[str, Any]:
        """How pictures are opened, where a study says."""
        options = {p.image_id: dict(p.options) for p in self.pictures if p.options}
        return {"open": options} if options else {}

    def inputs(self) -> tuple[InputRecord, ...]:
        """All pictures as one record."""
        digest, total = hashlib.sha256(), 0
        for picture in self.pictures:
            size = picture.path.stat().st_size
            total += size
            digest.update(f"{picture.image_id}\0{size}\0{head_and_tail(picture.path)}\n".encode())
        return (InputRecord(self.item, total, digest.hexdigest()),)

    def reader(self) -> TileReader:
        """A reader of whole pictures."""
        return _PictureReader(self.pictures)


class _PictureReader:
    def __init__(self, pictures: tuple[Source, ...]) -> None:
        self._pictures = pictures

    def read(self, rows: Sequence[tuple[int, Row]]) -> list[NDArray[np.uint8]]:
        tiles = []
        for position, _ in rows:
            picture = self._pictures[position]
            with open_image(picture.path, **picture.options) as image:
                tiles.append(rgb(image.read(), where=picture.path))
        return tiles

    def close(self) -> None:
        """Pictures are closed as soon as they are read."""


def rgb(tile: NDArray[Any], *, where: Path) -> NDArray[np.uint8]:
    """Check that a tile is RGB of 8 bit; a grey one is repeated in all three channels.

    Raises:
        InvalidData: it has other channels or another depth.
    """
    if tile.dtype == np.uint8 and tile.shape[2] == 1:
        return np.repeat(tile, 3, axis=2)
    if tile.dtype != np.uint8 or tile.shape[2] != 3:
        raise InvalidData(
            f"has {tile.shape[2]} channels of {tile.dtype}, encoders take RGB of 8 bit",
            where=where,
            next_step="Embed RGB images",
        )
    return tile


def find_tiles(inputs: Sequence[Path], *, output: Path | None = None, stain: Path | None = None) -> list[TileSet]:
    """Find what to embed.

    Args:
        inputs: Output folders of `stroma tile`, and pictures, folders or patterns of pictures. Pictures of one folder
            form one tile set in which each is an image of its own; if all are called `x…_y…_w…_h…` (as `stroma tile
            --save-images` and HistoPrep call them), they are tiles of the one slide that the folder stands for.
        output: The verb's own output folder, left out of the search.
        stain: Output of `stroma stain`, to give the tiles of slides other stains.

    Returns:
        Sorted by item.

    Raises:
        UsageError: other stains for pictures.
        MissingFile: an input or a tile table does not exist, or `stroma tile` did not end.
        InvalidData: two inputs give the same item.
    """
    folders = [entry for entry in inputs if _is_tile_output(entry)]
    others = [entry for entry in inputs if entry not in folders]
    found: list[TileSet] = [tiles for folder in folders for tiles in _of_folder(folder)]
    if stain is not None:
        if others or not all(isinstance(tiles, SlideTiles) for tiles in found):
            raise UsageError(
                "stains are those of slides in outputs of 'stroma tile', not of pictures",
                next_step="Embed the pictures that stroma stain --save-images wrote",
            )
        found = [replace(tiles, stain=stain) for tiles in found if isinstance(tiles, SlideTiles)]
    if others:
        found += _of_pictures(find_inputs(others, output=output).sources)
    seen: dict[str, TileSet] = {}
    for tiles in found:
        other = seen.setdefault(id_to_name(tiles.item).casefold(), tiles)
        if other is not tiles:
            paths = " and ".join(str(entry.sources[0][2]) for entry in (other, tiles))
            raise InvalidData(f"two inputs have the id '{tiles.item}': {paths}", next_step="Embed them one by one")
    return sorted(found, key=lambda tiles: tiles.item)


def _is_tile_output(entry: Path) -> bool:
    if sources_path(entry).is_file():
        return True
    if any((entry / "tiles").glob("*.parquet")):
        raise MissingFile(
            "holds tile tables, but no sources.parquet: stroma tile did not end",
            where=entry,
            next_step="Run the same stroma tile command again, it goes on where it stopped",
        )
    return False


def _of_folder(folder: Path) -> list[TileSet]:
    """The slides of an output folder of `stroma tile`; those without a table failed there and are left out."""
    found: list[TileSet] = []
    for image_id, subject_id, path in read_sources(folder).iter_rows():
        table, pictures = tile_table_path(folder, image_id), histoprep.metadata_path(folder, image_id)
        if table.is_file():
            found.append(SlideTiles(image_id, subject_id, Path(path), table))
        elif pictures is not None:
            files = histoprep.read_metadata(pictures)["path"].to_list()
            sources = tuple(Source(f"{image_id}/{Path(f).stem}", subject_id, Path(f)) for f in files)
            found.append(PictureTiles(image_id, sources, slide=Path(path)))
    if not found:
        raise MissingFile("holds no tile tables", where=folder, next_step="Make them with: stroma tile")
    return found


def _of_pictures(pictures: Sequence[Source]) -> list[PictureTiles]:
    groups: dict[str, list[Source]] = {}
    for picture in filter(_is_tile, pictures):
        parent = picture.image_id.rpartition("/")[0]
        groups.setdefault(parent or picture.path.parent.name, []).append(picture)
    return [_group(name, group) for name, group in groups.items()]


def _is_tile(picture: Source) -> bool:
    """False for what HistoPrep writes beside its tiles: thumbnails, and masks under the names of the tiles."""
    folder = picture.path.parent
    is_thumbnail = picture.path.stem.startswith("thumbnail") and (folder / "tiles").is_dir()
    is_mask = folder.name == "masks" and (folder.parent / "tiles").is_dir()
    return not (is_thumbnail or is_mask)


def _group(name: str, pictures: Sequence[Source]) -> PictureTiles:
    folders = {picture.path.parent for picture in pictures}
    if len(folders) > 1 or not all(_TILE_NAME.fullmatch(picture.path.stem) for picture in pictures):
        return PictureTiles(name, tuple(pictures))
    folder = folders.pop()
    if folder.name in _TILE_FOLDERS:
        folder = folder.parent
        name = name.rpartition("/")[0] or folder.name
    ordered = sorted(pictures, key=lambda picture: (tile_address(picture.path)[1::-1], picture.image_id))
    return PictureTiles(name, tuple(ordered), slide=folder)


def tile_address(path: Path) -> tuple[int, int, int, int]:
    """(x, y, w, h) from a file name `x…_y…_w…_h…`; the name of a core may stand before it."""
    name = path.stem[path.stem.rindex("x") :]
    x, y, w, h = (int(value) for value in _TILE_NAME.fullmatch(name).groups())  # type: ignore[union-attr]
    return x, y, w, h
