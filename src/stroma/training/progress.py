"""What somebody who watches a training sees: a bar for each epoch, gone at its end."""

from __future__ import annotations

import sys
from typing import Any

import lightning


class EpochBar(lightning.Callback):
    """A bar on standard error over the batches of an epoch, where that is a terminal; epochs count from 1.

    Args:
        fold: Name of the fold.
    """

    def __init__(self, fold: str) -> None:
        self.fold = fold
        self._bar: Any = None
        self._task: Any = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show an empty bar."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        name = f"{self.fold} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._task = self._bar.add_task(name, total=trainer.num_training_batches)
        self._bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """One batch more."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the bar away: what follows has its own."""
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
