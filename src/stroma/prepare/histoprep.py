"""The folder that HistoPrep 2 writes for a slide, for programs that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, OutputConflict
from stroma.core.files import id_to_name, write_bytes, write_text
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA, UNREADABLE_TABLE, read_provenance, write_table
from stroma.images.image import Image
from stroma.prepare.slide_images import Measures, remove_other_tiles, tile_stems, write_picture, write_tile_images
from stroma.prepare.slide_tissue import Tissue
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.unreadable_tiles import without
from stroma.slides.overview import block_mean
from stroma.slides.quality import METRIC_COLUMNS, tile_metrics
from stroma.slides.thumbnail import outline_boxes
from stroma.slides.tissue import tissue_mask

THUMBNAIL_MAX_DIMENSION = 4096
_SCHEMA = {"x": pl.Int64(), "y": pl.Int64(), "w": pl.Int64(), "h": pl.Int64(), "path": pl.String()}


def slide_folder(output: Path, image_id: str) -> Path:
    """The folder of a slide."""
    return output / id_to_name(image_id)


def metadata_path(output: Path, image_id: str) -> Path | None:
    """The tile table of a slide, or None when the slide was not finished."""
    candidates = (slide_folder(output, image_id) / f"metadata.{suffix}" for suffix in ("parquet", "csv"))
    return next((path for path in candidates if path.is_file()), None)


def read_metadata(path: Path) -> pl.DataFrame:
    """Read the tile table of HistoPrep or of us: columns x, y, w, h, path and whatever else it has.

    Returns:
        The table; a relative `path` counts from the folder of the table, and so does an absolute one whose folder
        has been moved (HistoPrep stores absolute paths): the last two parts are kept.

    Raises:
        InvalidData: it cannot be read.
    """
    try:
        if path.suffix == ".csv":
            table = pl.read_csv(path, schema_overrides=_SCHEMA, glob=False)
        else:
            table = pl.read_parquet(path, glob=False)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable table ({error})", where=path) from error
    if "path" not in table.columns:
        return pl.DataFrame(schema=_SCHEMA)  # HistoPrep's table of a slide without tiles has no columns
    paths = [path.parent.joinpath(*Path(stored.replace("\\", "/")).parts[-2:]) for stored in table["path"]]
    return table.with_columns(pl.Series("path", [str(entry) for entry in paths], dtype=pl.String()))


def write_folder(
    image: Image,
    image_id: str,
    table: pl.DataFrame,
    tissue: Tissue,
    options: TileOptions,
    provenance: Provenance,
    lost: Mapping[int, str],
) -> tuple[list[Path], Mapping[int, str]]:
    """Write the folder of a slide; the table comes last, since HistoPrep takes it for the sign that all is there.

    Differences from HistoPrep, each a fault of it: paths in the table are relative to its folder, the pictures of
    slide and tissue have one size, a slide without tiles has a table with columns and an empty `tiles` folder.

    Args:
        image: The slide.
        image_id: Its id.
        table: The tiles; columns beyond the usual ones (of regions) are added to HistoPrep's.
        tissue: Of the slide.
        options: Of the verb.
        provenance: Of the slide.
        lost: Rows of `table` that are known to be unreadable; all are tried here.

    Returns:
        The files, and the rows of `table` that were left out because they cannot be read, with the reason.

    Raises:
        OutputConflict: the folder holds a table that we did not write, and `overwrite` is not set.
    """
    folder = slide_folder(options.output, image_id)
    _remove_table(folder, options)
    kind = "spots" if options.tma else "tiles"
    (folder / kind).mkdir(parents=True, exist_ok=True)
    files = [folder / kind / f"{stem}.{options.image_format}" for stem in tile_stems(table)]
    mask_of = partial(_tile_mask, threshold=tissue.threshold) if options.save_masks else None
    measure = partial(tile_metrics, threshold=tissue.threshold) if options.save_metrics else None
    written = write_tile_images(image, files, table, options, mask_of=mask_of, measure=measure)
    outputs, lost, table = written.files, written.unreadable, without(image, table, written.unreadable)
    for name in ("tiles", "spots", "masks"):
        remove_other_tiles(folder / name, outputs)
    with stage("write"):
        outputs += _write_thumbnails(folder, tissue, table)
        if not options.tma:
            properties = _properties(image, table, options)
            outputs.append(write_bytes(folder / "properties.json", json.dumps(properties).encode()))
        outputs.append(_write_table(folder, table, kind, written.measures, options, provenance))
    return outputs, lost


def _properties(image: Image, table: pl.DataFrame, options: TileOptions) -> dict[str, Any]:
    level = image.levels[options.level]
    return {
        "num_tiles": len(table),
        "level": options.level,
        "level_downsample": [image.shape[0] / level.height, image.shape[1] / level.width],
        "width": table["w"][0] if len(table) else options.tile_px,
        "height": table["h"][0] if len(table) else options.tile_height_px or options.tile_px,
        "overlap": options.overlap,
        "max_background": round(1 - options.min_tissue, 12),
    }


def _remove_table(folder: Path, options: TileOptions) -> None:
    """Remove our own table, so that nothing looks finished; refuse to touch a foreign one."""
    for path in (folder / "metadata.parquet", folder / "metadata.csv"):
        if not path.exists():
            continue
        if not options.overwrite and path.suffix == ".parquet" and not _is_ours(path):
            raise OutputConflict(
                "was not written by Stroma",
                where=path,
                next_step="Choose another --output, or --overwrite to replace the tiles of this slide",
            )
        path.unlink()


def _is_ours(path: Path) -> bool:
    try:
        read_provenance(path)
    except InvalidData:
        return False
    return True


def _tile_mask(path: Path, rgb: NDArray[np.uint8], *, threshold: int) -> tuple[Path, NDArray[np.uint8]]:
    """The tissue of a tile, 0 and 1, with the threshold of its slide; the blur is HistoPrep's, of 1 px."""
    _, mask = tissue_mask(rgb, threshold=threshold, sigma=1.0)
    return path.parents[1] / "masks" / f"{path.stem}.png", mask.astype(np.uint8)


