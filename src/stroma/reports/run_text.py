"""The sentences of a run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from stroma.reports.figure import count
from stroma.reports.learning import best_epochs
from stroma.reports.scores import metric_title
from stroma.runs.run import Run

if TYPE_CHECKING:
    from stroma.reports.page import Report
    from stroma.reports.run_report import EvaluatedSet

SCORES_READING = (
    "A dot is one image, a diamond one subject (the mean of its images); dots and diamonds of one subject lie on one "
    "line, and subjects keep their order in all classes. The upright bar is the mean over subjects, the line through "
    "it its 95 % interval. Colours are the classes', the same in all figures."
)
CONFUSION_READING = (
    "A row is a class of the reference, a column what the network answered; a row sums to 1 and its diagonal entry "
    "is the sensitivity. Fractions are taken subject by subject and then averaged, so every subject weighs the same; "
    "entries below 0.005 are left blank. Hover for pixel counts and the spread over subjects."
)
OVERLAY_READING = (
    "Colours are the classes; outlines leave out regions under 16 shown pixels, fillings do not. Grey with stripes "
    "is not annotated and not scored. The images are chosen by rank: the worst, the best, and evenly between them. "
    "Zooming moves all pictures of an image together; a click in the legend hides the outlines of a class."
)
SPECTRA_READING = (
    "Thick: the mean over subjects of the median spectra of their images. Band: plus and minus one standard "
    "deviation over subjects. Thin: single subjects. Grey: the means of the other classes. With one subject "
    "there is no band."
)


def set_noun(name: str) -> str:
    """`test images`."""
    return f"{name} images"


def _overall(scores: pl.DataFrame, metric: str) -> dict[str, Any] | None:
    rows = scores.filter((pl.col("scope") == "set") & pl.col("label").is_null() & (pl.col("metric") == metric))
    rows = rows.filter(pl.col("value").is_not_null())
    return rows.to_dicts()[0] if len(rows) else None


def headline_card(report: Report, run: Run, entry: EvaluatedSet | None, group: str) -> None:
    """Add the summary cards: the headline score with its interval, subjects, images, classes, folds."""
    prefix = f"{group}: " if group else ""
    if entry is None:
        report.card(f"{prefix}score", "none yet", "nothing has been evaluated")
    else:
        metric = "dice" if "dice" in entry.scores["metric"] else str(entry.scores["metric"][0])
        overall = _overall(entry.scores, metric)
        images = entry.scores.filter(pl.col("scope") == "image")
        title = f"{prefix}{metric_title(metric)}, {set_noun(entry.name)}"
        if overall is None:
            report.card(title, "none", "no class could be scored")
        else:
            report.card(title, f"{overall['value']:.3f}", f"mean over classes, {interval_text(overall)}")
        where = f"in the {set_noun(entry.name)}"
        own = images.filter(pl.col("subject_id") != pl.col("image_id")).is_empty()
        n_subjects = f"{images['subject_id'].n_unique():,}"
        report.card(
            f"{prefix}subjects", "unknown" if own else n_subjects, "each image counts as one" if own else where
        )
        report.card(f"{prefix}images", f"{images['image_id'].n_unique():,}", f"scored {where}")
        scored = images["label"].drop_nulls().n_unique()
        report.card(f"{prefix}classes", f"{scored} of {len(run.labels)}", f"{where}' references")
    report.card(f"{prefix}folds", f"{len(run.folds):,}", "trained completely")


def interval_text(row: dict[str, Any]) -> str:
    """`95 % interval 0.712 to 0.803`, or why there is none."""
    if row["low"] is None or row["high"] is None:
        return "no interval: one subject"
    return f"95 % interval {row['low']:.3f} to {row['high']:.3f}"


def scores_text(metric: str, scores: pl.DataFrame, *, explain: bool) -> list[str]:
    """What the scores say and, where they have to be explained, how they were computed."""
    title, overall = metric_title(metric), _overall(scores, metric)
    if overall is None:
        return []
    n_subjects, n_images = int(overall["n_subjects"]), int(overall["n_images"])
    counts = f"{count(n_subjects, 'subject')}, {count(n_images, 'image')}"
    first = f"The mean {title} over classes is {overall['value']:.3f} ({interval_text(overall)}; {counts})."
    rows = scores.filter(
        (pl.col("scope") == "set") & pl.col("label").is_not_null() & pl.col("value").is_not_null()
    ).sort("value", "label")
    if len(rows) > 1:
        low, high = rows.row(0, named=True), rows.row(-1, named=True)
        first += (
            f" The lowest class is {low['label']} with {low['value']:.3f}, "
            f"the highest {high['label']} with {high['value']:.3f}."
        )
    if not explain:
        return [first]
    how = (
        f"{title} is computed image by image on annotated pixels, for the classes that the image's reference holds; "
        "a class of the reference that is nowhere predicted scores 0. A subject's value is the mean over its images, "
        "and the value shown the mean over subjects, so that subjects with many images weigh no more than others."
    )
    interval = (
        "The 95 % interval is Student's t over the values of subjects, cut to 0 and 1: it says how far the mean "
        "would move with other subjects of the same kind, not with another training of the network."
        if overall["low"] is not None
        else "There is one subject, so there is no interval: nothing is known about the spread between subjects."
    )
    return [first, f"{how} {interval}"]


def scores_caption(set_name: str, metric: str, annotator: str | None, scores: pl.DataFrame) -> str:
    """What the figure of scores shows, with its numbers."""
    images = scores.filter(pl.col("scope") == "image")
    by = f", annotated by {annotator}" if annotator else ""
    return (
        f"{metric_title(metric)} per class on the {set_noun(set_name)} "
        f"({count(images['subject_id'].n_unique(), 'subject')}, {count(images['image_id'].n_unique(), 'image')}{by})."
    )


def learning_caption(run: Run, metrics: pl.DataFrame) -> str:
    """What the learning curves show, and which weights were kept."""
    kept = "of the best validation epoch" if run.config.train.keep == "best" else "of the last epoch"
    text = f"Learning curves of {count(metrics['fold'].n_unique(), 'fold')}. The weights {kept} were kept"
    best = best_epochs(metrics, "validation_dice")
    if best.is_empty():
        return f"{text}; there was no validation."
    shown = ", ".join(f"{fold}: {value:.3f} in epoch {epoch + 1}" for fold, epoch, value in best.iter_rows())
    return f"{text}. Highest validation Dice: {shown}."
