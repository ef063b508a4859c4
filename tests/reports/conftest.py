"""Run and cluster folders with known content, made without training anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.core.files import id_to_name
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.evaluation.evaluate import EvaluateOptions, evaluate
from stroma.features.cluster import CLUSTERS_FORMAT, CLUSTERS_SCHEMA
from stroma.features.proportions import PROPORTIONS_FORMAT, image_proportions
from stroma.inference.predict import write_labels
from stroma.inference.schema import PREDICTIONS_FORMAT, PREDICTIONS_SCHEMA
from stroma.prepare.sources import write_sources
from stroma.runs.card import ModelCard
from stroma.runs.config import RunConfig
from stroma.runs.run import Run
from stroma.study.schema import SPLITS_FORMAT
from stroma.study.study import open_study
from tests.tiny import cube_study, picture_study


def make_run(folder: Path, study_path: Path, *, sets: tuple[str, ...] = ("test", "validation")) -> Run:
    """A complete run whose predictions are the references with their left columns shifted by one class."""
    study = open_study(study_path)
    run = Run.create(folder, RunConfig(data={"study": study.path}), study)
    splits = study.splits()
    write_table(splits.table, folder / "splits.parquet", Provenance(SPLITS_FORMAT))
    with study.open(next(iter(study))) as image:
        wavelengths = None if image.wavelengths_nm is None else tuple(image.wavelengths_nm.tolist())
        channels = len(image.channels)
    for number, fold in enumerate(splits.folds):
        card = ModelCard(
            model="unet", channels=channels, wavelengths_nm=wavelengths, prepare={}, granularity="image",
            labels=study.labels,
        )  # fmt: skip
        card.save(run.fold_folder(fold) / "card.json")
        write_table(curves(fold, number), run.fold_folder(fold) / "metrics.parquet", Provenance("metrics/1"))
    for name in sets:
        _predict(run, name)
        evaluate(EvaluateOptions(run=folder, images=name))
    return run


def curves(fold: str, number: int = 0) -> pl.DataFrame:
    """A loss that falls and a Dice that is highest in epoch 2."""
    rows = [(fold, epoch, "train_loss", 1.0 / (epoch + 1 + number)) for epoch in range(4)]
    rows += [(fold, epoch, "validation_dice", value) for epoch, value in enumerate((0.2, 0.5, 0.7, 0.6))]
    schema = {"fold": pl.String, "epoch": pl.Int64, "name": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _predict(run: Run, name: str) -> None:
    study, folder = run.study, run.folder / "predictions" / name
    subjects = dict(study.catalog.select("image_id", "subject_id").rows())
    rows = []
    for place, image_id in enumerate(run.images_of(name)):
        mask = study.mask(image_id)
        predicted = np.where(mask == 255, 0, mask)
        wrong = slice(0, 2 + 3 * place)
        predicted[:, wrong] = (predicted[:, wrong] + 1) % len(study.labels)
        file = f"{id_to_name(image_id)}.png"
        write_labels(folder / file, predicted.astype(np.uint8), study.labels)
        rows.append((image_id, subjects[image_id], "fold_0", file))
    table = pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row")
    write_table(table, folder / "predictions.parquet", Provenance(PREDICTIONS_FORMAT))


@pytest.fixture(scope="session")
def run_of_cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One test subject (so no interval), 10 channels, no RGB pictures beside the cubes."""
    folder = tmp_path_factory.mktemp("cubes")
    return make_run(folder / "run #1", cube_study(folder, images=2)).folder


@pytest.fixture(scope="session")
def run_of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test subjects and ids with umlauts, `#`, `@`, `,` and `+`."""
    folder = tmp_path_factory.mktemp("pictures")
    splits = {"folds": 2, "test_subjects": ["Süß #2", "Süß #3"]}
    return make_run(folder / "run", picture_study(folder, splits=splits)).folder


def make_clusters(folder: Path, *, tiles: int = 60, clusters: int = 3) -> Path:
    """Output of `stroma cluster` on tiles of two pictures of two subjects."""
    rng = np.random.default_rng(0)
    ids = ["Süß/a <&>, #1", "Süß/b@+"]
    paths = [folder.parent / f"picture {place}.png" for place in range(len(ids))]
    for path in paths:
        Pillow.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(path)
    rows = [
        (ids[n % 2], n // 2, 16 * (n // 2 % 6), 16 * (n // 12 % 4), 16, 16, None, n % clusters, *rng.normal(size=2))
        for n in range(tiles)
    ]
    table = pl.DataFrame(rows, schema=CLUSTERS_SCHEMA, orient="row")
    settings = {"clusters": clusters, "projection": "pca", "seed": 0, "encoder": {"name": "colour_texture"}}
    provenance = Provenance(CLUSTERS_FORMAT, settings)
    write_table(table, folder / "clusters.parquet", provenance)
    subjects = {ids[0]: "S <1>", ids[1]: "S 2"}
    sources = [(i, subjects[i], path) for i, path in zip(ids, paths, strict=True)]
    counts = table.group_by("image_id", "cluster").len("n_tiles")
    frame = pl.DataFrame([row[:2] for row in sources], schema=["image_id", "subject_id"], orient="row")
    proportions = image_proportions(counts, frame, clusters)
    write_table(proportions, folder / "proportions.parquet", Provenance(PROPORTIONS_FORMAT))
    write_sources(folder, sources, provenance)
    return folder


@pytest.fixture
def cluster_folder(tmp_path: Path) -> Path:
    return make_clusters(tmp_path / "clusters")