def _write_thumbnails(folder: Path, tissue: Tissue, table: pl.DataFrame) -> list[Path]:
    small = tissue.overview.shrink(THUMBNAIL_MAX_DIMENSION)
    factor = -(-max(tissue.overview.rgb.shape[:2]) // THUMBNAIL_MAX_DIMENSION)
    background = block_mean(np.where(tissue.mask, np.uint8(0), np.uint8(255))[:, :, None], factor)[:, :, 0]
    boxes = table.select("x", "y", "w", "h").to_numpy()
    names = table["core"].to_list() if "core" in table.columns else None
    pictures = {
        "thumbnail": small.rgb,
        "thumbnail_spots" if names is not None else "thumbnail_tiles": outline_boxes(small, boxes, names),
        "thumbnail_tissue": np.where(background < 128, np.uint8(0), np.uint8(255)),
    }
    return [write_picture(folder / f"{name}.jpeg", pixels, "jpeg") for name, pixels in pictures.items()]


def _write_table(
    folder: Path,
    table: pl.DataFrame,
    kind: str,
    metrics: Sequence[Measures],
    options: TileOptions,
    provenance: Provenance,
) -> Path:
    stems = tile_stems(table)
    paths = {"path": [f"{kind}/{stem}.{options.image_format}" for stem in stems]}
    if options.save_masks:
        paths["mask_path"] = [f"masks/{stem}.png" for stem in stems]
    more = [name for name in table.columns if name not in (*ADDRESS_SCHEMA, "tissue", "core")]
    content = table.select(
        "x", "y", "w", "h", *(pl.Series(key, names, dtype=pl.String()) for key, names in paths.items()), *more
    )
    if options.save_metrics:
        schema = {name: pl.Int64() if "_q" in name else pl.Float64() for name in METRIC_COLUMNS}
        content = pl.concat([content, pl.DataFrame(list(metrics), schema=schema)], how="horizontal")
    if options.metadata == "csv":
        return write_text(folder / "metadata.csv", content.write_csv())
    return write_table(content, folder / "metadata.parquet", provenance)
