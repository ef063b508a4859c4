"""Tables of median spectra for htc and from it: `tables/<dataset>@median_spectra@<annotation>.feather`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.core.files import atomic_path
from stroma.core.tables import polars_writes
from stroma.spectra.medians import SPECTRUM_COLUMNS
from stroma.study.htc.feather import read_feather
from stroma.study.htc.identifiers import is_identifying
from stroma.study.htc.names import ImageName, split_annotation
from stroma.study.study import Study

_KIND = "median_spectra"
_OURS = ("layer", "annotator", "n_used", "parameters")


def write_htc_medians(table: pl.DataFrame, study: Study, folder: Path | str) -> list[Path]:
    """Write a table of median spectra so that `htc.utils.helper_functions.median_table` reads it.

    Args:
        table: Rows of `stroma.study.median_rows`.
        study: Whose rows they are; its labels give the indices of the data set.
        folder: Usually the folder `intermediates` beside `data`.

    Returns:
        A file for each annotation: `<folder>/tables/<study>@median_spectra@<layer>#<annotator>.feather`.
    """
    sources = {name: value for value, name in study.labels.sources.items()}
    indices = {name: sources.get(name, index) for index, name in enumerate(study.labels.names)}
    ids = table["image_id"].unique(maintain_order=True).to_list()
    times = {
        image_id: next(p for p in reversed(ImageName.parse(image_id).parts) if p != "overlap") for image_id in ids
    }
    rest = [
        name
        for name in table.columns
        if name not in {*_OURS, "image_id", "subject_id", "label_index", "label_name", "n_pixels", "timestamp"}
        and name not in SPECTRUM_COLUMNS
        and table[name].dtype != pl.Null
    ]
    prepared = table.sort("label_index", "image_id", maintain_order=True).select(
        "layer",
        "annotator",
        pl.col("image_id").alias("image_name"),
        pl.col("subject_id").alias("subject_name"),
        pl.col("image_id").replace_strict(times, return_dtype=pl.String).alias("timestamp"),
        pl.col("label_name").replace_strict(indices, return_dtype=pl.Int64).alias("label_index"),
        "label_name",
        *(pl.col(name).cast(pl.List(pl.Float32)) for name in SPECTRUM_COLUMNS),
        "n_pixels",
        *rest,
    )
    if "camera" in prepared.columns:
        prepared = prepared.rename({"camera": "camera_name"})
    paths = []
    for (layer, annotator), rows in sorted(prepared.partition_by("layer", "annotator", as_dict=True).items()):
        path = Path(folder) / "tables" / f"{study.name}@{_KIND}@{layer}#{annotator}.feather"
        with stage("write"), atomic_path(path) as temporary, polars_writes(temporary):
            rows.drop("layer", "annotator").write_ipc(
                temporary, compression="lz4", compat_level=pl.CompatLevel.oldest()
            )
        paths.append(path)
    return paths


def read_htc_medians(path: Path | str) -> pl.DataFrame:
    """Read a table of median spectra that htc wrote, without columns that could name a patient.

    Args:
        path: `<dataset>[@<table>]@median_spectra[@<layer>#<annotator>].feather`.

    Returns:
        With the columns of `stroma.study.median_rows` that htc has: `image_id`, `subject_id`, `layer`, `annotator`,
        `label_index` (that of the data set), `label_name`, spectra, `n_pixels`, parameters (by the vendor), metadata.

    Raises:
        MissingFile: there is no such file.
        InvalidData: it is no such table.
    """
    path = Path(path)
    table = read_feather(path)
    needed = ("image_name", "label_name", "n_pixels", *SPECTRUM_COLUMNS)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise InvalidData(f"has no column '{missing[0]}', so it is no table of median spectra", where=path)
    parts = path.stem.split("@")
    if _KIND not in parts[1:]:
        raise InvalidData("is not named <dataset>@median_spectra@<annotation>.feather", where=path)
    annotation = parts[-1] if parts[-1] != _KIND else ""
    layer, annotator = split_annotation(annotation, where=str(path)) if annotation else ("", "")
    lengths = pl.concat([table[name].list.len() for name in SPECTRUM_COLUMNS]).unique()
    if len(lengths) != 1:
        raise InvalidData(f"has spectra of {sorted(lengths)} channels", where=path)
    spectra = pl.Array(pl.Float32, int(lengths[0]))
    table = table.drop([name for name in table.columns if is_identifying(name)])
    table = table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    subject = (
        pl.col("subject_name").cast(pl.String)
        if "subject_name" in table.columns
        else pl.col("image_name").cast(pl.String).str.split("#").list.first()
    )
    front: list[pl.Expr | str] = [
        pl.col("image_name").cast(pl.String).alias("image_id"),
        subject.alias("subject_id"),
        pl.lit(layer).alias("layer"),
        pl.lit(annotator).alias("annotator"),
        *(pl.col(name) for name in ("label_index",) if name in table.columns),
        "label_name",
        pl.col("n_pixels").cast(pl.Int64),
        pl.col("n_pixels").cast(pl.Int64).alias("n_used"),
        *(pl.col(name).cast(spectra) for name in SPECTRUM_COLUMNS),
    ]
    used = {"image_name", "subject_name", "label_index", "label_name", "n_pixels", *SPECTRUM_COLUMNS}
    return table.select(*front, *(name for name in table.columns if name not in used))
