"""`stroma train`: from a configuration to a run folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from stroma.core.clock import stage
from stroma.core.config import apply_overrides, build, dump_yaml, load_config, read_mapping, to_plain
from stroma.core.device import resolve_device, training_precision
from stroma.core.done import first_difference
from stroma.core.errors import InvalidData, OutputConflict, UsageError, nearest
from stroma.core.extras import require
from stroma.core.files import canonical_json, read_json
from stroma.core.provenance import Provenance
from stroma.core.tables import read_table, write_table
from stroma.core.verbs import Flag, Output, VerbOptions, VerbResult
from stroma.runs.config import RunConfig
from stroma.runs.run import Run
from stroma.study.division import splits_from_file
from stroma.study.schema import SPLITS_FORMAT
from stroma.study.selection import Where
from stroma.study.splits import Splits
from stroma.study.study import Study, open_study
from stroma.study.taken import TAKEN_FORMAT, annotations_taken, describe_taken

TAKEN_FILE = "annotated_by.parquet"
"""In a run folder: whose annotation of each image is the reference."""


class TrainOptions(VerbOptions):
    """Options of `stroma train`; `--set` changes keys of the configuration."""

    config: Annotated[Path, Flag(argument=True, setting=False)] = Field(
        description="A YAML configuration, or study.yaml for the defaults"
    )
    output: Output
    fold: Annotated[tuple[str, ...], Flag(setting=False)] = Field(
        (), description="Folds to train (default: all; repeatable)"
    )
    where: Annotated[Where, Flag(setting=False)] = None
    device: Annotated[str | None, Flag(setting=False)] = Field(
        None, description="auto, cpu, cuda, cuda:<index> or mps"
    )
    overrides: Annotated[tuple[str, ...], Flag(setting=False)] = ()


def train_verb(options: TrainOptions) -> VerbResult:
    """Train a network from a configuration into a run folder, fold by fold.

    An interrupted training continues at the last finished epoch when the same command is run again; finished folds
    are skipped. CONFIG is a configuration or a study.yaml, which is trained on with defaults. `--dry-run` prints the
    complete configuration; `--set train.epochs=50` changes one value of it.

    Args:
        options: The configuration and where to.
    """
    overrides = list(options.overrides)
    if options.device:
        overrides.append(f"execution.device={options.device}")
    if options.where is not None:
        overrides.append(f"data.where={canonical_json(options.where)}")
    config = load_run_config(options.config, overrides)
    if options.dry_run:
        open_study(config.data.study, config.data.where)
        return VerbResult(lines=dump_yaml(to_plain(config)).splitlines())
    if options.fold:
        section = config.train.model_copy(update={"folds": options.fold})
        config = config.model_copy(update={"train": section})
    before = _finished(Run(options.output))
    run = train(config, options.output, overwrite=options.overwrite)
    taken = run.folder / TAKEN_FILE
    lines, metrics = describe_taken(read_table(taken)) if taken.is_file() else [], run.metrics()
    for fold in run.folds:
        card = run.card(fold)
        scores = metrics.filter(fold=fold, name="validation_dice")["value"].to_list()
        best = f"best validation Dice {max(scores):.3f}" if scores else "no validation images"
        lines.append(f"{fold}: {best}, {len(card.labels)} classes, {card.channels} channels")
    trained = [fold for fold, when in _finished(run).items() if when != before.get(fold)]
    return VerbResult(
        output=run.folder,
        lines=lines,
        done=len(trained),
        skipped=len(run.folds) - len(trained),
        next=(f"stroma predict {quote(str(run.folder))} --images test",),
    )


def _finished(run: Run) -> dict[str, int]:
    """Complete folds, and when they became so, in ns."""
    return {fold: (run.fold_folder(fold) / "card.json").stat().st_mtime_ns for fold in run.folds}


def load_run_config(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Read a run configuration; a relative `data.study`, `store` or `splits` is taken relative to the file.

    A `study.yaml` in its place stands for the defaults: L1-normalised spectra for cubes, standardised colours for
    pictures.

    Raises:
        MissingFile, ConfigError: as `load_config`.
    """
    if Path(path).is_dir() or not Path(path).suffix:  # a study by its folder, a data set by its folder or name
        path = open_study(path).path
    if "layout" in read_mapping(Path(path)):
        return build(RunConfig, apply_overrides(default_values(Path(path)), overrides), where=path)
    config = load_config(Path(path), RunConfig, overrides)
    paths = {"study": config.data.study, "store": config.data.store, "splits": config.data.splits}
    given = {key for key in paths if any(text.startswith(f"data.{key}=") for text in overrides)}  # from where we are
    found = {key: value if key in given else Path(path).parent / value for key, value in paths.items() if value}
    return config.model_copy(update={"data": config.data.model_copy(update=found)})


