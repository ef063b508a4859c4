"""`stroma predict`: apply a run, or any published or imported weights, to images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import Field

from stroma.core.clock import StageClock, stage
from stroma.core.device import resolve_device
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import UsageError
from stroma.core.extras import require
from stroma.core.files import atomic_path, id_to_name, read_json, write_json
from stroma.core.items import Done, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import write_table
from stroma.core.verbs import Device, Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.images.image import Image
from stroma.images.open import open_image
from stroma.inference.schema import CLASSES_FORMAT, PREDICTIONS_FORMAT, PREDICTIONS_SCHEMA, classes_schema
from stroma.inference.source import ModelSource, OpenModel, forget_models
from stroma.prepare.inputs import find_inputs
from stroma.runs.card import ModelCard
from stroma.runs.run import Run
from stroma.sampling.source import open_input
from stroma.study.labels import LabelMapping
from stroma.study.selection import Where

PREDICTION_FORMAT = "prediction/1"
MODEL_CARD = "model.json"
_WARNINGS_SHOWN = 5


class PredictOptions(VerbOptions):
    """Options of `stroma predict`."""

    model: Annotated[str, Flag(argument=True, setting=False)] = Field(
        description="A run folder, a published name, a weight file, an archive or a folder of weights"
    )
    inputs: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        (), description="Images, folders or quoted patterns (default: a set of the run's study)"
    )
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Folder for the predictions (default: predictions/<set> of the run)"
    )
    images: Annotated[str, Flag(setting=False)] = Field(
        "test",
        description="Which set of the run's study: test, validation (each by its own fold), or another by name",
    )
    fold: Annotated[tuple[str, ...], Flag(setting=False)] = Field(
        (), description="Folds to average (default: all; repeatable)"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32", description="auto takes bfloat16 on processors that compute in it"
    )
    architecture: str | None = Field(None, description="As in 'stroma models import', for files that do not tell")
    class_names: tuple[str, ...] = Field(
        (), description="Names of the classes in the order of the outputs, for weights that do not tell (repeatable)"
    )
    prepare: str | None = Field(
        None, description="From stored values to the input, for weights that do not tell: '[l1]', '[divide]', '[]'"
    )
    nuclei: bool = Field(False, description="Also write the nuclei maps of DeepCMorph, one picture for each image")
    weights_dir: Annotated[Path | None, Flag(setting=False)] = Field(None, description="Folder of fetched weights")
    accept_licence: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Accept a licence that forbids commercial use"
    )
    batch_size: Annotated[int, Flag(setting=False)] = Field(8, ge=1, description="Samples per forward pass")
    where: Annotated[Where, Flag(setting=False)] = None
    device: Device = "auto"
    workers: Workers = 1

    @property
    def source(self) -> ModelSource:
        """The model, as its networks are found by."""
        return ModelSource(
            self.model,
            fold=self.fold,
            architecture=self.architecture,
            class_names=self.class_names,
            prepare=self.prepare,
            weights_dir=self.weights_dir,
            accept_licence=self.accept_licence,
        )


@dataclass(frozen=True)
class _Item:
    """An image to predict, by which folds."""

    image_id: str
    subject_id: str
    path: Path
    folds: tuple[str, ...]
    in_study: bool
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.image_id


def predict(options: PredictOptions) -> VerbResult:
    """Apply a model to images: a map of class indices (PNG) for each, or a table with a row for each.

    MODEL is anything that `stroma models` and `stroma train` know: a run folder, a published name
    (`image@2022-…`, `deepcmorph/tcga`), a weight file or archive. Models that classify whole images (DeepCMorph)
    write `predictions.parquet` with the class and its probability; all others one PNG per image. The model's card
    is written beside the results.

    Without INPUTS a run predicts a set of its own study: `stroma predict RUN --images test`. Several folds are an
    ensemble: their class probabilities are averaged. Images that are complete are skipped.

    Args:
        options: What to predict, with what, and where to.
    """
    require("torch", extra="learn", feature="prediction")
    if not options.inputs and not _has_study(options.source.run):
        raise UsageError(
            "is no run with a study of its own, so there is nothing to predict",
            where=options.model,
            next_step="Give images: stroma predict MODEL IMAGE… -o OUT",
        )
    if options.inputs and options.output is None:
        raise UsageError("predicting other images needs a folder for the results", next_step="Add --output FOLDER")
    forget_models()
    _predictor.cache_clear()
    found = options.source.open()
    if options.nuclei and found.card.model.name != "deepcmorph":
        raise UsageError(f"--nuclei is for DeepCMorph; this is '{found.card.model.name}'", where=options.model)
    output = options.output or Path(options.model) / "predictions" / options.images
    items = _foreign_items(options, found) if options.inputs else _study_items(options, found)
    if options.dry_run:
        lines = [f"would predict {item.image_id} with {'+'.join(item.folds)}" for item in items]
        return VerbResult(lines=lines, summary={"images": len(items)})
    found.card.written_labels.save(output / "labels.yaml")
    todo, skipped = _split_complete(items, options, found, output)
    clock, done, failed, warnings = StageClock(), list(skipped), [], list[str]()
    for outcome in track(map_items(_Worker(options, output), todo, workers=options.workers), "predicting", len(todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            done.append(outcome.item)
            warnings += [f"{outcome.item}: {warning}" for warning in outcome.result]
        else:
            failed.append(outcome)
    settings = _settings(options, found, found.folds)
    _write_table(output, sorted(done, key=lambda item: item.image_id), found.card, settings)
    found.card.save(output / MODEL_CARD)
    write_failures(output, failed, Provenance(PREDICTIONS_FORMAT, settings))
    return VerbResult(
        output=output,
        lines=_remarks(found.card, warnings),
        details={"warnings": warnings, "licence": found.card.licence},
        done=len(todo) - len(failed),
        skipped=len(skipped),
        failed=failed,
        next=() if options.inputs else (f"stroma evaluate {quote(options.model)} --images {options.images}",),
        clock=clock,
    )


def _has_study(run: Run | None) -> bool:
    """Whether a run was trained here, on a study of its own; imported runs name none."""
    return run is not None and (run.folder / "splits.parquet").is_file()


def _remarks(card: ModelCard, warnings: Sequence[str]) -> list[str]:
    """What a reader of the results has to know."""
    lines = [f"warning: {warning}" for warning in warnings[:_WARNINGS_SHOWN]]
    if len(warnings) > _WARNINGS_SHOWN:
        lines.append(f"and {len(warnings) - _WARNINGS_SHOWN} more warnings (--json lists all)")
    lines += [f"note: {note}" for note in card.notes]
    if card.licence:
        lines.append(f"non-commercial: these results may not be used commercially ({card.licence})")
    return lines


def _study_items(options: PredictOptions, found: OpenModel) -> list[_Item]:
    """Test images by all folds, validation images by the folds that did not train on them."""
    run = _run_of(found)
    study = run.study.filtered(options.where)
    subjects = dict(study.catalog.select("image_id", "subject_id").rows())
    by_image: dict[str, list[str]] = {}
    for fold in found.folds:
        for image_id in run.images_of(options.images, fold):
            if options.where is None or image_id in study:
                by_image.setdefault(image_id, []).append(fold)
    if not by_image:
        raise UsageError(
            f"has no {options.images} images" + (f" that fulfil {options.where}" if options.where else ""),
            where=run.folder / "splits.parquet",
            next_step="Use --images validation, or give images to predict",
        )
    return [
        _Item(image_id, subjects[image_id], study.image_path(image_id), tuple(by_image[image_id]), True)
        for image_id in sorted(by_image)
    ]


def _run_of(found: OpenModel) -> Run:
    if found.run is None:
        raise UsageError("these weights belong to no run", next_step="Give images to predict")
    return found.run


def _foreign_items(options: PredictOptions, found: OpenModel) -> list[_Item]:
    cubes = found.card.wavelengths_nm is not None
    sources = find_inputs(options.inputs, output=options.output, cubes=cubes, where=options.where).sources
    return [
        _Item(s.image_id, s.subject_id, s.path, found.folds, False, tuple(sorted(s.options.items()))) for s in sources
    ]


def _settings(options: PredictOptions, found: OpenModel, folds: Sequence[str]) -> dict[str, Any]:
    """What results depend on, and the licence they inherit."""
    from stroma.models.precision import inference_precision

    precision = inference_precision(options.precision, resolve_device(options.device))
    weights = {fold: found.weights[fold] for fold in folds}
    licence = {"non_commercial": found.card.licence} if found.card.licence else {}
    return {**options.settings(), "precision": precision, "weights": weights, **licence}


def _item_provenance(item: _Item, options: PredictOptions, found: OpenModel) -> Provenance:
    settings = _settings(options, found, item.folds)
    return Provenance(PREDICTION_FORMAT, settings, (InputRecord.of(item.image_id, item.path),))


def _split_complete(
    items: Sequence[_Item], options: PredictOptions, found: OpenModel, output: Path
) -> tuple[list[_Item], list[_Item]]:
    todo, complete = [], []
    for item in items:
        record = done_path(output, item.image_id)
        if options.overwrite or not item.path.exists():
            todo.append(item)
        elif is_complete(record, _item_provenance(item, options, found), verify=options.verify):
            complete.append(item)
        else:
            todo.append(item)
    return todo, complete


@dataclass(frozen=True)
class _Worker:
    """Predicts one item; loads the networks once per process."""

    options: PredictOptions
    output: Path

    def __call__(self, item: _Item) -> tuple[str, ...]:
        found = self.options.source.open()
        predictor = _predictor(self.options, item.folds)
        record = done_path(self.output, item.image_id)
        provenance = _item_provenance(item, self.options, found)
        with _opened(item, found) as image:
            warnings: tuple[str, ...] = predictor.warnings(image)
            if found.card.dense:
                labels = predictor.predict_labels(image, item.image_id)
            else:
                probabilities = predictor.predict_classes(image)
            nuclei = predictor.predict_nuclei(image) if self.options.nuclei else None
        with stage("write"):
            record.unlink(missing_ok=True)
            name = id_to_name(item.image_id)
            if found.card.dense:
                path = write_labels(self.output / f"{name}.png", labels, found.card.written_labels)
            else:
                values = dict(zip(found.card.labels.names, map(float, probabilities), strict=True))
                path = write_json(self.output / f"{name}.json", {"probabilities": values})
            more = [] if nuclei is None else write_nuclei(self.output / "nuclei", name, nuclei)
            write_done(record, provenance, [path, *more])
        return warnings


def _opened(item: _Item, found: OpenModel) -> Image:
    if not item.in_study:
        return open_image(item.path, **dict(item.options))
    run = _run_of(found)
    return open_input(run.study, item.image_id, run.config.input.modality, run.stores)


@lru_cache(maxsize=4)
def _predictor(options: PredictOptions, folds: tuple[str, ...]) -> Any:
    return options.source.open().predictor(
        folds, device=options.device, precision=options.precision, batch_size=options.batch_size
    )


def _write_table(output: Path, done: Sequence[_Item], card: ModelCard, settings: dict[str, Any]) -> None:
    """`predictions.parquet`: where each map lies, or each image's class with the probabilities of all."""
    start = [(item.image_id, item.subject_id, "+".join(item.folds)) for item in done]
    names = [id_to_name(item.image_id) for item in done]
    if card.dense:
        rows: list[Any] = [(*row, f"{name}.png") for row, name in zip(start, names, strict=True)]
        table = pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row")
        write_table(table, output / "predictions.parquet", Provenance(PREDICTIONS_FORMAT, settings))
        return
    rows = []
    for row, name in zip(start, names, strict=True):
        values = read_json(output / f"{name}.json")["probabilities"]
        probabilities = [float(values[label]) for label in card.labels.names]
        best = int(np.argmax(probabilities))
        rows.append((*row, card.labels.names[best], probabilities[best], probabilities))
    table = pl.DataFrame(rows, schema=classes_schema(len(card.labels)), orient="row")
    write_table(table, output / "predictions.parquet", Provenance(CLASSES_FORMAT, settings))


