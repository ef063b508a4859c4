"""Tiles of a slide that cannot be read: found, left out when the user says so, and never forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import UnreadableImage
from stroma.core.files import id_to_name
from stroma.core.items import Failed
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA, read_table, write_table
from stroma.images.image import Image
from stroma.prepare.inputs import Source

UNREADABLE_FORMAT = "unreadable/1"
UNREADABLE_SCHEMA: dict[str, pl.DataType] = {**ADDRESS_SCHEMA, "message": pl.String()}
"""Columns of `unreadable/<id>.parquet`: tiles that would be in the tile table, and why they are not."""

Read = Callable[[Mapping[str, Any]], NDArray[Any]]


def unreadable_path(folder: Path, image_id: str) -> Path:
    """Where the unreadable tiles of an image are listed; there is no file when all could be read."""
    return folder / "unreadable" / f"{id_to_name(image_id)}.parquet"


def read_or_name(image: Image, tile: Mapping[str, Any], read: Read) -> NDArray[Any]:
    """Read a tile; when that fails, the error says which tile it is.

    Raises:
        UnreadableImage: the file is damaged there.
    """
    try:
        return read(tile)
    except UnreadableImage as error:
        x, y, w, h = (tile[name] for name in "xywh")
        raise UnreadableImage(
            f"{error.what}, in the tile x={x} y={y} w={w} h={h}",
            where=image.path,
            next_step="Copy or export the slide again, or go on without such tiles: --skip-unreadable",
        ) from error


def try_tiles(image: Image, table: pl.DataFrame, read: Read, *, skip: bool) -> dict[int, str]:
    """Try tiles that will not be read now: a small level can be whole where level 0 is damaged.

    A pixel of the first, the middle and the last tile is read. If one of these fails and `skip` is set, all tiles are
    read.

    Args:
        image: The slide.
        table: Its tiles.
        read: Reads a tile of the table.
        skip: Whether tiles may be unreadable.

    Returns:
        Rows of `table` that cannot be read, and why.

    Raises:
        UnreadableImage: one of the three cannot be read and `skip` is not set.
    """
    try:
        for number in sorted({0, len(table) // 2, len(table) - 1}) if len(table) else ():
            tile = table.row(number, named=True)
            read_or_name(image, tile, lambda t: image.read(t["x"] + t["w"] // 2, t["y"] + t["h"] // 2, 1, 1))
    except UnreadableImage:
        if not skip:
            raise
        return _read_all(image, table, read)
    return {}


def _read_all(image: Image, table: pl.DataFrame, read: Read) -> dict[int, str]:
    lost = {}
    for number, tile in enumerate(table.iter_rows(named=True)):
        try:
            read(tile)
        except UnreadableImage as error:
            lost[number] = error.what
    return lost


def without(image: Image, table: pl.DataFrame, lost: Mapping[int, str]) -> pl.DataFrame:
    """The table without the rows in `lost`.

    Raises:
        UnreadableImage: nothing is left.
    """
    if lost and len(lost) == len(table):
        raise UnreadableImage(
            f"none of its {len(table):,} tiles can be read; the first: {next(iter(lost.values()))}", where=image.path
        )
    return table.with_row_index("row").filter(~pl.col("row").is_in(list(lost))).drop("row") if lost else table


def write_unreadable(
    folder: Path, image_id: str, table: pl.DataFrame, lost: Mapping[int, str], provenance: Provenance
) -> list[Path]:
    """List the rows of `table` in `lost`, or remove an outdated list; the files written."""
    path = unreadable_path(folder, image_id)
    if not lost:
        path.unlink(missing_ok=True)
        return []
    rows = table[list(lost)].select(*ADDRESS_SCHEMA)
    listed = rows.with_columns(pl.Series("message", list(lost.values()), dtype=pl.String()))
    return [write_table(listed, path, Provenance(UNREADABLE_FORMAT, provenance.settings, provenance.inputs))]


def unreadable_tiles(folder: Path, source: Source) -> list[Failed[Any]]:
    """The unreadable tiles of a complete slide as failures, so that every run names them and exits with 3."""
    path = unreadable_path(folder, source.image_id)
    if not path.is_file():
        return []
    table = read_table(path, format=UNREADABLE_FORMAT)
    return [
        Failed(f"{source.image_id} x={x} y={y} w={w} h={h}", "", "UnreadableTile", message)
        for x, y, w, h, message in table.select("x", "y", "w", "h", "message").iter_rows()
    ]
