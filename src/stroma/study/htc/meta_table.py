"""`intermediates/tables/<dataset>@meta.feather`: what htc knows about each image."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from stroma.core.errors import InvalidData
from stroma.study.htc.feather import read_feather
from stroma.study.htc.identifiers import is_identifying
from stroma.study.layouts.layout import Scan
from stroma.study.listing import Listing, Problem

_ENDING = "@meta.feather"
_OTHERS = (
    "image_name",
    "path",
    "annotation_name",
    "dataset_settings_path",
    "timestamp",
    "subject_name",
    "camera_name",
)


def read_meta_table(path: Path | str, *, with_identifiers: bool = False) -> pl.DataFrame:
    """Read a table of images, without columns that could name a patient unless they are asked for.

    Returns:
        `image_name` and further columns; categories as text.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no Feather file, has no column `image_name`, or an image twice.
    """
    path = Path(path)
    table = read_feather(path)
    table = table.drop([name for name in table.columns if is_identifying(name) and not with_identifiers])
    if "image_name" not in table.columns:
        raise InvalidData("has no column 'image_name'", where=path, next_step=f"Its columns: {table.columns}")
    table = table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col("image_name").cast(pl.String))
    twice = table.filter(pl.col("image_name").is_duplicated())
    if len(twice):
        raise InvalidData(f"has the image '{twice['image_name'][0]}' twice", where=path)
    return table


def join_meta_table(scan: Scan, listing: Listing, folder: str, *, with_identifiers: bool = False) -> Scan:
    """Add the columns of the meta table in a folder; what the files of an image say themselves goes first.

    Args:
        scan: What was found in the files.
        listing: With the folder of the tables.
        folder: Relative to the root.
        with_identifiers: Whether columns that could name a patient are added too.
    """
    paths = [path for path in listing.files if path.endswith(_ENDING) and path.startswith(f"{folder}/")]
    if not paths:
        return scan
    if len(paths) > 1:
        problem = Problem(folder, f"holds {len(paths)} tables *{_ENDING} where one is expected; none is read")
        return Scan(scan.catalog, scan.annotations, (*scan.problems, problem))
    try:
        table = read_meta_table(listing.root / paths[0], with_identifiers=with_identifiers)
    except InvalidData as error:
        return Scan(
            scan.catalog, scan.annotations, (*scan.problems, Problem(paths[0], f"{error.what}; it is not read"))
        )
    problems = list(scan.problems)
    images = set(scan.catalog["image_id"])
    gone = [name for name in table["image_name"] if name not in images]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        problems.append(Problem(paths[0], f"names '{gone[0]}'{more}, whose folder was not found"))
    added = [name for name in table.columns if name not in _OTHERS]
    renamed = {"image_name": "image_id"} | ({"camera_name": "camera"} if "camera_name" in table.columns else {})
    more_columns = table.select(*renamed, *added).rename(renamed)
    known = [name for name in more_columns.columns if name in scan.catalog.columns and name != "image_id"]
    catalog = scan.catalog.join(more_columns, on="image_id", how="left", suffix="@table", maintain_order="left")
    catalog = catalog.with_columns(_filled(catalog, name) for name in known).drop(f"{name}@table" for name in known)
    return Scan(catalog, scan.annotations, tuple(problems))


def _filled(catalog: pl.DataFrame, name: str) -> pl.Expr:
    """A column with the table's values where the files have none and the types agree."""
    if catalog[name].null_count() == len(catalog):
        return pl.col(f"{name}@table").alias(name)
    if catalog[name].dtype == catalog[f"{name}@table"].dtype:
        return pl.coalesce(name, f"{name}@table").alias(name)
    return pl.col(name)
