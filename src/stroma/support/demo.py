"""`stroma demo`: the whole of Stroma on data it makes, from files to a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import click
import polars as pl
from PIL import Image as PillowImage
from pydantic import Field
from skimage.data import immunohistochemistry

from stroma.core.clock import StageClock
from stroma.core.config import dump_yaml, read_mapping
from stroma.core.errors import StromaError
from stroma.core.extras import require
from stroma.core.files import atomic_path, write_text
from stroma.core.items import Failed
from stroma.core.tables import read_table
from stroma.core.verbs import Device, Flag, VerbOptions, VerbResult, Workers
from stroma.evaluation.evaluate import EvaluateOptions, evaluate, score_lines
from stroma.evaluation.nearest_mean import nearest_mean_scores
from stroma.features.cluster import ClusterOptions, cluster
from stroma.features.embed import EmbedOptions, embed
from stroma.inference.predict import PredictOptions, predict
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.prepare.index import InitOptions, init
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile
from stroma.reports.report import ReportOptions, report
from stroma.runs.run import Run
from stroma.study.study import open_study
from stroma.training.train import TrainOptions, train_verb

CONFIG: dict[str, Any] = {
    "data": {"study": "hsi-study/study.yaml"},
    "input": {
        "prepare": {"steps": ["l1", "mean_std"]},
        "granularity": {"name": "patch", "size_px": 64},
    },
    "model": {"name": "unet"},
    "sampling": {"batch_size": 8, "samples_per_epoch": 256},
    "augment": ["flip"],
    "optim": {"lr": 3e-3, "schedule": "one-cycle"},
    "train": {"epochs": 12, "validate_every": 4},
}
"""The demo's training: small enough for two cores, and a starting point for one's own configuration."""


class DemoOptions(VerbOptions):
    """Options of `stroma demo`."""

    output: Annotated[Path, Flag(short="-o", setting=False)] = Field(
        Path("demo"), description="Folder for everything"
    )
    subjects: int = Field(8, ge=4, description="Subjects of the hyperspectral phantom")
    images: int = Field(3, ge=1, description="Images of each subject")
    epochs: int = Field(12, ge=1, description="Epochs of the training")
    seed: int = Field(0, ge=0, description="Seed of the phantom and of the training")
    device: Device = "auto"
    workers: Workers = 2


@dataclass
class _Steps:
    """Runs the verbs one after the other, tells what is going on, and adds up their clocks."""

    clock: StageClock = field(default_factory=StageClock)
    failed: list[Failed[Any]] = field(default_factory=list)
    number: int = 0

    def run(self, what: str, verb: Callable[[Any], VerbResult], options: VerbOptions) -> VerbResult:
        """Run a verb.

        Raises:
            StromaError: all of its items failed.
        """
        self.number += 1
        start = time.perf_counter()
        click.echo(f"{self.number}. {what} …", err=True)
        result = verb(options)
        self.clock.add(result.clock.to_dict())
        self.failed += result.failed
        if result.exit_code == 1:
            raise StromaError(f"the step '{what}' failed: {result.failed[0].message}")
        click.echo(f"   {time.perf_counter() - start:.0f} s", err=True)
        return result


def demo(options: DemoOptions) -> VerbResult:
    """Run the whole of Stroma on data it makes: learn organs in hyperspectral images, cluster real tissue, report.

    A hyperspectral phantom with known truth is made, described, learned, predicted and judged on subjects that were
    not trained on; a real immunohistochemistry image (shipped with scikit-image) is tiled, embedded and clustered.
    Run again after an interruption, it continues where it stopped.

    Args:
        options: Where to, and how large.
    """
    require("torch", extra="learn", feature="the demo")
    folder = options.output
    if options.dry_run:
        return VerbResult(lines=[f"would make phantoms, train, predict, evaluate, tile, embed, cluster in {folder}"])
    steps = _Steps()
    common: dict[str, Any] = {"overwrite": options.overwrite, "verify": options.verify}
    run = _learn_organs(steps, folder, options, common)
    clusters = _cluster_tissue(steps, folder, options, common)
    page = folder / "report.html"
    pages = ReportOptions(inputs=(run, clusters), output=page, overwrite=True)
    steps.run("Write the report", report, pages)
    scores = read_table(run / "tables" / "test" / "scores.parquet")
    return VerbResult(
        output=page,
        lines=[
            "",
            "Organs of subjects that were not trained on:",
            *score_lines(scores),
            *_baseline_lines(run),
            *_cluster_lines(clusters),
            "",
        ],
        done=steps.number,
        failed=steps.failed,
        clock=steps.clock,
        next=(f"open {page} in a browser", "stroma init YOUR_FOLDER"),
    )


def _learn_organs(steps: _Steps, folder: Path, options: DemoOptions, common: dict[str, Any]) -> Path:
    data, study, run = folder / "hsi", folder / "hsi-study" / "study.yaml", folder / "run"
    phantom = PhantomHsiOptions(
        output=data,
        subjects=options.subjects,
        images=options.images,
        height=120,
        width=160,
        seed=options.seed,
        workers=options.workers,
        **common,
    )
    steps.run(
        f"Make {options.subjects * options.images} hyperspectral images of {options.subjects} subjects",
        phantom_hsi,
        phantom,
    )
    steps.run("Recognise them as a study", init, InitOptions(folder=data, output=study, overwrite=True))
    _set_splits(study, options)
    config = folder / "config.yaml"
    write_text(config, dump_yaml({**CONFIG, "train": {**CONFIG["train"], "epochs": options.epochs}}))
    training = TrainOptions(config=config, output=run, device=options.device, overwrite=options.overwrite)
    steps.run(f"Train a U-Net for {options.epochs} epochs", train_verb, training)
    prediction = PredictOptions(model=str(run), device=options.device, **common)
    steps.run("Predict the subjects that were kept aside", predict, prediction)
    steps.run("Judge them subject by subject", evaluate, EvaluateOptions(run=run, workers=1, **common))
    return run


def _set_splits(study: Path, options: DemoOptions) -> None:
    """Keep the last subjects (3 of 8) aside as the test set; the rest is one division by subject."""
    values = read_mapping(study)
    subjects = sorted(open_study(study).catalog["subject_id"].unique().to_list())
    kept_aside = subjects[-max(2, round(options.subjects * 3 / 8)) :]
    values["splits"] = {"folds": 1, "validation_fraction": 0.25, "test_subjects": kept_aside, "seed": 0}
    write_text(study, dump_yaml(values))


def _cluster_tissue(steps: _Steps, folder: Path, options: DemoOptions, common: dict[str, Any]) -> Path:
    picture = folder / "histology" / "immunohistochemistry.png"
    if not picture.is_file():
        with atomic_path(picture) as temporary:
            PillowImage.fromarray(immunohistochemistry()).save(temporary)
    tiles, features, clusters = (folder / "histology" / name for name in ("tiles", "features", "clusters"))
    tiling = TileOptions(inputs=(picture,), output=tiles, tile_px=32, min_tissue=0.0, **common)
    steps.run("Find tissue in a real immunohistochemistry image and cut it into tiles", tile, tiling)
    embedding = EmbedOptions(tiles=(tiles,), output=features, encoder="colour-texture", **common)
    steps.run("Embed the tiles", embed, embedding)
    grouping = ClusterOptions(features=(features,), output=clusters, clusters=5, seed=options.seed, **common)
    steps.run("Cluster them", cluster, grouping)
    return clusters


def _baseline_lines(run: Path) -> list[str]:
    """What one gets without a network: each pixel by the nearest mean spectrum of the training subjects."""
    scores = nearest_mean_scores(Run.open(run)).filter(scope="set").filter(pl.col("label").is_null())
    return [f"For comparison, the nearest mean spectrum: dice mean over classes {scores['value'][0]:.3f}"]


def _cluster_lines(clusters: Path) -> list[str]:
    counts = read_table(clusters / "clusters.parquet")["cluster"].value_counts(sort=True)
    sizes = ", ".join(f"{row['cluster']}: {row['count']}" for row in counts.sort("cluster").to_dicts())
    return [f"Tiles in the clusters of the histology image: {sizes}"]
