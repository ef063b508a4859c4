"""The Lightning module of dense tasks, and what happens at the end of each of its epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stroma.core.clock import stage
from stroma.core.device import full_float32
from stroma.core.errors import StromaError
from stroma.core.files import atomic_path
from stroma.core.progress import say
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.runs.config import OptimSection, RunConfig
from stroma.runs.weights import WEIGHTS_NAME

METRICS_SCHEMA: dict[str, pl.DataType] = {
    "fold": pl.String(),
    "epoch": pl.Int64(),
    "name": pl.String(),
    "value": pl.Float64(),
}
"""Learning curves: `train_loss` and `validation_dice` by fold and epoch (from 0)."""
RESUME_NAME = "resume.ckpt"


class SegmentationModule(lightning.LightningModule):
    """Trains a network on batches of `image`, `labels`, `valid`.

    Args:
        network: (B, C, H, W) → logits (B, K, H, W).
        config: The run's configuration.
        loss: Called with logits, labels and valid.
        augment: Transforms of whole batches, applied on the device.
        steps_per_epoch: Iterations of an epoch, for the schedule.
    """

    def __init__(
        self, network: nn.Module, config: RunConfig, loss: nn.Module, augment: nn.Module, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.network, self.loss, self.augment = network, loss, augment
        self.config, self.steps_per_epoch = config, steps_per_epoch

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """One forward pass and its loss.

        Randomness (augmentation, dropout) is a function of (seed, epoch, step), so that a resumed training, or one
        with other loader processes, goes on exactly as an uninterrupted one.
        """
        state = np.random.SeedSequence([self.config.seed, 3, self.current_epoch, index]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> 1))
        with torch.no_grad(), stage("transform"), full_float32(self.device):
            batch = self.augment({**batch, "image": batch["image"].float()})
        with stage("forward"):
            logits = self.network(batch["image"].contiguous(memory_format=torch.channels_last))
            loss: Tensor = self.loss(logits, batch["labels"], batch["valid"])
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["image"]))
        return loss

    def configure_optimizers(self) -> Any:
        """The configured optimiser and its schedule, stepped once an iteration."""
        optimizer = make_optimizer(self.config.optim, self.network)
        total = self.config.train.epochs * self.steps_per_epoch
        schedule = make_schedule(self.config.optim, optimizer, total, self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(section: OptimSection, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a configuration; biases and normalisation scales get no weight decay."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": section.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if section.name == "sgd":
        return torch.optim.SGD(groups, lr=section.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.Adam if section.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=section.lr)


def make_schedule(
    section: OptimSection, optimizer: torch.optim.Optimizer, total: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule over `total` iterations."""
    schedulers = torch.optim.lr_scheduler
    if section.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=total)
    if section.schedule == "one-cycle":
        return schedulers.OneCycleLR(optimizer, max_lr=section.lr, total_steps=max(2, total))
    factor = section.gamma if section.schedule == "exponential" else 1.0
    return schedulers.LambdaLR(optimizer, lambda step: factor ** (step // steps_per_epoch))


class EpochEnd(lightning.Callback):
    """Validates, keeps the learning curves, the best weights and the state to resume from.

    Args:
        folder: Folder of the fold.
        fold: Its name.
        validate: Dice of the current network on the validation images, or None when there are none.
        provenance: Of the metrics table.
    """

    def __init__(
        self,
        folder: Path,
        fold: str,
        validate: Callable[[nn.Module], float] | None,
        config: RunConfig,
        provenance: Provenance,
    ) -> None:
        self.folder, self.fold, self.validate = folder, fold, validate
        self.config, self.provenance = config, provenance
        self.rows: list[list[Any]] = []
        self.best = float("-inf")

    def state_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.rows, self.best = [list(row) for row in state_dict["rows"]], float(state_dict["best"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Judge the epoch and write everything that the next one builds on, the resume file last.

        Raises:
            StromaError: the loss is no number any more.
        """
        network: nn.Module = pl_module.network
        epoch, last = trainer.current_epoch, trainer.current_epoch + 1 == self.config.train.epochs
        entries = [("train_loss", float(trainer.callback_metrics["train_loss"]))]
        if not math.isfinite(entries[0][1]):
            raise StromaError(
                f"the training diverged: the loss of epoch {epoch + 1} is {entries[0][1]}",
                where=self.folder,
                next_step=f"Lower the learning rate (optim.lr is {self.config.optim.lr:g}), or look for images with "
                "values that are no numbers: stroma check",
            )
        due = last or (epoch + 1) % self.config.train.validate_every == 0
        if self.validate is not None and due:
            network.eval()
            score = self.validate(network)
            network.train()
            entries.append(("validation_dice", score))
            if self.config.train.keep == "best" and score > self.best:
                self.best = score
                self._save(network)
        if last and (self.validate is None or self.config.train.keep == "last"):
            self._save(network)
        self.rows += [[self.fold, epoch, name, value] for name, value in entries]
        with stage("write"):
            table = pl.DataFrame(self.rows, schema=METRICS_SCHEMA, orient="row")
            write_table(table, self.folder / "metrics.parquet", self.provenance)
            figures = ", ".join(f"{name} {value:.4f}" for name, value in entries)
            line = f"epoch {epoch + 1}/{self.config.train.epochs}: {figures}"
            with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"{line}\n")
            with atomic_path(self.folder / RESUME_NAME) as temporary:
                trainer.save_checkpoint(temporary)
        say(f"{self.fold} {line}")

    def _save(self, network: nn.Module) -> None:
        with stage("write"), atomic_path(self.folder / WEIGHTS_NAME) as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, temporary)
