"""Regions of a slide that tiles are restricted to, and what they cover of each tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import id_to_name
from stroma.images.image import Image
from stroma.prepare.inputs import Source
from stroma.prepare.region_files import MASKS, OUTLINES, FileRegions
from stroma.prepare.study_regions import StudyRegions, is_study, study_regions
from stroma.prepare.tile_options import TileOptions

Regions = FileRegions | StudyRegions


def find_regions(source: Source, options: TileOptions) -> Regions | None:
    """The regions of a slide, or None when tiles are not restricted.

    They come from one file, from a study, or from a folder of files, which are called there like the slide's id, with
    folders or percent-encoded, and end as GeoJSON or, where there is none, as a mask.

    Raises:
        MissingFile: there are none.
        InvalidData: there are several of a kind.
    """
    if options.regions is None:
        return None
    if not options.regions.exists():
        raise MissingFile("there are no such regions", where=options.regions)
    if is_study(options.regions):
        return study_regions(source, options)
    return FileRegions(_in_folder(source, options.regions) if options.regions.is_dir() else options.regions)


def _in_folder(source: Source, folder: Path) -> Path:
    stems = dict.fromkeys((source.image_id, id_to_name(source.image_id)))
    outlines, masks = (
        [path for stem in stems for suffix in kinds if (path := folder / f"{stem}{suffix}").is_file()]
        for kinds in (OUTLINES, MASKS)
    )
    found = outlines or masks
    if not found:
        raise MissingFile(
            f"has no regions in {folder}",
            where=source.image_id,
            next_step=f"Put '{source.image_id}.geojson' or a mask of that name there, or name other slides",
        )
    if len(found) > 1:
        raise InvalidData(f"has regions in {found[0].name} and in {found[1].name}", where=source.image_id)
    return found[0]


def region_columns(regions: Regions, image: Image, boxes: NDArray[np.int64], options: TileOptions) -> pl.DataFrame:
    """How much of each box the regions cover.

    Args:
        regions: From `find_regions`.
        image: The slide.
        boxes: (n, 4): x, y, w, h in level-0 pixels.
        options: Which classes count, and where the origin of the outlines lies.

    Returns:
        Columns `annotated` (fraction in any region, 0-1), `class` (the one that covers most, of several the first by
        name; null where there is none) and, sorted, `fraction_<class>`.

    Raises:
        InvalidData: the file has no regions, or a mask has another shape than the slide.
        UnreadableImage: a mask is damaged.
    """
    fractions = regions.fractions(image, boxes, options)
    annotated = fractions.pop("")
    names = sorted({*fractions, *options.region_classes})
    fractions |= {name: np.zeros(len(boxes)) for name in names if name not in fractions}
    columns = {"annotated": annotated, "class": _largest(names, [fractions[name] for name in names], len(boxes))}
    return pl.DataFrame({**columns, **{f"fraction_{name}": fractions[name] for name in names}})


def _largest(names: list[str], fractions: list[NDArray[np.float64]], count: int) -> pl.Series:
    if not names or not count:
        return pl.Series([None] * count, dtype=pl.String())
    stacked = np.stack(fractions)
    best = np.where(stacked.max(axis=0) > 0, stacked.argmax(axis=0), -1)
    return pl.Series([names[place] if place >= 0 else None for place in best.tolist()], dtype=pl.String())