def default_values(study_path: Path) -> dict[str, Any]:
    """A configuration for a study that has none: how pixels are prepared depends on what its images are."""
    study = open_study(study_path)
    with study.open(next(iter(study))) as image:
        spectral = image.wavelengths_nm is not None
    steps = ["l1", "mean_std"] if spectral else ["mean_std"]
    return {"data": {"study": str(study_path)}, "input": {"prepare": {"steps": steps}}}


def train(config: RunConfig | Path | str, output: Path | str, *, overwrite: bool = False) -> Run:
    """Train all folds of a configuration.

    Args:
        config: A configuration, or the path of one.
        output: The run folder. If a training with the same settings was interrupted there, it continues.
        overwrite: Remove a run with other settings instead of refusing.

    Returns:
        The run, complete.

    Raises:
        OutputConflict: `output` holds a run with other settings, or something that is no run.
        UsageError: an unknown fold.
        InvalidData: images, masks or splits that cannot be trained on.
    """
    require("torch", extra="learn", feature="training")
    require("lightning", extra="learn", feature="training")
    from stroma.training.fold import train_fold

    config = config if isinstance(config, RunConfig) else load_run_config(Path(config))
    study = open_study(config.data.study, config.data.where)
    config = _with_precision(config, Path(output))
    run = _prepare_folder(config, study, Path(output), overwrite)
    folds = run.splits["fold"].unique().sort().to_list()
    for fold in config.train.folds:
        if fold not in folds:
            raise UsageError(f"there is no fold '{fold}'", where=study.path, next_step=nearest(fold, folds))
    for fold in config.train.folds or folds:
        if fold not in run.folds:
            train_fold(run, fold, config)
    return run


def _with_precision(config: RunConfig, folder: Path) -> RunConfig:
    """Resolve `precision: auto`: that of the run that is continued, else what the device computes in."""
    device = resolve_device(config.execution.device)
    precision = training_precision(config.train.precision, device)
    if config.train.precision == "auto" and (folder / "run.json").is_file():
        stored = read_json(folder / "run.json").get("settings", {})
        precision = stored.get("train", {}).get("precision", precision)
    section = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"train": section})


def divided(study: Study, splits: Path | None) -> Splits:
    """How a study is divided: as a file says, else as `study.yaml` does."""
    return study.splits() if splits is None else splits_from_file(study, splits)


def _other_division(stored: pl.DataFrame, now: pl.DataFrame) -> str:
    """The first image that a run used in another way than it would be used now; empty when there is none."""
    keys = ["outer", "fold", "set", "role", "image_id"]
    both = pl.concat([stored.select(keys).with_columns(now=False), now.select(keys).with_columns(now=True)])
    changed = both.filter(both.select(pl.struct(keys).is_duplicated().alias("same"))["same"].not_())
    if changed.is_empty():
        return ""
    row = changed.sort(*keys, "now").row(0, named=True)
    return f"the image '{row['image_id']}' {'is' if row['now'] else 'was'} in {row['set']} of {row['fold']}"


def _prepare_folder(config: RunConfig, study: Study, folder: Path, overwrite: bool) -> Run:
    record = folder / "run.json"
    if record.is_file():
        difference = first_difference(read_json(record).get("settings", {}), config.settings())
        difference = difference or _other_division(Run(folder).splits, divided(study, config.data.splits).table)
        if not difference:
            return Run.open(folder)
        if not overwrite:
            raise OutputConflict(
                f"holds a run with other settings: {difference}",
                where=folder,
                next_step="Use --overwrite to replace it, or another --output",
            )
        shutil.rmtree(folder)
    elif folder.is_dir() and any(entry.name != "log" for entry in folder.iterdir()):
        raise OutputConflict("is not empty and not a run", where=folder, next_step="Give another --output")
    with stage("write"):
        splits = divided(study, config.data.splits)
        if not len(splits.table):
            raise InvalidData("defines no splits", where=study.path, next_step="Add a 'splits' section to study.yaml")
        write_table(splits.table, folder / "splits.parquet", Provenance(SPLITS_FORMAT, {"study": study.name}))
        taken = annotations_taken(study, splits.table["image_id"].unique(), config.data.annotator)
        write_table(taken, folder / TAKEN_FILE, Provenance(TAKEN_FORMAT, {"study": study.name}))
        return Run.create(folder, config, study)
