"""`Run`: one folder with all of a training, readable without Stroma."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from stroma.core.config import build, dump_yaml, read_mapping, to_plain
from stroma.core.errors import MissingFile, UsageError, nearest
from stroma.core.files import read_json, write_json, write_text
from stroma.core.provenance import InputRecord, Provenance, check_format
from stroma.core.tables import read_table
from stroma.runs.card import ModelCard
from stroma.runs.config import RunConfig
from stroma.sampling.stores import Stores, choose_stores
from stroma.study.labels import LabelMapping
from stroma.study.splits import images_of
from stroma.study.study import Study, open_study

RUN_FORMAT = "run/1"


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it lies. `config.yaml`, `labels.yaml`, `splits.parquet`, `run.json`, then
            `folds/<fold>/{weights.safetensors, card.json, metrics.parquet}`, `predictions/<set>/`,
            `tables/<set>/` and `report.html`.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open an existing run.

        Raises:
            MissingFile: there is no run in `folder`.
            NewerFormat: it was written by a newer Stroma.
        """
        folder = Path(folder)
        if not (folder / "run.json").is_file():
            raise MissingFile(
                "is not a run folder (it has no run.json)", where=folder, next_step="Train one: stroma train CONFIG"
            )
        check_format(str(read_json(folder / "run.json").get("format", "")), RUN_FORMAT, where=folder / "run.json")
        return cls(folder)

    @classmethod
    def create(cls, folder: Path, config: RunConfig, study: Study) -> Run:
        """Write what describes a run before its training starts.

        Args:
            folder: The run folder.
            config: The complete configuration.
            study: The study it trains on.
        """
        run = cls(Path(folder))
        plain = to_plain(config)
        plain["data"]["study"] = run._relative(study.path)
        if config.data.store is not None:
            plain["data"]["store"] = run._relative(config.data.store)
        if config.data.splits is not None:
            plain["data"]["splits"] = run._relative(config.data.splits)
        write_text(run.folder / "config.yaml", dump_yaml(plain))
        write_text(run.folder / "labels.yaml", dump_yaml(to_plain(study.labels)))
        record = Provenance(RUN_FORMAT, config.settings(), (InputRecord.of("study.yaml", study.path),)).to_dict()
        write_json(run.folder / "run.json", {**record, "study": run._relative(study.path)})
        return run

    def _relative(self, path: Path) -> str:
        """`path` as seen from the run folder, so that both can move together."""
        try:
            return Path(os.path.relpath(path.resolve(), self.folder.resolve())).as_posix()
        except ValueError:  # another drive on Windows
            return path.resolve().as_posix()

    @cached_property
    def config(self) -> RunConfig:
        """The configuration it was trained with; paths of the study and stores are as seen from the run folder."""
        path = self.folder / "config.yaml"
        return build(RunConfig, read_mapping(path), where=path)

    @cached_property
    def labels(self) -> LabelMapping:
        """Its classes."""
        path = self.folder / "labels.yaml"
        return build(LabelMapping, read_mapping(path), where=path)

    @property
    def study_path(self) -> Path:
        """Where its study lies now."""
        return (self.folder / str(read_json(self.folder / "run.json")["study"])).resolve()

    @cached_property
    def study(self) -> Study:
        """Its study."""
        return open_study(self.study_path, self.config.data.where)

    @cached_property
    def stores(self) -> Stores | None:
        """The prepared stores it reads from; None when it reads the images.

        Raises:
            MissingFile, ConfigError: as `choose_stores`.
        """
        data, modality, preparation = self.config.data, self.config.input.modality, self.config.input.prepare
        if data.store is None:
            return None
        return choose_stores(Path(os.path.normpath(self.folder / data.store)), modality, preparation)

    @cached_property
    def splits(self) -> pl.DataFrame:
        """Its splits (columns outer, fold, set, role, image_id)."""
        return read_table(self.folder / "splits.parquet")

    @property
    def folds(self) -> list[str]:
        """Names of the folds that are trained completely."""
        return sorted(path.parent.name for path in (self.folder / "folds").glob("*/card.json"))

    def fold_folder(self, fold: str) -> Path:
        """Folder of a fold."""
        return self.folder / "folds" / fold

    def card(self, fold: str) -> ModelCard:
        """Model card of a fold.

        Raises:
            UsageError: the fold is not trained.
        """
        if fold not in self.folds:
            raise UsageError(
                f"there is no trained fold '{fold}'", where=self.folder, next_step=nearest(fold, self.folds)
            )
        return ModelCard.load(self.fold_folder(fold) / "card.json")

    def images_of(self, name: str, fold: str | None = None) -> Sequence[str]:
        """Ids of the images of a role or a set, in one fold or in any, sorted; see `stroma.study.splits.images_of`.

        Raises:
            UsageError: there is no such role or set.
        """
        return images_of(self.splits, name, fold)

    def metrics(self) -> pl.DataFrame:
        """Learning curves of all trained folds (columns fold, epoch, name, value)."""
        return pl.concat([read_table(self.fold_folder(fold) / "metrics.parquet") for fold in self.folds])
