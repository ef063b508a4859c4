"""How labels differ in their spectra: principal components and linear discriminants of subject means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from stroma.reports.figure import GRID, WIDTH_IN, Figure, count, plotly_figure, plotly_text, static_style
from stroma.reports.spectra import ClassSpectra
from stroma.study.labels import LabelMapping

_SYMBOLS = (
    ("circle", "o"),
    ("square", "s"),
    ("diamond", "D"),
    ("triangle-up", "^"),
    ("x", "X"),
    ("triangle-down", "v"),
)
"""Of classes in turn, for plotly and matplotlib: colour alone does not tell many classes apart."""


@dataclass(frozen=True)
class View:
    """Spectra as points in a plane.

    Attributes:
        points: Columns label, subject_id, x, y.
        x_title: Of the first axis.
        y_title: Of the second.
        accuracy: Mean over classes of how many spectra of a left-out subject are recognised; None where not judged.
    """

    points: pl.DataFrame
    x_title: str
    y_title: str
    accuracy: float | None = None


def subject_spectra(classes: Sequence[ClassSpectra]) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """One spectrum per class and subject: (n, C), labels and subjects, n each."""
    rows = [(entry.name, subject, spectrum) for entry in classes for subject, spectrum in entry.subjects.items()]
    spectra = np.stack([spectrum for *_, spectrum in rows]) if rows else np.empty((0, 0))
    return spectra, [name for name, *_ in rows], [subject for _, subject, _ in rows]


def principal_components(classes: Sequence[ClassSpectra]) -> View | None:
    """The two directions in which the spectra of subjects vary most, without regard to their labels.

    Args:
        classes: With a spectrum of each subject.

    Returns:
        The view, or None with fewer than three spectra that differ.
    """
    spectra, labels, subjects = subject_spectra(classes)
    if len(spectra) < 3 or np.ptp(spectra, axis=0).max() == 0:
        return None
    model = PCA(n_components=2, svd_solver="full")
    points = _upright(model.fit_transform(spectra))
    first, second = (f"{100 * share:.0f} %" for share in model.explained_variance_ratio_)
    titles = (f"Principal component 1 ({first} of the variance)", f"Principal component 2 ({second})")
    return View(_points(labels, subjects, points), *titles)


def discriminants(classes: Sequence[ClassSpectra]) -> View | None:
    """The two directions that separate the labels best, and how well they do on subjects that were left out.

    R. A. Fisher, Annals of Eugenics 7:179, 1936; the covariance within classes, that of the spectra of all classes
    about their means, is shrunk towards the identity by the rule of O. Ledoit and M. Wolf, Journal of Multivariate
    Analysis 88:365, 2004, since there are more bands than spectra. A class may have a
    single subject. The picture is drawn on the spectra the directions were fitted to, so it looks better than it is;
    the accuracy is of spectra of subjects that were left out.

    Args:
        classes: With a spectrum of each subject.

    Returns:
        The view, or None with a single class, or where no class has two subjects.
    """
    spectra, labels, subjects = subject_spectra(classes)
    if len(set(labels)) < 2 or len(labels) <= len(set(labels)):
        return None
    scaled = (spectra - spectra.mean(axis=0)) / max(float(spectra.std(axis=0).mean()), np.finfo(float).tiny)
    points = _upright(_fitted(scaled, labels).transform(scaled)[:, :2])
    if points.shape[1] == 1:  # two classes have a single direction: principal component 1 beside it
        points = np.column_stack([points, _upright(PCA(1, svd_solver="full").fit_transform(scaled))])
        titles = ("Discriminant 1", "Principal component 1")
    else:
        titles = ("Discriminant 1", "Discriminant 2")
    return View(_points(labels, subjects, points), *titles, _left_out_accuracy(scaled, labels, subjects))


@dataclass(frozen=True)
class _Discriminants:
    """Axes in which the covariance within classes is the identity and the means of the classes lie apart.

    Attributes:
        names: (k,) the classes.
        axes: (C, m) of spectra, the one that separates best first.
        means: (k, m) of the classes in these axes.
        priors: (k,) logarithms of the shares of the classes.
    """

    names: NDArray[np.str_]
    axes: NDArray[np.float64]
    means: NDArray[np.float64]
    priors: NDArray[np.float64]

    def transform(self, spectra: NDArray[np.float64]) -> NDArray[np.float64]:
        return spectra @ self.axes

    def predict(self, spectra: NDArray[np.float64]) -> NDArray[np.str_]:
        distance = ((self.transform(spectra)[:, None] - self.means) ** 2).sum(axis=2)
        return np.asarray(self.names[(distance / 2 - self.priors).argmin(axis=1)])


def _fitted(spectra: NDArray[np.float64], labels: Sequence[str]) -> _Discriminants:
    names, index, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    means = np.stack([spectra[index == place].mean(axis=0) for place in range(len(names))])
    within = ledoit_wolf(spectra - means[index], assume_centered=True)[0] * len(spectra) / (len(spectra) - len(names))
    values, vectors = np.linalg.eigh(within)
    floor = max(float(values[-1]) * 1e-9, np.finfo(float).tiny)  # spectra that are equal within all classes
    whiten = vectors / np.sqrt(np.maximum(values, floor))
    shares = counts / len(spectra)
    between = np.sqrt(shares)[:, None] * ((means - shares @ means) @ whiten)
    directions = np.linalg.svd(between, full_matrices=False)[2][: len(names) - 1]
    axes = whiten @ directions.T
    return _Discriminants(names, axes, means @ axes, np.log(shares))


def _left_out_accuracy(spectra: NDArray[np.float64], labels: Sequence[str], subjects: Sequence[str]) -> float | None:
    """Each subject judged by a model of the others; None where that is not possible."""
    names, owners = np.asarray(labels), np.asarray(subjects)
    right: dict[str, list[bool]] = {}
    for subject in np.unique(owners):
        inside = owners == subject
        known = names[~inside]
        if len(set(known)) < 2 or len(known) <= len(set(known)):
            return None
        found = _fitted(spectra[~inside], known).predict(spectra[inside])
        for name, guess in zip(names[inside], found, strict=True):
            if name in known:
                right.setdefault(str(name), []).append(bool(name == guess))
    return float(np.mean([np.mean(hits) for hits in right.values()])) if right else None


def _upright(points: NDArray[Any]) -> NDArray[np.float64]:
    """The sign of a direction is arbitrary: the largest coordinate is made positive."""
    points = np.asarray(points, np.float64)
    largest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
    return points * np.where(largest < 0, -1.0, 1.0)


def _points(labels: Sequence[str], subjects: Sequence[str], points: NDArray[np.float64]) -> pl.DataFrame:
    return pl.DataFrame({"label": labels, "subject_id": subjects, "x": points[:, 0], "y": points[:, 1]})


def view_figure(view: View | None, labels: LabelMapping) -> Figure | None:
    """Draw a view: one mark per class and subject.

    Args:
        view: Of `principal_components` or `discriminants`; None gives None.
        labels: The classes, which give order and colours.
    """
    if view is None:
        return None
    names = [name for name in labels.names if name in set(view.points["label"])]
    text = f"{view.x_title} and {view.y_title} of {count(view.points.height, 'spectrum', 'spectra')}"
    return Figure(_interactive(view, names, labels), _static(view, names, labels), view.points, text, 1.35, 520)


def _interactive(view: View, names: Sequence[str], labels: LabelMapping) -> Any:
    figure = plotly_figure(
        xaxis={"title": {"text": view.x_title}, "automargin": True},
        yaxis={"title": {"text": view.y_title, "standoff": 12}, "automargin": True}, hovermode="closest",
    )  # fmt: skip
    for place, name in enumerate(names):
        rows = view.points.filter(pl.col("label") == name)
        figure.add_scatter(
            x=rows["x"].to_numpy(), y=rows["y"].to_numpy(), mode="markers", name=plotly_text(name),
            marker={"color": labels.colour(name), "size": 9, "symbol": _SYMBOLS[place % len(_SYMBOLS)][0],
                    "line": {"color": "#ffffff", "width": 0.8}},
            text=[plotly_text(subject) for subject in rows["subject_id"]],
            hovertemplate=f"<b>{plotly_text(name)}</b><br>subject %{{text}}<extra></extra>",
        )  # fmt: skip
    return figure


def _static(view: View, names: Sequence[str], labels: LabelMapping) -> Canvas:
    with static_style():
        canvas = Canvas(figsize=(WIDTH_IN * 0.8, 3.9), layout="constrained")
        axes = canvas.subplots()
        for place, name in enumerate(names):
            rows = view.points.filter(pl.col("label") == name)
            axes.scatter(
                rows["x"], rows["y"], s=22, color=labels.colour(name), marker=_SYMBOLS[place % len(_SYMBOLS)][1],
                edgecolors="white", linewidths=0.4, label=name, zorder=3,
            )  # fmt: skip
        axes.set_xlabel(view.x_title)
        axes.set_ylabel(view.y_title)
        axes.grid(color=GRID)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return canvas
