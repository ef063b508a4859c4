"""Training of one fold: from its images to weights and their card."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from stroma.augment import registry as augmentations
from stroma.core.clock import stage
from stroma.core.device import enough_memory, full_float32, resolve_device, training_precision
from stroma.core.errors import InvalidData
from stroma.core.files import sha256
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.evaluation.dice import aggregate, confusion_matrix, dice_of, score_rows
from stroma.inference.predictor import Member, Predictor
from stroma.losses import registry as losses
from stroma.models.start import start_network
from stroma.runs.card import ModelCard
from stroma.runs.config import RunConfig
from stroma.runs.run import Run
from stroma.runs.weights import CARD_NAME, WEIGHTS_NAME
from stroma.sampling import registry as granularities
from stroma.sampling.granularity import Patch
from stroma.sampling.patches import TrainingPatches
from stroma.sampling.preparation import Preparation
from stroma.sampling.shared_loader import training_loader
from stroma.sampling.source import open_input
from stroma.sampling.stores import Stores
from stroma.study.labels import IGNORE
from stroma.study.study import Study
from stroma.training.module import RESUME_NAME, EpochEnd, SegmentationModule
from stroma.training.progress import EpochBar

_LESS_MEMORY = "Use a smaller sampling.batch_size, smaller patches or another encoder (--set sampling.batch_size=2)"


def train_fold(run: Run, fold: str, config: RunConfig) -> ModelCard:
    """Train one fold; continue where an interrupted training of it stopped.

    Args:
        run: The run; its splits are written.
        fold: Name of the fold.
        config: The run's configuration.

    Returns:
        The card of the trained network, which is written last and says that the fold is complete.
    """
    study, folder = run.study, run.fold_folder(fold)
    folder.mkdir(parents=True, exist_ok=True)
    _quiet_lightning()
    train_ids, validation_ids = run.images_of("train", fold), run.images_of("validation", fold)
    for name, image_ids in (("training", train_ids), ("validation", validation_ids)):
        check_masks(study, image_ids, config, run.stores, f"{name} images of {fold}")
    card = _card(study, train_ids, config, run.stores)
    lightning.seed_everything(config.seed, verbose=False)
    start = start_network(
        card.model,
        channels=card.prepare.channels(card.channels),
        classes=len(card.labels),
        wavelengths_nm=card.prepare.wavelengths(card.wavelengths_nm),
    )
    card = card.model_copy(update={"model": start.model, "origin": start.origin, "licence": start.licence})
    network = start.network.to(memory_format=torch.channels_last)
    loader = _loader(study, train_ids, config, card, run.stores)
    augment = nn.Sequential(*(component.make(augmentations) for component in config.augment))
    module = SegmentationModule(network, config, config.loss.make(losses), augment, len(loader))
    validate = _Validation(study, validation_ids, card, config, run.stores) if validation_ids else None
    end = EpochEnd(folder, fold, validate, config, Provenance("metrics/1", config.settings()))
    resume = folder / RESUME_NAME
    trainer = _trainer(config, end, folder)
    device = resolve_device(config.execution.device)
    count = config.sampling.batch_size
    try:
        with enough_memory(device, f"{count} samples at once", next_step=_LESS_MEMORY), full_float32(device):
            trainer.fit(module, loader, ckpt_path=resume if resume.is_file() else None, weights_only=True)
    except SystemExit as stop:  # what Lightning turns Ctrl-C into
        raise KeyboardInterrupt from stop
    complete = card.model_copy(update={"weights_sha256": sha256(folder / WEIGHTS_NAME)})
    complete.save(folder / CARD_NAME)
    resume.unlink(missing_ok=True)
    return complete


def check_masks(study: Study, image_ids: Sequence[str], config: RunConfig, stores: Stores | None, what: str) -> None:
    """Open every image's (or store's) header and mask before the first step.

    Args:
        study: The study.
        image_ids: Images of one side of a fold; none are fine.
        config: The run's configuration.
        stores: Prepared stores to read from instead of the images.
        what: What the images are, for the message: "validation images of fold_0".

    Raises:
        InvalidData: a mask of another size than its image, or no annotated pixel in any image; a mask with an
            unknown label raises what the label mapping raises.
    """
    annotated = 0
    for image_id in track(image_ids, f"looking at the {what}"):
        with stage("read"), open_input(study, image_id, config.input.modality, stores) as image:
            mask = study.mask(image_id, annotator=config.data.annotator)
            if mask.shape != image.shape[:2]:
                raise InvalidData(
                    f"the mask of '{image_id}' is {mask.shape[0]} × {mask.shape[1]} pixels, "
                    f"the image {image.shape[0]} × {image.shape[1]}",
                    where=image.path,
                    next_step="Repair the mask, or leave the image out of the splits",
                )
        annotated += int((mask != IGNORE).sum())
    if image_ids and annotated == 0:
        raise InvalidData(
            f"no pixel of the {len(image_ids)} {what} is annotated",
            where=study.path,
            next_step="Annotate some, or divide the study in another way",
        )


def _card(study: Study, train_ids: Sequence[str], config: RunConfig, stores: Stores | None) -> ModelCard:
    if not train_ids:
        raise InvalidData("a fold has no training image", where=study.path, next_step="Check its splits")
    with open_input(study, train_ids[0], config.input.modality, stores) as image:
        wavelengths = None if image.wavelengths_nm is None else tuple(float(w) for w in image.wavelengths_nm)
        channels, mpp = len(image.channels), image.mpp
    prepare = config.input.prepare.for_wavelengths(wavelengths)
    return ModelCard(
        model=config.model,
        channels=channels,
        wavelengths_nm=wavelengths,
        modality=config.input.modality,
        mpp=mpp,
        prepare=prepare.fit(_stored_pixels(study, train_ids, config.input.modality, stores)),
        granularity=config.input.granularity,
        labels=study.labels,
        precision=training_precision(config.train.precision, resolve_device(config.execution.device)),
    )


def _stored_pixels(
    study: Study, image_ids: Sequence[str], modality: str, stores: Stores | None
) -> Iterator[NDArray[Any]]:
    """Pixels to fit on; those of L1 stores are normalised again, which changes nothing beyond their rounding."""
    for image_id in track(image_ids, "fitting the preparation"):
        with open_input(study, image_id, modality, stores) as image:
            yield image.read()


def _loader(
    study: Study, image_ids: Sequence[str], config: RunConfig, card: ModelCard, stores: Stores | None
) -> DataLoader[Any]:
    granularity = config.input.granularity.make(granularities)
    dataset = TrainingPatches(
        study,
        image_ids,
        annotator=config.data.annotator,
        modality=config.input.modality,
        preparation=card.prepare,
        size_px=granularity.size_px if isinstance(granularity, Patch) else None,
        samples=config.sampling.samples_per_epoch,
        balance=config.sampling.balance,
        seed=config.seed,
        stores=stores,
    )
    return training_loader(
        dataset,
        batch_size=config.sampling.batch_size,
        workers=config.execution.workers,
        pin_memory=resolve_device(config.execution.device).startswith("cuda"),
    )


class _Validation:
    """Mean Dice over classes (image → subject → class) of a network on the validation images."""

    def __init__(
        self, study: Study, image_ids: Sequence[str], card: ModelCard, config: RunConfig, stores: Stores | None
    ) -> None:
        self.study, self.card, self.config, self.stores = study, card, config, stores
        subjects = dict(study.catalog.select("image_id", "subject_id").rows())
        self.images = [(image_id, str(subjects[image_id])) for image_id in image_ids]

    def __call__(self, network: nn.Module) -> float:
        member = Member(network, Preparation(steps=self.card.prepare.steps))
        predictor = Predictor([member], self.card, device=str(next(network.parameters()).device))
        names, tables = self.card.labels.names, []
        for image_id, subject_id in track(self.images, "validating"):
            with open_input(self.study, image_id, self.config.input.modality, self.stores) as image:
                predicted = predictor.predict_labels(image, image_id)
            reference = self.study.mask(image_id, annotator=self.config.data.annotator)
            values = dice_of(confusion_matrix(reference, predicted, len(names)))
            tables.append(score_rows(image_id, subject_id, "", names, values))
        scores = aggregate(pl.concat(tables)).filter((pl.col("scope") == "set") & pl.col("label").is_null())
        return float(scores["value"][0]) if len(scores) else float(np.nan)


def _trainer(config: RunConfig, end: EpochEnd, folder: Path) -> lightning.Trainer:
    device = resolve_device(config.execution.device)
    kind, _, index = device.partition(":")
    precision = training_precision(config.train.precision, device)
    return lightning.Trainer(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        max_epochs=config.train.epochs,
        callbacks=[EpochBar(end.fold), end],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        default_root_dir=folder,
        deterministic="warn" if kind == "cuda" else True,
    )


def _quiet_lightning() -> None:
    """Silence Lightning's advertising and the hints that do not apply here."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
