"""What the results of a run do not show, found in its own tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from stroma.core.tables import read_table
from stroma.reports.figure import count
from stroma.runs.run import Run

if TYPE_CHECKING:
    from stroma.reports.run_report import EvaluatedSet

_FEW_SUBJECTS = 10


def run_limits(run: Run, sets: Sequence[EvaluatedSet]) -> list[str]:
    """Sentences on what the reader must not conclude.

    Args:
        run: The run.
        sets: Its evaluated sets, the headline first.
    """
    sentences = []
    for entry in sets:
        sentences += _of_set(run, entry)
    if sets and sets[0].name == "validation":
        sentences.append("No test images were evaluated, so there is no score on subjects that no decision has seen.")
    sentences.append(
        "The scores hold for images like these: the same devices, the same sites, the same rules of annotation. They "
        "say nothing about others, and a training with another seed would differ by an amount that is not shown here."
    )
    sentences.append(
        "Dice counts pixels. It is lower for small structures at the same error in position, and it does not say "
        "where an outline is off or by how far."
    )
    return sentences


def _of_set(run: Run, entry: EvaluatedSet) -> list[str]:
    images = entry.scores.filter(pl.col("scope") == "image")
    n_subjects, noun = images["subject_id"].n_unique(), f"{entry.name} images"
    sentences = []
    if n_subjects == 1:
        sentences.append(f"All {noun} come from one subject: there is no interval, and nothing about other subjects.")
    elif n_subjects < _FEW_SUBJECTS:
        sentences.append(
            f"The intervals on the {noun} rest on {count(n_subjects, 'subject')}, too few to check that subjects are "
            "spread as Student's t assumes."
        )
    if n_subjects > 1 and images.filter(pl.col("subject_id") != pl.col("image_id")).is_empty():
        sentences.append(
            f"Each of the {noun} counts as a subject of its own. If some come from one person or animal, the "
            "intervals are too narrow."
        )
    sentences += _of_classes(run, images, noun)
    if entry.name == "validation" and run.config.train.keep == "best":
        sentences.append(
            "The validation images chose the epoch whose weights were kept, so the scores on them are too good."
        )
    failures = entry.folder / "failures.parquet"
    if failures.is_file():
        failed = read_table(failures)["item"].n_unique()
        sentences.append(
            f"{count(failed, 'image')} of the {entry.name} set could not be scored and stand in no figure."
        )
    return sentences


def _of_classes(run: Run, images: pl.DataFrame, noun: str) -> list[str]:
    subjects = dict(
        images.filter(pl.col("label").is_not_null()).group_by("label").agg(pl.col("subject_id").n_unique()).rows()
    )
    absent = [name for name in run.labels.names if name not in subjects]
    single = [name for name in run.labels.names if subjects.get(name) == 1]
    sentences = []
    if absent:
        sentences.append(f"No reference of the {noun} holds {', '.join(absent)}: nothing is known about them.")
    if single and images["subject_id"].n_unique() > 1:
        sentences.append(
            f"One subject only has {', '.join(single)} among the {noun}: no interval, hardly any evidence."
        )
    return sentences
