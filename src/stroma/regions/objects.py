"""Object tables: one row per object, and counts, densities and area shares per image and per subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.core.tables import ADDRESS_SCHEMA, require_columns
from stroma.regions.annotation import Annotation
from stroma.regions.polygons import ring_edges

OBJECTS_FORMAT = "objects/1"
OBJECTS_SCHEMA: dict[str, pl.DataType] = ADDRESS_SCHEMA | {
    "subject_id": pl.String(),
    "label": pl.String(),
    "centroid_x": pl.Float64(),
    "centroid_y": pl.Float64(),
    "area_px": pl.Float64(),
    "area_um2": pl.Float64(),
    "diameter_um": pl.Float64(),
    "circularity": pl.Float64(),
    "confidence": pl.Float64(),
    "on_border": pl.Boolean(),
}
"""An object's address (its bounding box in level-0 pixels), then what is known about it.

`centroid_x`, `centroid_y` and `area_px` are level-0 pixels; `area_um2` and `diameter_um` (of the circle of the same
area) are null where the size of a pixel is unknown; `circularity` is 4π · area / perimeter², 1 for a circle;
`confidence` is a mean probability 0-1 or null; `on_border` tells that the image's edge cuts the object.
"""


_FEWEST_CORNERS = 8  # of an outline along pixels; people draw shapes of fewer corners that are upright and level


def objects_from_annotations(
    annotations: Sequence[Annotation],
    *,
    image_id: str,
    subject_id: str,
    size: tuple[int, int],
    mpp: float | None,
    confidence: str = "confidence",
) -> pl.DataFrame:
    """Table of drawn or detected objects; points count with an area of 0.

    The perimeter of an outline along the borders of pixels (from a mask) is Crofton's, as in `objects_from_mask`.

    Args:
        annotations: The objects of one image; `region` is their index.
        image_id: The image.
        subject_id: Whose it is.
        size: (height, width) of the image in level-0 pixels.
        mpp: Size of a level-0 pixel in µm, or None.
        confidence: Name of the measurement with the confidence.

    Returns:
        Columns of `OBJECTS_SCHEMA`.
    """
    shapes = np.empty(len(annotations), dtype=object)
    shapes[:] = [annotation.geometry for annotation in annotations]
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    centroids = shapely.get_coordinates(shapely.centroid(shapes)).reshape(-1, 2)
    named = [(annotation.class_name, annotation.measurements.get(confidence)) for annotation in annotations]
    return _table(
        image_id,
        subject_id,
        np.arange(len(annotations)),
        bounds,
        centroids,
        shapely.area(shapes),
        _perimeters(shapes),
        [name for name, _ in named],
        [value for _, value in named],
        size,
        mpp,
    )


def _perimeters(shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    """Lengths of outlines; for those that follow pixels Crofton's formula in four directions (Legland et al. 2007).

    That is π/8 · (n + d/√2), where n are the neighbours and d the diagonal neighbours that lie on two sides of the
    outline. An outline of n pixel edges with k corners has d = 2n - k. A shape follows pixels if it has eight
    corners or more and all its edges are upright or level; its shortest edge is taken for the side of a pixel.
    """
    length = np.asarray(shapely.length(shapes))
    edges, owner = ring_edges(shapes)
    steps = np.abs(edges[:, 2:] - edges[:, :2])
    slanted = np.bincount(owner[(steps > 0).all(axis=1)], minlength=len(shapes))
    corners = np.bincount(owner, minlength=len(shapes))
    side = np.full(len(shapes), np.inf)
    np.minimum.at(side, owner, steps.sum(axis=1))
    stairs = (slanted == 0) & (corners >= _FEWEST_CORNERS)
    side[~stairs] = 0.0
    return np.where(stairs, np.pi / 8 * ((1 + np.sqrt(2)) * length - corners * side / np.sqrt(2)), length)


def objects_from_mask(
    mask: NDArray[Any],
    *,
    image_id: str,
    subject_id: str,
    mpp: float | None,
    label: str | None = None,
    downsample: float = 1.0,
    probability: NDArray[np.floating[Any]] | None = None,
) -> pl.DataFrame:
    """Table of the objects of an instance mask that covers its whole image.

    Args:
        mask: (H, W) integers: 0 outside, else the number of the object, which becomes `region`.
        image_id: The image.
        subject_id: Whose it is.
        mpp: Size of a level-0 pixel in µm, or None.
        label: Class of all objects.
        downsample: Level-0 pixels per pixel of the mask.
        probability: (H, W) probabilities 0-1, whose mean over an object is its confidence.

    Returns:
        Columns of `OBJECTS_SCHEMA`. Perimeters follow Crofton's formula in four directions (Legland et al. 2007),
        which does not count the stairs of pixels.

    Raises:
        InvalidData: the probabilities have another size.
    """
    from skimage.measure import regionprops_table  # takes longer to import than all else that annotations need

    if probability is not None and probability.shape != mask.shape:
        raise InvalidData(f"the probabilities are {probability.shape}, the mask is {mask.shape}", where=image_id)
    wanted = ["label", "bbox", "centroid", "area", "perimeter_crofton"]
    wanted += ["intensity_mean"] if probability is not None else []
    found = regionprops_table(mask, intensity_image=probability, properties=wanted)
    count = len(found["label"])
    bounds = np.stack([found[f"bbox-{i}"] for i in (1, 0, 3, 2)], axis=1).reshape(-1, 4) * downsample
    centroids = (np.stack([found["centroid-1"], found["centroid-0"]], axis=1).reshape(-1, 2) + 0.5) * downsample
    return _table(
        image_id,
        subject_id,
        found["label"],
        bounds,
        centroids,
        found["area"] * downsample**2,
        found["perimeter_crofton"] * downsample,
        [label] * count,
        found["intensity_mean"].tolist() if probability is not None else [None] * count,
        (mask.shape[0] * downsample, mask.shape[1] * downsample),
        mpp,
    )


def _table(
    image_id: str,
    subject_id: str,
    region: NDArray[Any],
    bounds: NDArray[np.float64],
    centroids: NDArray[np.float64],
    area: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    labels: Sequence[str | None],
    confidence: Sequence[float | None],
    size: tuple[float, float],
    mpp: float | None,
) -> pl.DataFrame:
    corner = np.floor(bounds[:, :2]).astype(np.int64)
    extent = np.ceil(bounds[:, 2:]).astype(np.int64) - corner
    left, top, right, bottom = bounds.T
    circularity = np.full(len(area), np.nan)
    np.divide(4 * np.pi * area, perimeter**2, out=circularity, where=perimeter > 0)
    um2 = area * mpp**2 if mpp else np.full(len(area), np.nan)
    columns = {
        "image_id": [image_id] * len(area),
        "region": np.asarray(region, dtype=np.int64),
        "x": corner[:, 0],
        "y": corner[:, 1],
        "w": extent[:, 0],
        "h": extent[:, 1],
        "mpp": [mpp] * len(area),
        "subject_id": [subject_id] * len(area),
        "label": list(labels),
        "centroid_x": centroids[:, 0],
        "centroid_y": centroids[:, 1],
        "area_px": area.astype(np.float64),
        "area_um2": um2,
        "diameter_um": 2 * np.sqrt(um2 / np.pi),
        "circularity": np.minimum(circularity, 1.0),
        "confidence": list(confidence),
        "on_border": (left <= 0) | (top <= 0) | (right >= size[1]) | (bottom >= size[0]),
    }
    table = pl.DataFrame(columns, schema=OBJECTS_SCHEMA)
    return table.with_columns(pl.col("area_um2", "diameter_um", "circularity", "confidence").fill_nan(None))


def summarise_objects(objects: pl.DataFrame, images: pl.DataFrame, *, by: str = "image_id") -> pl.DataFrame:
    """Count objects per class and relate them to the tissue.

    Args:
        objects: Columns of `OBJECTS_SCHEMA`, of any number of images.
        images: One row an image, those without objects, too: `image_id`, `subject_id` and `tissue_mm2`.
        by: `image_id`, or `subject_id`, which pools the images of a subject.

    Returns:
        `by`, `label`, `count`, `on_border` (of these), `density_per_mm2`, `area_share` (0-1 of the tissue),
        `mean_area_um2`; a row for every group and every class that occurs anywhere, so that nothing found is a 0.
        Densities and shares are null without tissue.

    Raises:
        InvalidData: a column is missing, or objects lie on an image that is not listed.
    """
    require_columns(images, ["image_id", "subject_id", "tissue_mm2"], where="the table of images")
    missing = objects.join(images, on="image_id", how="anti")
    if len(missing):
        raise InvalidData(f"objects lie on the image '{missing['image_id'][0]}', which is not listed")
    tissue = images.group_by(by).agg(pl.col("tissue_mm2").sum())
    found = objects.drop("subject_id").join(images.select("image_id", "subject_id"), on="image_id")
    counted = found.group_by(by, "label").agg(
        count=pl.len(),
        on_border=pl.col("on_border").sum(),
        area_mm2=pl.col("area_um2").sum() / 1e6,
        mean_area_um2=pl.col("area_um2").mean(),
    )
    every = tissue.join(found.select("label").unique(), how="cross")
    table = every.join(counted, on=[by, "label"], how="left", nulls_equal=True)
    with_tissue = pl.when(pl.col("tissue_mm2") > 0)
    return (
        table.with_columns(
            pl.col("count", "on_border").fill_null(0).cast(pl.Int64), pl.col("area_mm2").fill_null(0.0)
        )
        .with_columns(
            density_per_mm2=with_tissue.then(pl.col("count") / pl.col("tissue_mm2")),
            area_share=with_tissue.then(pl.col("area_mm2") / pl.col("tissue_mm2")),
        )
        .select(by, "label", "count", "on_border", "density_per_mm2", "area_share", "mean_area_um2")
        .sort(by, "label")
    )
