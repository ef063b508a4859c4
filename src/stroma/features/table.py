"""Features tables: one Parquet file a slide, written and read piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.io.plugins import register_io_source

from stroma.core.clock import stage
from stroma.core.done import first_difference
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import read_json
from stroma.core.provenance import InputRecord, Provenance, check_format
from stroma.core.tables import ADDRESS_SCHEMA, read_provenance, write_table
from stroma.prepare.sources import read_sources, sources_path

FEATURES_FORMAT = "features/1"
"""One row a tile, in the order of the tile table: `ADDRESS_SCHEMA`, then `feature`, Array(Float32, D)."""

_PIECE_BYTES = 16 * 2**20
_MAKE = "Make features with: stroma embed TILES -o FOLDER --encoder NAME"


def features_schema(dim: int) -> dict[str, pl.DataType]:
    """Columns of a features table of vectors of length `dim`."""
    return {**ADDRESS_SCHEMA, "feature": pl.Array(pl.Float32(), dim)}


def rows_per_piece(dim: int) -> int:
    """Rows of which the features take 16 MiB: the unit in which tables are written and read."""
    return max(1, _PIECE_BYTES // (4 * dim))


def write_features(
    path: Path, addresses: pl.DataFrame, features: Iterable[NDArray[np.float32]], dim: int, provenance: Provenance
) -> Path:
    """Write the features table of a slide atomically, without ever holding its features in memory.

    Batches are kept in an unnamed file beside `path` while they arrive.

    Args:
        path: The file to write.
        addresses: The tiles, columns of `ADDRESS_SCHEMA`.
        features: Batches (b, `dim`), together one row a tile, in the order of `addresses`.
        dim: Length of a feature vector.
        provenance: With the format `features/1`.

    Raises:
        InvalidData: there are more or fewer features than tiles.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        count = 0
        for batch in features:
            spool.write(np.ascontiguousarray(batch, dtype="<f4").data)
            count += len(batch)
        if count != len(addresses):
            raise InvalidData(f"{count} features were made for {len(addresses)} tiles", where=path)
        with stage("write"):
            size = rows_per_piece(dim)
            write_table(_lazily(addresses, spool, dim), path, provenance, row_group_size=size)
    return path


def _lazily(addresses: pl.DataFrame, spool: IO[bytes], dim: int) -> pl.LazyFrame:
    schema = features_schema(dim)
    size = rows_per_piece(dim)

    def pieces(*_: object) -> Iterator[pl.DataFrame]:
        spool.seek(0)
        for start in range(0, len(addresses), size):
            piece = addresses.slice(start, size).select(*ADDRESS_SCHEMA)
            values = np.frombuffer(spool.read(4 * dim * len(piece)), dtype="<f4").reshape(len(piece), dim)
            yield piece.with_columns(pl.Series("feature", values, dtype=schema["feature"]))

    return register_io_source(pieces, schema=schema)


@dataclass(frozen=True)
class FeatureFile:
    """One complete features table."""

    item: str
    path: Path
    rows: int


@dataclass(frozen=True)
class FeatureSet:
    """All features tables of one or more output folders of `stroma embed`, made by one encoder.

    Attributes:
        files: Sorted by item.
        dim: Length of a feature vector.
        encoder: What the features depend on, from their provenance.
        sources: image_id, subject_id and path of every image, sorted by image_id.
    """

    files: tuple[FeatureFile, ...]
    dim: int
    encoder: Mapping[str, Any]
    sources: pl.DataFrame

    @property
    def rows(self) -> int:
        """Number of tiles."""
        return sum(file.rows for file in self.files)

    def inputs(self) -> tuple[InputRecord, ...]:
        """The files as records for provenance."""
        return tuple(InputRecord.of(file.item, file.path) for file in self.files)

    def pieces(self) -> list[tuple[FeatureFile, int, int]]:
        """(file, first row, number of rows) of every piece that fits in memory, in order."""
        size = rows_per_piece(self.dim)
        return [
            (file, start, min(size, file.rows - start)) for file in self.files for start in range(0, file.rows, size)
        ]

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """All features, piece by piece, each (n, D).

        Raises:
            InvalidData: a feature is not finite; file, image and row are named.
        """
        for file, start, count in self.pieces():
            yield self.read(file, start, count)

    def read(self, file: FeatureFile, start: int, count: int) -> NDArray[np.float32]:
        """Features of `count` rows of a file, (count, D); see `batches`."""
        with stage("read"):
            column = _scan(file.path).slice(start, count).select("feature").collect()["feature"]
            values: NDArray[np.float32] = column.to_numpy().reshape(count, self.dim)
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            row = start + int(wrong[0])
            image = _scan(file.path).slice(row, 1).select("image_id").collect().item()
            raise InvalidData(
                f"the feature of image '{image}' in row {row} is not finite",
                where=file.path,
                next_step="Embed this image again with --overwrite, with --precision float32 if it was another",
            )
        return values

    def addresses(self) -> Iterator[pl.DataFrame]:
        """Addresses of all tiles, file by file."""
        for file in self.files:
            with stage("read"):
                yield _scan(file.path).select(*ADDRESS_SCHEMA).collect()


