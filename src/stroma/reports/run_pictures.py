"""Which images of a run are shown, and their pictures, references and predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as Picture

from stroma.core.clock import stage
from stroma.core.errors import InvalidData, StromaError
from stroma.core.tables import read_table
from stroma.inference.predict import read_labels
from stroma.reports.figure import count
from stroma.reports.overlays import OverlayItem
from stroma.runs.run import Run
from stroma.spectra.rgb import hsi_to_rgb
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.study import Study


def image_means(scores: pl.DataFrame) -> pl.DataFrame:
    """Mean over classes of each image's first metric, from the worst to the best (image_id, subject_id, value)."""
    rows = scores.filter((pl.col("scope") == "image") & pl.col("label").is_not_null() & pl.col("value").is_not_null())
    if rows.is_empty():
        return rows.select("image_id", "subject_id", "value")
    metric = "dice" if "dice" in rows["metric"] else rows["metric"].sort()[0]
    rows = rows.filter(pl.col("metric") == metric)
    return rows.group_by("image_id", "subject_id").agg(pl.col("value").mean()).sort("value", "image_id")


def pictured_images(scores: pl.DataFrame, number: int) -> list[str]:
    """Choose images by rank: the worst, the best, and evenly between them.

    Args:
        scores: Columns of `SCORES_SCHEMA`.
        number: How many at most.
    """
    ranked = image_means(scores)["image_id"].unique(maintain_order=True).to_list()
    if len(ranked) <= number:
        return ranked
    places = np.unique(np.linspace(0, len(ranked) - 1, number).round().astype(int))
    return [ranked[place] for place in places]


def overlay_items(
    run: Run, set_name: str, scores: pl.DataFrame, image_ids: Sequence[str]
) -> tuple[list[OverlayItem], list[str]]:
    """Read what there is to show of images.

    Args:
        run: The run.
        set_name: The set whose predictions are shown.
        scores: Of the set.
        image_ids: The images, from the worst to the best.

    Returns:
        The items, and sentences on what is missing.
    """
    study, notes = _study(run)
    means = image_means(scores)
    ranks = {row[0]: (place, row[1], row[2]) for place, row in enumerate(means.iter_rows(), 1)}
    predictions = _prediction_paths(run, set_name)
    annotator = next((a for a in scores["annotator"].unique().sort().to_list() if a), None)
    items, without = [], []
    for image_id in image_ids:
        rank, subject, value = ranks[image_id]
        title = f"{image_id} · subject {subject} · mean {value:.3f} · rank {rank} of {len(means)}"
        predicted = _prediction(run, set_name, predictions.get(image_id))
        rgb = _rgb(study, image_id)
        reference = _reference(run, study, image_id, annotator)
        if rgb is None:
            without.append(image_id)
        if predicted is not None or reference is not None:
            items.append(_item(title, rgb, reference, predicted))
    if study is not None and without:
        notes.append(f"{count(len(without), 'shown image')} has no RGB rendering; only the classes are drawn.")
    return items, notes


def _study(run: Run) -> tuple[Study | None, list[str]]:
    try:
        study = run.study
        len(study)
    except StromaError as error:
        return None, [f"The study could not be opened, so the page shows no images and no references: {error.what}."]
    return study, []


def _prediction_paths(run: Run, set_name: str) -> dict[str, str]:
    table = run.folder / "predictions" / set_name / "predictions.parquet"
    return dict(read_table(table).select("image_id", "path").iter_rows()) if table.is_file() else {}


def _prediction(run: Run, set_name: str, path: str | None) -> NDArray[np.uint8] | None:
    file = run.folder / "predictions" / set_name / (path or "")
    if not file.is_file():
        return None
    with stage("read"):
        return read_labels(file)


def _rgb(study: Study | None, image_id: str) -> NDArray[np.uint8] | None:
    """The picture of an image for display: its own, or for a cube without one as an eye would see it."""
    if study is None or image_id not in study:
        return None
    try:
        return study.rgb(image_id)
    except StromaError:
        return _rgb_from_cube(study, image_id)


def _rgb_from_cube(study: Study, image_id: str) -> NDArray[np.uint8] | None:
    try:
        with study.open(image_id) as image:
            return None if image.wavelengths_nm is None else hsi_to_rgb(image.read(), image.wavelengths_nm)
    except StromaError:
        return None


def _reference(run: Run, study: Study | None, image_id: str, annotator: str | None) -> NDArray[np.uint8] | None:
    if study is None:
        return None
    try:
        with stage("read"):
            mask = study.mask(image_id, annotator)
        return translate(mask, study.labels, run.labels)
    except StromaError:
        return None


def translate(mask: NDArray[np.uint8], source: LabelMapping, target: LabelMapping) -> NDArray[np.uint8]:
    """Class indices of one mapping as those of another, by name; names that `target` lacks become `IGNORE`."""
    if source.names == target.names:
        return mask
    table = np.full(256, IGNORE, dtype=np.uint8)
    for index, name in enumerate(source.names):
        if name in target.names:
            table[index] = target.names.index(name)
    return table[mask]


def _item(
    title: str,
    rgb: NDArray[np.uint8] | None,
    reference: NDArray[np.uint8] | None,
    predicted: NDArray[np.uint8] | None,
) -> OverlayItem:
    """An item whose masks have the size of the picture, which for pyramids is a coarse level."""
    if rgb is None:
        return OverlayItem(title, None, reference, predicted)
    size = rgb.shape[:2]
    return OverlayItem(title, rgb, _resized(reference, size, title), _resized(predicted, size, title))


def _resized(mask: NDArray[np.uint8] | None, size: tuple[int, ...], title: str) -> NDArray[np.uint8] | None:
    if mask is None or mask.shape == size:
        return mask
    ratio = (mask.shape[0] / size[0]) / (mask.shape[1] / size[1])
    if not 0.98 < ratio < 1.02:
        raise InvalidData(
            f"the mask is {mask.shape[0]} × {mask.shape[1]} pixels, its picture {size[0]} × {size[1]}", where=title
        )
    return np.asarray(Picture.fromarray(mask).resize((size[1], size[0]), Picture.Resampling.NEAREST))
