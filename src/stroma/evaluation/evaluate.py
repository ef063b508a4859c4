"""`stroma evaluate`: score predictions against annotations, subject by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.errors import InvalidData, MissingFile
from stroma.core.items import Done, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_table, write_table
from stroma.core.text import plural
from stroma.core.verbs import Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.evaluation.dice import aggregate, confusion_matrix, dice_of, score_rows
from stroma.evaluation.schema import CONFUSION_FORMAT, CONFUSION_SCHEMA, SCORES_FORMAT
from stroma.inference.predict import read_labels
from stroma.inference.schema import PREDICTIONS_FORMAT
from stroma.runs.run import Run
from stroma.spectra.medians import MEDIANS_FORMAT, median_rows
from stroma.study.labels import IGNORE
from stroma.study.selection import Where
from stroma.study.study import Study, open_study
from stroma.study.taken import describe_taken

NOT_PREDICTED = "not predicted"


class EvaluateOptions(VerbOptions):
    """Options of `stroma evaluate`."""

    run: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="A run folder")
    images: str = Field("test", description="Which set of the run's study: test, validation, or another by name")
    annotator: str | None = Field(None, description="Whose annotation is the reference (default: the run's)")
    where: Where = None
    workers: Workers = 1


def evaluate(options: EvaluateOptions) -> VerbResult:
    """Score the predictions of a run: Dice per image and class, then subject by subject.

    Reads `predictions/<set>/` of the run and writes `tables/<set>/`: `scores`, `confusion`, for hyperspectral images
    also `medians` (median spectra of the reference), all as Parquet.

    Args:
        options: What to score.
    """
    run = Run.open(options.run)
    folder = run.folder / "predictions" / options.images
    if not (folder / "predictions.parquet").is_file():
        raise MissingFile(
            f"there are no predictions of the {options.images} images",
            where=folder,
            next_step=f"Make them: stroma predict {quote(str(run.folder))} --images {options.images}",
        )
    table = read_table(folder / "predictions.parquet", format=PREDICTIONS_FORMAT)
    annotator = options.annotator or run.config.data.annotator or ""
    chosen = run.study.filtered(options.where)
    rows = [row for row in table.to_dicts() if options.where is None or row["image_id"] in chosen]
    items = [_Item(row["image_id"], row["subject_id"], folder / row["path"]) for row in rows]
    output = run.folder / "tables" / options.images
    if options.dry_run:
        return VerbResult(summary={"images": len(items)}, lines=[f"would score {len(items)} images into {output}"])
    worker, clock = _Worker(run.study_path, chosen.where, annotator), StageClock()
    results, failed = [], []
    for outcome in track(map_items(worker, items, workers=options.workers), "scoring", len(items)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            results.append(outcome.result)
        else:
            failed.append(outcome)
    inputs = tuple(InputRecord.of(item.image_id, item.path) for item in items if item.path.exists())
    settings = {**options.settings(), "annotator": annotator}
    if options.where is None:
        settings.pop("where")
    write_failures(output, failed, Provenance("failures/1", settings))
    if not results:
        return VerbResult(output=output, failed=failed, clock=clock)
    scores = aggregate(pl.concat([result.scores for result in results]))
    confusion = pl.concat([result.confusion for result in results])
    write_table(scores, output / "scores.parquet", Provenance(SCORES_FORMAT, settings, inputs))
    write_table(confusion, output / "confusion.parquet", Provenance(CONFUSION_FORMAT, settings, inputs))
    medians = [result.medians for result in results if result.medians is not None]
    if medians:
        write_table(pl.concat(medians), output / "medians.parquet", Provenance(MEDIANS_FORMAT, settings))
    return VerbResult(
        output=output,
        lines=[*describe_taken(scores.filter(scope="image").unique("image_id")), *score_lines(scores)],
        done=len(results),
        failed=failed,
        next=(f"stroma report {quote(str(run.folder))}",),
        clock=clock,
    )


def score_lines(scores: pl.DataFrame) -> list[str]:
    """The scores of a set as lines of text: value, interval and what it was computed from."""
    rows = scores.filter(pl.col("scope") == "set").to_dicts()
    width = max(len(row["label"] or "mean over classes") for row in rows)
    lines = []
    for row in rows:
        name = row["label"] or "mean over classes"
        if row["low"] is None:
            interval = "no interval: one subject"
        else:
            interval = f"95 % interval {row['low']:.3f} to {row['high']:.3f}"
        counts = f"{plural(row['n_subjects'], 'subject')}, {plural(row['n_images'], 'image')}"
        lines.append(f"{row['metric']} {name:<{width}}  {row['value']:.3f}  ({interval}; {counts})")
    return lines


@dataclass(frozen=True)
class _Item:
    image_id: str
    subject_id: str
    path: Path

    def __str__(self) -> str:
        return self.image_id


@dataclass(frozen=True)
class _Scored:
    """The tables of one image."""

    scores: pl.DataFrame
    confusion: pl.DataFrame
    medians: pl.DataFrame | None


@lru_cache(maxsize=2)
def _open(path: Path, where: str | None) -> Study:
    return open_study(path, where)


@dataclass(frozen=True)
class _Worker:
    """Scores one image."""

    study: Path
    where: str | None
    annotator: str

    def __call__(self, item: _Item) -> _Scored:
        study = _open(self.study, self.where)
        with stage("read"):
            predicted = read_labels(item.path)
            annotated = study.annotated_mask(item.image_id, self.annotator or None)
        reference = annotated.labels
        if (reference == IGNORE).all():
            raise InvalidData(f"the image '{item.image_id}' has no annotated pixel to score", where=item.path)
        names = study.labels.names
        with stage("transform"):
            counts = confusion_matrix(reference, predicted, len(names))
        scores = score_rows(item.image_id, item.subject_id, annotated.annotator, names, dice_of(counts))
        medians = None
        with study.open(item.image_id) as image:
            if image.wavelengths_nm is not None:
                cube = image.read()
                medians = median_rows(
                    cube,
                    reference,
                    names,
                    image_id=item.image_id,
                    subject_id=item.subject_id,
                    annotator=annotated.annotator,
                )
        return _Scored(scores, _confusion_rows(item, names, counts), medians)


def _confusion_rows(item: _Item, names: Sequence[str], counts: NDArray[np.int64]) -> pl.DataFrame:
    columns = [*names, NOT_PREDICTED]
    rows = [
        ("pixel", item.image_id, item.subject_id, reference, predicted, int(counts[r, c]))
        for r, reference in enumerate(names)
        for c, predicted in enumerate(columns)
        if counts[r, c]
    ]
    return pl.DataFrame(rows, schema=CONFUSION_SCHEMA, orient="row")