def count_rows(path: Path) -> int:
    """Number of tiles of a features table."""
    return int(_scan(path).select(pl.len()).collect().item())


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False)


def open_features(folders: Sequence[Path]) -> FeatureSet:
    """Find the complete features tables in output folders of `stroma embed`.

    Raises:
        MissingFile: a folder is none, or holds no features.
        InvalidData: two folders hold the same image, or tables come from different encoders; both are named.
    """
    files: list[FeatureFile] = []
    sources: list[pl.DataFrame] = []
    first: tuple[Path, Mapping[str, Any]] | None = None
    dim = 0
    for folder in folders:
        if not sources_path(folder).is_file():
            raise MissingFile(
                "is no output folder of stroma embed, or stroma embed did not end", where=folder, next_step=_MAKE
            )
        sources.append(read_sources(folder))
        found = [path for record in sorted(folder.glob("*.done.json")) for path in _tables_of(record)]
        if not found:
            raise MissingFile("holds no features", where=folder, next_step=_MAKE)
        for path in found:
            encoder = read_provenance(path).settings.get("encoder", {})
            first = first or (path, encoder)
            names = [{"encoder": known.get("name")} for known in (first[1], encoder)]
            difference = first_difference(names[0], names[1]) or first_difference(first[1], encoder)
            if difference:
                raise InvalidData(
                    f"comes from another encoder than {first[0]}: {difference}",
                    where=path,
                    next_step="Cluster features of one encoder only",
                )
            schema = _scan(path).collect_schema()
            kind = schema.get("feature")
            if list(schema) != list(features_schema(1)) or not isinstance(kind, pl.Array):
                raise InvalidData(f"is no features table (columns {', '.join(schema)})", where=path)
            dim = kind.size
            files.append(FeatureFile(path.name.removesuffix(".parquet"), path, count_rows(path)))
    _check_unique(files)
    if first is None:
        raise MissingFile("no folder of features was given")
    return FeatureSet(tuple(sorted(files, key=lambda file: file.item)), dim, first[1], _merge(sources, folders))


def _tables_of(record: Path) -> list[Path]:
    """The features tables that a done record vouches for."""
    content = read_json(record)
    if not str(content.get("format", "")).startswith("features/"):
        return []
    check_format(content["format"], FEATURES_FORMAT, where=record)
    return [record.parent / name for name in content["outputs"] if name.endswith(".parquet")]


def _merge(sources: Sequence[pl.DataFrame], folders: Sequence[Path]) -> pl.DataFrame:
    merged = pl.concat(sources).sort("image_id")
    twice = merged.filter(pl.col("image_id").is_duplicated())
    if len(twice):
        paths = " and ".join(twice["path"].to_list()[:2])
        raise InvalidData(f"two images have the id '{twice['image_id'][0]}': {paths}", where=folders[-1])
    return merged


def _check_unique(files: Sequence[FeatureFile]) -> None:
    seen: dict[str, FeatureFile] = {}
    for file in files:
        other = seen.setdefault(file.item, file)
        if other is not file:
            raise InvalidData(f"holds the same image as {other.path}", where=file.path)
