"""Which dialect an annotation file is in, told by its name and its beginning."""

from __future__ import annotations

import re
from pathlib import Path

from stroma.core.errors import InvalidData
from stroma.regions.rle_csv import ENCODING_COLUMNS

_BEGINNING = 65_536


def kind_of(path: Path) -> str:
    """Which dialect a file is in.

    Returns:
        `geojson`, `coco`, `polygon-list`, `xml`, `rle-csv`, `contour-table`, `coordinates`, `nrrd`, `htc-blosc`,
        `table` or `mask`.

    Raises:
        InvalidData: none that is known.
    """
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    fixed = {
        ".geojson": "geojson",
        ".xml": "xml",
        ".ndpa": "xml",
        ".nrrd": "nrrd",
        ".parquet": "table",
        ".blosc": "htc-blosc",
    }
    fixed |= dict.fromkeys((".png", ".tif", ".tiff", ".bmp", ".npy"), "mask")
    if suffix in fixed:
        return fixed[suffix]
    beginning = _beginning(path)
    if suffix == ".json":
        if path.name.lower().endswith(".gz") or re.search(r'"type"\s*:\s*"Feature', beginning):
            return "geojson"
        if re.match(r"\s*\[\s*\[", beginning):
            return "polygon-list"
        return "coco" if re.search(r'"(images|categories|annotations)"\s*:', beginning) else "geojson"
    if suffix in (".csv", ".tsv"):
        columns = {column.strip().strip('"') for column in re.split(r"[,\t]", beginning.partition("\n")[0])}
        if "coords_x" in columns:
            return "contour-table"
        if "id" in columns and columns & set(ENCODING_COLUMNS):
            return "rle-csv"
        if len(columns) <= 2 and not columns & {"id", "x", "y"}:
            return "coordinates"
    raise InvalidData(
        "is in no annotation format that Stroma knows",
        where=path,
        next_step="Known are GeoJSON, COCO, ASAP, ImageScope and NDP.view XML, RLE CSV, contour tables, coordinate "
        "lists, MITK NRRD, blosc of htc, masks, and annotations.parquet",
    )


def _beginning(path: Path) -> str:
    with path.open("rb") as handle:
        return handle.read(_BEGINNING).decode("utf-8-sig", errors="replace")
