"""The tables of a study: their columns, in the order in which they are stored."""

from __future__ import annotations

import polars as pl

CATALOG_FORMAT = "catalog/1"
CATALOG_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "subject_id": pl.String(),
    "path": pl.String(),
}
"""One row an image, sorted by `image_id`; metadata columns follow.

`path` is relative to the study's root, with `/`. An unknown subject is the image's own id, and
`subject_known` of the study is False then. Layouts add columns: `timestamp`, `camera`, `label` (class
folders), `height`, `width`, `mpp` where a header tells without reading the image.
"""

ANNOTATIONS_FORMAT = "annotations/1"
ANNOTATIONS_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "layer": pl.String(),
    "annotator": pl.String(),
    "kind": pl.String(),
    "label": pl.String(),
    "path": pl.String(),
    "geometry": pl.String(),
}
"""One row an annotation: (image, layer, annotator, kind, geometry or mask).

`layer` is what was annotated (`polygon`, `semantic`, `mask`, `label`), `annotator` who did it, empty where the
files do not say. `kind` is `mask-index` (pixel value = label), `mask-binary` (one label, non-zero inside),
`mask-palette` (index, stored with colours), `mask-rgb` (colour = label), `mask-instance` (pixel value = object, 0
outside), `mask-htc` (an array of a `.blosc` file), `mask-mitk` (layers of an NRRD file), `runs` (run lengths in a CSV
file), `polygon` (areas and lines), `points`, or `image` (a label of the whole image).
`label` is null where a mask file itself holds several, and for an object without a class. `path` is the file,
relative to the root; `geometry` (GeoJSON in level-0 pixels, pixel centres at +0.5) is set for `polygon` and `points`,
in the drawing order of their file. An empty polygon says that somebody looked and found nothing.
"""

SPLITS_FORMAT = "splits/1"
SPLITS_SCHEMA: dict[str, pl.DataType] = {
    "outer": pl.Int64(),
    "fold": pl.String(),
    "set": pl.String(),
    "role": pl.String(),
    "image_id": pl.String(),
}
"""Rows (outer, fold, set, role, image_id); `role` is train, validation, test or extra."""
ROLES = ("train", "validation", "test", "extra")