def write_labels(path: Path, labels: NDArray[np.uint8], mapping: LabelMapping) -> Path:
    """Write class indices as a palette PNG: the values are the indices, viewers show the mapping's colours."""
    picture = PillowImage.fromarray(labels, mode="P")
    picture.putpalette(mapping.palette.tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=False)
    return path


def write_nuclei(folder: Path, name: str, maps: NDArray[np.float32]) -> list[Path]:
    """Write the nuclei maps of one image as two PNGs and return their paths.

    Args:
        folder: Where to.
        name: Of the image, for file names.
        maps: (H, W, 8) probabilities: nuclei, then the seven kinds.

    Returns:
        `<name>.png`, grey, the probability of a nucleus from 0 to 255; `<name>.kind.png`, the most probable kind of
        each pixel, 0 to 6 (which kinds they are is not published).
    """
    nuclei = PillowImage.fromarray(np.rint(255 * maps[:, :, 0]).astype(np.uint8))
    with atomic_path(folder / f"{name}.png") as temporary:
        nuclei.save(temporary, format="PNG", optimize=False)
    kinds = LabelMapping.of(f"kind_{index}" for index in range(maps.shape[2] - 1))
    kind = write_labels(folder / f"{name}.kind.png", maps[:, :, 1:].argmax(axis=2).astype(np.uint8), kinds)
    return [folder / f"{name}.png", kind]


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read the class indices that `write_labels` wrote, (H, W) uint8."""
    with PillowImage.open(path) as picture:
        return np.asarray(picture, dtype=np.uint8)
