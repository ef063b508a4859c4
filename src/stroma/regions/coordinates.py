"""Polygons as bare lists of coordinates: htc's CSV files, HistomicsTK's contour tables, HuBMAP's JSON lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import read_json
from stroma.core.tables import require_columns
from stroma.regions.annotation import Annotation
from stroma.regions.masks import parse_colour


def read_coordinates_csv(path: Path | str, *, pixel_centre: float = 0.0) -> Any:
    """Read the outline of one object: lines of column and row without a header, in drawing order (htc).

    Args:
        path: For example `<timestamp>#polygon#annotator1#liver#coordinates.csv`.
        pixel_centre: What the file calls the centre of the first pixel: 0 where coordinates are indices of
            pixels, as NumPy counts them, 0.5 where they count from the outer corner.

    Returns:
        A shapely polygon in Stroma's coordinates, in which that centre is at 0.5.

    Raises:
        MissingFile: there is no such file.
        InvalidData: not two numbers a line, or fewer than three different corners.
    """
    path = Path(path)
    table = _read_csv(path, separator=",", header=False)
    if table.width != 2:
        raise InvalidData(f"has {table.width} columns where column and row are needed", where=path)
    numbers = table.select(pl.all().cast(pl.Float64, strict=False)).to_numpy()
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise InvalidData(f"line {bad[0] + 1} is no pair of numbers", where=path)
    return _polygon(numbers, pixel_centre, "the outline", path)


def read_contour_table(path: Path, *, pixel_centre: float = 0.0) -> list[Annotation]:
    """Read a contour table of HistomicsTK: columns group, color, coords_x and coords_y, one row an outline.

    The table says which outlines have holes but not where they are: an outline that lies in another one of the
    same group is drawn over it.

    Args:
        path: `.csv`, or `.tsv` with tabulators.
        pixel_centre: See `read_coordinates_csv`.

    Raises:
        MissingFile: there is no such file.
        InvalidData: a column is missing, or an outline cannot be used; the message has its row from 0.
    """
    separator = "\t" if Path(path).suffix.lower() in (".tsv", ".tab") else ","
    table = _read_csv(path, separator=separator, header=True)
    require_columns(table, ["group", "coords_x", "coords_y"], where=path)
    result = []
    for index, row in enumerate(table.iter_rows(named=True)):
        what = f"object {index}"
        columns = [_numbers(row[name], what, path) for name in ("coords_x", "coords_y")]
        if len(columns[0]) != len(columns[1]):
            raise InvalidData(f"{what} has {len(columns[0])} x and {len(columns[1])} y", where=path)
        polygon = _polygon(np.stack(columns, axis=1), pixel_centre, what, path)
        colour = (row.get("color") or "").strip().removeprefix("rgb(").removesuffix(")")
        result.append(Annotation(polygon, label=row["group"], colour=parse_colour(colour) if colour else None))
    return result


def read_polygon_list(path: Path, *, pixel_centre: float = 0.5) -> list[Any]:
    """Read a JSON list of polygons, each a list of [x, y] (HuBMAP organ segmentation).

    Args:
        path: The file.
        pixel_centre: See `read_coordinates_csv`.

    Returns:
        Shapely polygons in the order of the file.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no such list; the message has the index of the polygon.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InvalidData("is no list of polygons", where=path)
    polygons = []
    for index, entry in enumerate(content):
        try:
            points = np.array(entry, dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise InvalidData(f"object {index} is no list of [x, y]", where=path) from error
        if points.ndim != 2 or points.shape[1] != 2:
            raise InvalidData(f"object {index} is no list of [x, y]", where=path)
        polygons.append(_polygon(points, pixel_centre, f"object {index}", path))
    return polygons


def _read_csv(path: Path, *, separator: str, header: bool) -> pl.DataFrame:
    if not Path(path).is_file():
        raise MissingFile("there is no such file", where=path)
    try:
        return pl.read_csv(path, separator=separator, has_header=header, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InvalidData(f"is not a readable table ({error})", where=path) from error


def _numbers(text: str | None, what: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.array((text or "").split(","), dtype=np.float64)
    except ValueError as error:
        raise InvalidData(f"{what} has coordinates that are no numbers", where=path) from error


def _polygon(points: NDArray[np.float64], pixel_centre: float, what: str, path: Path) -> Any:
    if len(np.unique(points, axis=0)) < 3 or not np.isfinite(points).all():
        raise InvalidData(f"{what} has {len(points)} corners, which enclose no area", where=path)
    return shapely.Polygon(points + (0.5 - pixel_centre))
