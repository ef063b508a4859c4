"""The nearest-mean-spectrum classifier: what a network has to beat to have learned more than colour."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stroma.core.errors import InvalidData
from stroma.evaluation.dice import aggregate, confusion_matrix, dice_of, score_rows
from stroma.runs.run import Run
from stroma.spectra.normalise import l1
from stroma.study.labels import IGNORE


def mean_spectra(run: Run) -> NDArray[np.float64]:
    """Mean L1-normalised spectrum of each class over the annotated pixels of the run's training images.

    Returns:
        (K, C); NaN for classes that the training images lack.
    """
    study, classes = run.study, len(run.labels)
    totals, counts = None, np.zeros(classes)
    for image_id in run.images_of("train"):
        with study.open(image_id) as image:
            spectra = l1(image.read())
        mask = study.mask(image_id, annotator=run.config.data.annotator)
        if totals is None:
            totals = np.zeros((classes, spectra.shape[2]))
        for index in np.unique(mask[mask != IGNORE]):
            inside = spectra[mask == index]
            totals[index] += inside.sum(axis=0, dtype=np.float64)
            counts[index] += len(inside)
    if totals is None:
        raise InvalidData("has no training images", where=run.folder)
    with np.errstate(invalid="ignore"):
        return totals / counts[:, None]


def nearest_mean(cube: NDArray[np.float32], means: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Class of the nearest mean spectrum (Euclidean distance of L1-normalised spectra) at each pixel.

    Args:
        cube: (H, W, C) reflectance.
        means: (K, C) from `mean_spectra`.

    Returns:
        (H, W) uint8 class indices.
    """
    spectra = l1(cube).reshape(-1, cube.shape[2]).astype(np.float64)
    squares = (means**2).sum(axis=1) - 2 * spectra @ np.nan_to_num(means).T  # |x - m|² without |x|²
    squares = np.where(np.isnan(squares), np.inf, squares)
    labels: NDArray[np.uint8] = squares.argmin(axis=1).astype(np.uint8)
    return labels.reshape(cube.shape[:2])


def nearest_mean_scores(run: Run, role: str = "test") -> pl.DataFrame:
    """Dice of the nearest-mean classifier on a set of the run, aggregated as the network's is.

    Args:
        run: A run on hyperspectral images.
        role: `test` or `validation`.
    """
    means, names = mean_spectra(run), run.labels.names
    subjects = dict(run.study.catalog.select("image_id", "subject_id").rows())
    tables = []
    for image_id in run.images_of(role):
        with run.study.open(image_id) as image:
            predicted = nearest_mean(image.read(), means)
        annotated = run.study.annotated_mask(image_id, run.config.data.annotator)
        values = dice_of(confusion_matrix(annotated.labels, predicted, len(names)))
        tables.append(score_rows(image_id, subjects[image_id], annotated.annotator, names, values))
    return aggregate(pl.concat(tables))
