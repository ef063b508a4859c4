"""`sources.parquet`: which file each image of a result folder comes from, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from stroma.core.errors import InvalidData
from stroma.core.provenance import Provenance
from stroma.core.tables import read_table, require_columns, write_table
from stroma.images.image import Image
from stroma.images.open import open_image

SOURCES_FORMAT = "sources/1"
SOURCES_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "path": pl.String(),
}
"""One row an image, sorted by `image_id`.

`path` is stored relative to the folder of the table, with `/`, so that images and results can be moved
together; only across drives it is absolute.
"""


def sources_path(folder: Path) -> Path:
    """Where the table of the result folder `folder` lies."""
    return Path(folder) / "sources.parquet"


def write_sources(folder: Path, rows: Iterable[tuple[str, str, Path]], provenance: Provenance) -> Path:
    """Write `sources.parquet` into `folder`; write it last, since its presence says that the verb ended.

    Args:
        folder: The result folder.
        rows: (image_id, subject_id, path) of each image; relative paths count from the working folder.
        provenance: Settings and inputs of the verb; its format is replaced by `sources/1`.

    Raises:
        InvalidData: two rows have the same image_id.
    """
    entries = sorted((image, subject, _relative(Path(path), Path(folder))) for image, subject, path in rows)
    for first, second in zip(entries, entries[1:], strict=False):
        if first[0] == second[0]:
            raise InvalidData(f"two images have the id '{first[0]}': {first[2]} and {second[2]}", where=folder)
    table = pl.DataFrame(entries, schema=SOURCES_SCHEMA, orient="row")
    return write_table(table, sources_path(folder), replace(provenance, format=SOURCES_FORMAT))


def read_sources(folder: Path) -> pl.DataFrame:
    """Read `sources.parquet` of a result folder.

    Returns:
        Columns image_id, subject_id and `path` (absolute; not checked to exist), sorted by image_id.

    Raises:
        MissingFile: there is none, so `folder` is no result of Stroma or the verb did not end.
        InvalidData: it is damaged or of another format.
    """
    path = sources_path(folder)
    table = read_table(path, format=SOURCES_FORMAT)
    require_columns(table, list(SOURCES_SCHEMA), where=path)
    base = Path(folder).resolve()
    absolute = [os.path.normpath(base / stored) for stored in table["path"].to_list()]
    return table.with_columns(pl.Series("path", absolute, dtype=pl.String()))


def open_source(path: Path | str, settings: Mapping[str, Any]) -> Image:
    """Open an image as the verb did that wrote the results.

    Args:
        path: The file, from `read_sources`.
        settings: Settings in the provenance of those results: `open` are options of the reader, `source_mpp` is
            the resolution in µm per pixel of files that do not state theirs.

    Raises:
        MissingFile: there is no such file.
        UnreadableImage: it is damaged or of an unknown kind.
    """
    options = dict(settings.get("open") or {})
    image = open_image(path, **options)
    if image.mpp is None and settings.get("source_mpp") is not None:
        return open_image(path, **{**options, "mpp": settings["source_mpp"]})
    return image


def _relative(path: Path, folder: Path) -> str:
    """`path` relative to `folder`, after resolving links to folders (a link to the file itself keeps its name)."""
    target = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(target, folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return target.as_posix()
