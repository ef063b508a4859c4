"""`stroma predict`: apply a run to the images of one of its sets, or to any images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.config import dump_yaml, to_plain
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import UsageError
from stroma.core.extras import require
from stroma.core.files import atomic_path, id_to_name, write_text
from stroma.core.items import Done, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import write_table
from stroma.core.verbs import Device, Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.open import open_image
from stroma.inference.schema import PREDICTIONS_FORMAT, PREDICTIONS_SCHEMA
from stroma.prepare.inputs import find_inputs
from stroma.runs.run import Run
from stroma.sampling.source import open_input
from stroma.study.labels import LabelMapping

PREDICTION_FORMAT = "prediction/1"


class PredictOptions(VerbOptions):
    """Options of `stroma predict`."""

    run: Annotated[Path, Flag(argument=True, setting=False)] = Field(description="A run folder")
    inputs: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        (), description="Images, folders or quoted patterns (default: a set of the run's study)"
    )
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Folder for the predictions (default: predictions/<set> of the run)"
    )
    images: Annotated[Literal["test", "validation"], Flag(setting=False)] = Field(
        "test", description="Which set of the run's study; validation images are predicted by their own fold"
    )
    fold: Annotated[tuple[str, ...], Flag(setting=False)] = Field(
        (), description="Folds to average (default: all; repeatable)"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto is float32")
    batch_size: Annotated[int, Flag(setting=False)] = Field(8, ge=1, description="Samples per forward pass")
    device: Device = "auto"
    workers: Workers = 1


@dataclass(frozen=True)
class _Item:
    """An image to predict, by which folds."""

    image_id: str
    subject_id: str
    path: Path
    folds: tuple[str, ...]
    in_study: bool

    def __str__(self) -> str:
        return self.image_id


def predict(options: PredictOptions) -> VerbResult:
    """Apply a trained run to images and write one PNG of class indices per image.

    Without INPUTS it predicts a set of the run's own study: `stroma predict RUN --images test`. Several folds are
    an ensemble: their class probabilities are averaged. Images that are complete are skipped.

    Args:
        options: What to predict, with what, and where to.
    """
    require("torch", extra="learn", feature="prediction")
    run = Run.open(options.run)
    if options.inputs and options.output is None:
        raise UsageError("predicting other images needs a folder for the results", next_step="Add --output FOLDER")
    output = options.output or run.folder / "predictions" / options.images
    items = _foreign_items(options, run) if options.inputs else _study_items(options, run)
    if options.dry_run:
        lines = [f"would predict {item.image_id} with {'+'.join(item.folds)}" for item in items]
        return VerbResult(lines=lines, summary={"images": len(items)})
    write_text(output / "labels.yaml", dump_yaml(to_plain(run.labels)))
    todo, skipped = _split_complete(items, options, run, output)
    worker = _Worker(options, output)
    clock, done, failed = StageClock(), list(skipped), []
    for outcome in track(map_items(worker, todo, workers=options.workers), "predicting", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            done.append(outcome.item)
        else:
            failed.append(outcome)
    provenance = Provenance(PREDICTIONS_FORMAT, _settings(options, run, tuple(run.folds)))
    rows = [
        (item.image_id, item.subject_id, "+".join(item.folds), f"{id_to_name(item.image_id)}.png")
        for item in sorted(done, key=lambda item: item.image_id)
    ]
    table = pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row")
    write_table(table, output / "predictions.parquet", provenance)
    write_failures(output, failed, provenance)
    next_verb = () if options.inputs else (f"stroma evaluate {run.folder} --images {options.images}",)
    return VerbResult(
        output=output,
        done=len(todo) - len(failed),
        skipped=len(skipped),
        failed=failed,
        next=next_verb,
        clock=clock,
    )


def _study_items(options: PredictOptions, run: Run) -> list[_Item]:
    """Test images by all folds, validation images by the folds that did not train on them."""
    study = run.study
    subjects = dict(study.catalog.select("image_id", "subject_id").rows())
    folds = tuple(options.fold) or tuple(run.folds)
    by_image: dict[str, list[str]] = {}
    for fold in folds:
        run.card(fold)
        for image_id in run.images_of(options.images, fold):
            by_image.setdefault(image_id, []).append(fold)
    if not by_image:
        raise UsageError(
            f"has no {options.images} images",
            where=run.folder / "splits.parquet",
            next_step="Use --images validation, or give images to predict",
        )
    return [
        _Item(image_id, subjects[image_id], study.image_path(image_id), tuple(by_image[image_id]), True)
        for image_id in sorted(by_image)
    ]


def _foreign_items(options: PredictOptions, run: Run) -> list[_Item]:
    folds = tuple(options.fold) or tuple(run.folds)
    cubes = run.card(folds[0]).wavelengths_nm is not None if folds else False
    found = find_inputs(options.inputs, output=options.output, cubes=cubes)
    return [_Item(source.image_id, source.subject_id, source.path, folds, False) for source in found.sources]


def _settings(options: PredictOptions, run: Run, folds: Sequence[str]) -> dict[str, Any]:
    weights = {fold: run.card(fold).weights_sha256 for fold in folds}
    return {**options.settings(), "weights": weights}


def _item_provenance(item: _Item, options: PredictOptions, run: Run) -> Provenance:
    settings = _settings(options, run, item.folds)
    return Provenance(PREDICTION_FORMAT, settings, (InputRecord.of(item.image_id, item.path),))


def _split_complete(
    items: Sequence[_Item], options: PredictOptions, run: Run, output: Path
) -> tuple[list[_Item], list[_Item]]:
    todo, complete = [], []
    for item in items:
        record = done_path(output, item.image_id)
        if options.overwrite or not item.path.exists():
            todo.append(item)
        elif is_complete(record, _item_provenance(item, options, run), verify=options.verify):
            complete.append(item)
        else:
            todo.append(item)
    return todo, complete


@dataclass(frozen=True)
class _Worker:
    """Predicts one item; loads the run's networks once per process."""

    options: PredictOptions
    output: Path

    def __call__(self, item: _Item) -> None:
        predictor, run = _load(self.options, item.folds)
        record = done_path(self.output, item.image_id)
        provenance = _item_provenance(item, self.options, run)
        modality = run.config.input.modality
        image = open_input(run.study, item.image_id, modality, run.stores) if item.in_study else open_image(item.path)
        with image:
            labels = predictor.predict_labels(image, item.image_id)
        with stage("write"):
            record.unlink(missing_ok=True)
            path = write_labels(self.output / f"{id_to_name(item.image_id)}.png", labels, run.labels)
            write_done(record, provenance, [path])


@lru_cache(maxsize=4)
def _load(options: PredictOptions, folds: tuple[str, ...]) -> tuple[Any, Run]:
    from stroma.inference.predictor import Predictor

    run = Run.open(options.run)
    predictor = Predictor.from_run(
        run, folds, device=options.device, precision=options.precision, batch_size=options.batch_size
    )
    return predictor, run


def write_labels(path: Path, labels: NDArray[np.uint8], mapping: LabelMapping) -> Path:
    """Write class indices as a palette PNG: the values are the indices, viewers show the mapping's colours."""
    picture = PillowImage.fromarray(labels, mode="P")
    picture.putpalette(mapping.palette.tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=False)
    return path


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read the class indices that `write_labels` wrote, (H, W) uint8."""
    with PillowImage.open(path) as picture:
        return np.asarray(picture, dtype=np.uint8)
