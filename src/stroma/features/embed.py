"""`stroma embed`: tiles into feature vectors, one table a slide."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.device import Precision
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import MissingFile, OutputConflict
from stroma.core.files import id_to_name
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.verbs import Device, Flag, Output, VerbOptions, VerbResult, write_failures
from stroma.features.read_ahead import read_ahead
from stroma.features.table import FEATURES_FORMAT, count_rows, write_features
from stroma.features.tiles import Row, TileSet, find_tiles
from stroma.models.encoders import RANDOM, Encoder, load_encoder
from stroma.prepare.sources import read_sources, sources_path, write_sources


class EmbedOptions(VerbOptions):
    """Options of `stroma embed`."""

    tiles: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="Output folders of 'stroma tile', or pictures of which each is a tile"
    )
    output: Output
    encoder: str = Field(
        description="colour-texture, an encoder of the catalogue or of timm, hf-hub:owner/name, or a file or folder"
    )
    weights: str | None = Field(
        None, description="pretrained (what timm or the Hub offers; used when not given), random, or a weight file"
    )
    seed: int = Field(0, ge=0, description="Seed of random weights")
    input_px: int | None = Field(
        None, gt=0, description="Side to which tiles are resized; by default only where the encoder needs it"
    )
    num_blocks: int = Field(1, gt=0, description="Blocks of the encoder, from the end, whose features are joined")
    avg_pool: bool = Field(False, description="Add the mean over the patches of the last block")
    stain: Annotated[Path | None, Flag(setting=False)] = Field(
        None, description="Output folder of 'stroma stain': tiles are encoded in the stains of its reference"
    )
    weights_dir: Annotated[Path | None, Flag(setting=False)] = Field(
        None, description="Folder of fetched weights of the catalogue"
    )
    accept_licence: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Accept a licence that forbids commercial use"
    )
    precision: Precision = Field("auto", description="auto takes bfloat16 on processors that compute in it")
    batch_size: Annotated[int, Flag(setting=False)] = Field(16, gt=0, description="Tiles that are encoded at once")
    device: Device = "auto"
    workers: Annotated[int, Flag(short="-j", setting=False)] = Field(
        1, gt=0, description="Threads that read tiles while others are encoded"
    )


def embed(options: EmbedOptions) -> VerbResult:
    """Turn tiles into feature vectors with an encoder.

    TILES are output folders of `stroma tile`; the tiles are read from the slides at the tables' resolution. Pictures,
    or folders of pictures, are embedded as they are, each as one tile.

    Written are `features/<slide>.parquet` (the tile's address and its feature, in the order of the tile table) and
    `sources.parquet`. Slides that are complete are skipped when the same command runs again.

    Args:
        options: See `EmbedOptions`. Features do not depend on batch size, device and threads, but for rounding.

    Raises:
        UsageError: an unknown encoder, or a tile size that it cannot take.
        MissingFile: an input does not exist, or weights cannot be fetched.
        InvalidData: the weights do not fit, or two inputs have the same id.
        OutputConflict: the output holds features made with other settings or from other tiles.
    """
    found = find_tiles(options.tiles, output=options.output, stain=options.stain)
    encoder = load_encoder(
        options.encoder,
        weights=options.weights,
        seed=options.seed,
        input_px=options.input_px,
        device=options.device,
        precision=options.precision,
        num_blocks=options.num_blocks,
        avg_pool=options.avg_pool,
        weights_dir=options.weights_dir,
        accept_licence=options.accept_licence,
    )
    settings = {"encoder": dict(encoder.identity)}
    missing = [tiles for tiles in found if not _is_complete(tiles, settings, options)]
    if options.dry_run:
        lines = [f"would embed {tiles.item}: {len(tiles.addresses())} tiles" for tiles in missing]
        return VerbResult(output=options.output, lines=lines, skipped=len(found) - len(missing))
    clock = StageClock()
    failed: list[Failed[Any]] = []
    work = partial(_embed_one, encoder=encoder, settings=settings, options=options)
    for outcome in track(map_items(work, missing), "embedding", total=len(missing)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            clock.add(outcome.result)
        else:
            failed.append(Failed(outcome.item.item, outcome.stage, outcome.error, outcome.message, outcome.clock))
    lost = {failure.item for failure in failed}
    complete = [_features_path(tiles, options) for tiles in found if tiles.item not in lost]
    provenance = Provenance(FEATURES_FORMAT, settings)
    write_failures(options.output, failed, provenance)
    _write_sources(options.output, found, provenance)
    return VerbResult(
        output=options.output,
        summary={"tiles": sum(map(count_rows, complete)), **_describe(encoder)},
        lines=[*_resolution_warnings([t for t in missing if t.item not in lost], encoder), *_licence(encoder)],
        next=[f"stroma cluster {quote(str(options.output))} -o {quote(f'{options.output}-clusters')} --clusters 8"],
        done=len(missing) - len(failed),
        skipped=len(found) - len(missing),
        failed=failed,
        clock=clock,
    )


def _provenance(tiles: TileSet, settings: dict[str, Any]) -> Provenance:
    return Provenance(FEATURES_FORMAT, {**settings, **tiles.settings()}, tiles.inputs())


def _is_complete(tiles: TileSet, settings: dict[str, Any], options: EmbedOptions) -> bool:
    """Whether nothing is left to do; inputs that cannot be read are tried, so that their failure is recorded."""
    record = done_path(options.output, tiles.item)
    if not record.exists():
        return False
    try:
        return is_complete(record, _provenance(tiles, settings), verify=options.verify)
    except (MissingFile, OSError):
        return False
    except OutputConflict:
        if options.overwrite:
            return False
        raise


def _embed_one(
    tiles: TileSet, *, encoder: Encoder, settings: dict[str, Any], options: EmbedOptions
) -> dict[str, dict[str, float]]:
    """Write the features of one tile set, the done record last; return the time that its threads spent reading."""
    record = done_path(options.output, tiles.item)
    provenance = _provenance(tiles, settings)
    addresses = tiles.addresses()
    record.unlink(missing_ok=True)  # from here on the item is not complete
    reading = StageClock()
    features = _features(tiles, addresses, encoder, options, reading)
    path = _features_path(tiles, options)
    write_features(path, addresses, features, encoder.dim, provenance)
    write_done(record, provenance, [path])
    return reading.to_dict()


def _features_path(tiles: TileSet, options: EmbedOptions) -> Path:
    return options.output / "features" / f"{id_to_name(tiles.item)}.parquet"


def _features(
    tiles: TileSet, addresses: pl.DataFrame, encoder: Encoder, options: EmbedOptions, reading: StageClock
) -> Iterator[NDArray[np.float32]]:
    """Feature batches (b, D) of all tiles, in order."""
    reader = tiles.reader()
    batches = _batches(addresses, options.batch_size)
    try:
        for batch in read_ahead(reader.read, batches, threads=options.workers, clock=reading):
            yield encoder(batch)
    finally:
        reader.close()


def _batches(addresses: pl.DataFrame, size: int) -> Iterator[list[tuple[int, Row]]]:
    for start in range(0, len(addresses), size):
        yield list(enumerate(addresses.slice(start, size).rows(named=True), start))


def _write_sources(output: Path, found: list[TileSet], provenance: Provenance) -> None:
    """Sources of this run, and those of earlier runs into the same folder."""
    rows = {row[0]: row for tiles in found for row in tiles.sources}
    if sources_path(output).is_file():
        for image, subject, path in read_sources(output).iter_rows():
            rows.setdefault(image, (image, subject, Path(path)))
    write_sources(output, rows.values(), provenance)


def _resolution_warnings(sets: list[TileSet], encoder: Encoder) -> list[str]:
    """A line where tiles have another resolution than the encoder was trained at, or none that is known."""
    if encoder.mpp is None:
        return []
    lines = []
    for tiles in sets:
        found = tiles.addresses()["mpp"].unique().to_list()
        wrong = [mpp for mpp in found if mpp is not None and not 0.8 <= mpp / encoder.mpp <= 1.25]
        here = f"{wrong[0]:g} µm per pixel" if wrong else "resolution not known" if None in found else ""
        if here:
            lines.append(f"warning: {tiles.item}: {here}; {encoder.name} was trained at {encoder.mpp:g}")
    return lines


def _licence(encoder: Encoder) -> list[str]:
    licence = encoder.identity.get("licence")
    return [f"non-commercial: these features may not be used commercially ({licence})"] if licence else []


def _describe(encoder: Encoder) -> dict[str, Any]:
    identity = encoder.identity
    described: dict[str, Any] = {"encoder": encoder.name, "feature_length": encoder.dim}
    if identity.get("weights") == RANDOM:
        described["weights"] = f"random, seed {identity['seed']}: these features say nothing about the tissue"
    elif "weights" in identity:
        described["weights"] = f"{identity['weights']}, SHA-256 {identity['weights_sha256'][:16]}"
    return described
