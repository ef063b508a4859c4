"""Rows of the table of median spectra: one an image, annotation and label, with parameters and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, UsageError
from stroma.spectra.highlights import specular_highlights
from stroma.spectra.medians import SPECTRUM_COLUMNS, spectrum_statistics
from stroma.spectra.normalise import measured
from stroma.spectra.parameter_maps import TissueParameters
from stroma.spectra.parameters import WATER_BAND, ParameterConstants, covered
from stroma.study.labels import IGNORE
from stroma.study.masks import AnnotatedMask
from stroma.study.parameters import parameter_files, parameters_at
from stroma.study.recording import Recording

TABLE_FORMAT = "median-table/1"
PARAMETER_COLUMNS = {
    "StO2": "sto2",
    "NIR": "nir",
    "TWI": "twi",
    "OHI": "ohi",
    "THI": "thi",
    "TLI": "tli",
    WATER_BAND: "water_band",
}
"""Parameter → its name in `median_…` and `std_…`, in the order of htc, ours last."""

_IDENTITY: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "layer": pl.String(),
    "annotator": pl.String(),
    "label_index": pl.Int64(),
    "label_name": pl.String(),
    "n_pixels": pl.Int64(),
    "n_used": pl.Int64(),
}


@dataclass(frozen=True)
class MedianSettings:
    """What rows depend on beside the recording.

    Attributes:
        annotator: Only this one; None for all, each in rows of its own.
        parameters: Source of tissue parameters (`stroma.study.parameters`), or `none`.
        constants: All numbers of their formulas.
        highlights_above: Leave out pixels whose reflectance is above this in every band; None keeps them.
    """

    annotator: str | None = None
    parameters: str = "auto"
    constants: ParameterConstants = ParameterConstants()
    highlights_above: float | None = None


def table_schema(channels: int) -> dict[str, pl.DataType]:
    """Columns that every table of median spectra begins with; those of the metadata follow.

    `n_pixels` counts the pixels of the label, `n_used` those that were measured (and are no highlights, where these
    are left out), of which all statistics are. Spectra are as in `stroma.spectra.medians`. `median_sto2` to
    `std_water_band` are of the same pixels where the parameter has a value (standard deviation with divisor n), null
    where there is none; `parameters` says which is from where.
    """
    statistics = {f"{kind}_{name}": pl.Float64() for name in PARAMETER_COLUMNS.values() for kind in ("median", "std")}
    spectra = dict.fromkeys(SPECTRUM_COLUMNS, pl.Array(pl.Float32(), channels))
    return {**_IDENTITY, **spectra, **statistics, "parameters": pl.String()}


def recording_rows(recording: Recording, settings: MedianSettings) -> pl.DataFrame:
    """Rows of one recording, by annotation in order of preference and label in order of the mapping.

    Args:
        recording: Annotated; labels without a measured pixel have no row.
        settings: Annotator, parameters, highlights.

    Raises:
        InvalidData: an annotation contradicts the image, or no annotated pixel was measured.
        UsageError: the image has no wavelengths or there is no such source of parameters.
    """
    masks = [
        mask for mask in recording.masks().values() if settings.annotator in (None, mask.annotator)
    ]  # annotations of others are not missed: the verb says how many images have none
    if not masks:
        raise InvalidData(f"'{recording.image_id}' has no such annotation", where=recording.study.path)
    cube = recording.cube()
    for mask in masks:
        if mask.labels.shape != cube.shape[:2]:
            raise InvalidData(
                f"the mask '{mask.layer}#{mask.annotator}' is {mask.labels.shape[0]} × {mask.labels.shape[1]} "
                f"(height × width), the cube {cube.shape[0]} × {cube.shape[1]}",
                where=recording.path,
            )
    with stage("transform"):
        annotated = np.any([mask.labels != IGNORE for mask in masks], axis=0)
        spectra = cube[annotated].astype(np.float32, copy=False)
        usable = measured(spectra)
        if settings.highlights_above is not None:
            usable &= ~specular_highlights(spectra, settings.highlights_above)
        parameters = _parameters(recording, annotated, cube, settings)
        rows = [
            row
            for mask in masks
            for row in _mask_rows(recording, mask, mask.labels[annotated], spectra, usable, parameters)
        ]
    if not rows:
        raise InvalidData("has no annotated pixel that was measured", where=recording.path)
    return _table(recording, rows, cube.shape[2])


def _parameters(
    recording: Recording, annotated: NDArray[np.bool_], cube: NDArray[Any], settings: MedianSettings
) -> TissueParameters | None:
    """Of the annotated pixels; None where they are not wanted, or nothing covers them and nobody named a source."""
    if settings.parameters == "none":
        return None
    if settings.parameters == "auto" and not parameter_files(recording):
        with recording.open() as image:
            nm = image.wavelengths_nm
        if nm is None:
            raise UsageError("has no wavelengths: median spectra are of hyperspectral images", where=recording.path)
        if not covered(nm, settings.constants):
            return None
    return parameters_at(recording, annotated, cube, settings.parameters, settings.constants)


def _mask_rows(
    recording: Recording,
    mask: AnnotatedMask,
    labels: NDArray[np.uint8],
    spectra: NDArray[np.float32],
    usable: NDArray[np.bool_],
    parameters: TissueParameters | None,
) -> list[dict[str, Any]]:
    """The rows of one annotation; `labels`, `spectra` and `usable` are of the annotated pixels."""
    rows = []
    for index, name in enumerate(recording.study.labels.names):
        inside = labels == index
        used = inside & usable
        if not used.any():
            continue
        identity = (
            recording.image_id, recording.subject_id, mask.layer, mask.annotator, index, name,
            int(inside.sum()), int(used.sum()),
        )  # fmt: skip
        row: dict[str, Any] = dict(zip(_IDENTITY, identity, strict=True))
        row |= dict(zip(SPECTRUM_COLUMNS, spectrum_statistics(spectra[used]), strict=True))
        for parameter, column in PARAMETER_COLUMNS.items():
            known = () if parameters is None else parameters.values.get(parameter, np.empty(0))
            values = np.asarray(known)[used] if len(known) else np.empty(0)
            values = values[np.isfinite(values)].astype(np.float64)
            row[f"median_{column}"] = float(np.median(values)) if len(values) else None
            row[f"std_{column}"] = float(values.std()) if len(values) else None
        row["parameters"] = None if parameters is None else parameters.describe()
        rows.append(row)
    return rows


def _table(recording: Recording, rows: Sequence[Mapping[str, Any]], channels: int) -> pl.DataFrame:
    """The rows as a table, followed by what is known of the label, the image, and in the catalog."""
    schema = table_schema(channels)
    series = [
        pl.Series(name, np.stack(values) if name in SPECTRUM_COLUMNS else values, dtype=kind)
        for name, kind in schema.items()
        for values in [[row[name] for row in rows]]
    ]
    meta = recording.annotation_meta
    of_labels = meta.get("label_meta")
    of_labels = of_labels if isinstance(of_labels, Mapping) else {}
    of_image = {key: value for key, value in meta.items() if key != "label_meta"}
    catalog = {key: [value] for key, value in recording.row.items() if key not in schema}
    described = [of_image | _plain(of_labels.get(row["label_name"])) for row in rows]
    names = [name for name in dict.fromkeys(key for entry in described for key in entry) if name not in schema]
    series += [_column(name, [entry.get(name) for entry in described]) for name in names]
    kinds = {key: kind for key, kind in recording.study.catalog.schema.items() if key in catalog and key not in names}
    series += [pl.Series(key, catalog[key] * len(rows), dtype=kind) for key, kind in kinds.items()]
    return pl.DataFrame(series)


def _plain(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _column(name: str, values: list[Any]) -> pl.Series:
    """Values of a JSON file as a column: truth values, numbers, lists of text, or text."""
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present):
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        whole = all(isinstance(value, int) for value in present)
        return pl.Series(name, values, dtype=pl.Int64 if whole else pl.Float64, strict=False)
    if all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in present):
        return pl.Series(name, values, dtype=pl.List(pl.String))
    texts = [
        v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False, sort_keys=True) for v in values
    ]
    return pl.Series(name, texts, dtype=pl.String)
