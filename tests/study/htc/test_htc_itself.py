"""A phantom data set is read by the real `imsy-htc` with identical arrays, and what that writes is read by us."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from benchmarks.cube_read import PEER
from benchmarks.peer import CACHE

from stroma.cli.main import run as command
from stroma.images.htc_blosc import read_htc_blosc
from stroma.spectra import l1
from stroma.study.datasets import open_dataset
from stroma.study.htc.blosc_file import write_htc_blosc
from stroma.study.htc.export import write_htc_masks, write_htc_meta_table
from stroma.study.htc.median_tables import write_htc_medians
from stroma.study.median_rows import MedianSettings, recording_rows
from stroma.study.study import Study

HTC = CACHE / hashlib.sha256("\n".join(PEER.packages).encode()).hexdigest()[:12]
PYTHON = HTC / "bin" / "python"
PARAMETERS = ("StO2", "NIR", "TWI", "OHI", "TLI", "THI")

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        not (HTC / "complete").is_file(), reason="imsy-htc is not there: python -m benchmarks cube_read"
    ),
]


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A phantom with all that htc needs beside the recordings: masks, table, L1 and parameters."""
    if request.config.option.markexpr != "proof":
        pytest.skip("minutes in processes of htc: run by `make proof`")
    folder = tmp_path_factory.mktemp("Klinik Süd")
    root = folder / "HeiPor Süß"  # htc takes what follows a # for a subset
    size = ["--height", "96", "--width", "128"]
    assert command(["phantom", "hsi", str(root), "--subjects", "2", "--images", "1", *size]) == 0
    found = open_dataset(root, cache=folder / "cache")
    intermediates = root / "intermediates"
    write_htc_masks(found, intermediates)
    write_htc_meta_table(found, intermediates)
    rng = np.random.default_rng(0)
    for recording in found.select():
        cube = recording.cube()
        content: dict[str, Any] = {name: rng.random(cube.shape[:2], dtype=np.float32) for name in PARAMETERS}
        content["background"] = rng.random(cube.shape[:2]) < 0.1
        write_htc_blosc(intermediates / "preprocessing" / "L1" / f"{recording.image_id}.blosc", l1(cube).astype("f2"))
        place = intermediates / "preprocessing" / "parameter_images"
        write_htc_blosc(place / f"{recording.image_id}.blosc", content)
    return open_dataset(root, cache=folder / "cache")


def ask_htc(study: Study, *arguments: str | Path) -> None:
    """Run the interpreter of htc; the data set is registered as a user would."""
    results = study.root.parent / "results"
    results.mkdir(exist_ok=True)
    environment = {**os.environ, "PATH_Tivita_phantom": str(study.root), "PATH_HTC_RESULTS": str(results)}
    subprocess.run([PYTHON, *arguments], check=True, env=environment, timeout=900, stdout=subprocess.DEVNULL)


def test_htc_reads_what_we_write(study: Study, tmp_path: Path) -> None:
    ask_htc(study, Path(__file__).with_name("htc_reads.py"), study.root, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert facts.pop("table") == [[recording.image_id, recording.row["camera"]] for recording in study.select()]
    assert list(facts) == list(study)
    for recording in study.select():
        read, fact = np.load(tmp_path / f"{recording.image_id}.npz"), facts[recording.image_id]
        np.testing.assert_array_equal(read["cube"], recording.cube())
        np.testing.assert_allclose(read["l1"], l1(recording.cube()), rtol=1e-6)
        np.testing.assert_array_equal(read["rgb"], recording.rgb())
        masks = recording.masks()
        assert {name for name in read if name.startswith("mask ")} == {f"mask {name}" for name in masks}
        for name, mask in masks.items():
            np.testing.assert_array_equal(read[f"mask {name}"], mask.labels)
        parameters = recording.preprocessed("parameter_images")
        assert isinstance(parameters, dict)
        for ours, theirs in (("StO2", "sto2"), ("background", "background"), ("THI", "thi")):
            np.testing.assert_array_equal(read[theirs], parameters[ours])
        assert fact["same"] and fact["valid"]
        assert study[fact["name"]].annotations == (fact["annotation"],)
        assert sorted(fact["labels"]) == sorted(recording.labels(fact["annotation"]))
        assert fact["situs"] == recording.meta("label_meta/spleen/situs", None)
        assert fact["camera"] == recording.camera_log


def test_we_read_what_htc_writes(study: Study, tmp_path: Path) -> None:
    script = HTC / "bin" / "htc"
    table = study.root / "intermediates" / "tables" / f"{study.name}@meta.feather"
    (tmp_path / table.name).write_bytes(table.read_bytes())
    ask_htc(study, script, "l1_normalization", "--dataset-path", study.root, "--output-path", tmp_path)
    ask_htc(study, script, "median_spectra", "--dataset-name", study.name, "--output-path", tmp_path)
    for recording in study.select():
        theirs = read_htc_blosc(tmp_path / "L1" / f"{recording.image_id}.blosc")
        assert isinstance(theirs, np.ndarray) and theirs.dtype == np.float16
        np.testing.assert_allclose(theirs, l1(recording.cube()), rtol=2**-10, atol=6e-8)
    tables = sorted(tmp_path.glob("*@median_spectra@*.feather"))
    assert [path.stem.rpartition("@")[2] for path in tables] == ["polygon#annotator1", "polygon#annotator2"]
    for path in tables:
        annotation = path.stem.rpartition("@")[2]
        for row in pl.read_ipc(path.read_bytes()).iter_rows(named=True):
            recording = study[f"{row['image_name']}@{annotation}"]
            label = row["label_name"]
            assert (recording.mask().labels == study.labels.index(label)).sum() == row["n_pixels"]
            np.testing.assert_allclose(recording.median_spectrum(label), row["median_spectrum"], rtol=1e-5)
            normalized = recording.median_spectrum(label, normalized=True)
            np.testing.assert_allclose(normalized, row["median_normalized_spectrum"], rtol=1e-5, atol=1e-9)


_MEDIAN_TABLE = """
import sys
from htc.utils.helper_functions import median_table
table = median_table(dataset_name=sys.argv[1], annotation_name="all")
table.drop(columns=["dataset_settings_path"], errors="ignore").to_feather(sys.argv[2])
"""


def test_median_tables_are_those_of_htc_and_it_reads_ours(study: Study, tmp_path: Path) -> None:
    script = HTC / "bin" / "htc"
    meta = study.root / "intermediates" / "tables" / f"{study.name}@meta.feather"
    (tmp_path / meta.name).write_bytes(meta.read_bytes())
    ask_htc(study, script, "median_spectra", "--dataset-name", study.name, "--output-path", tmp_path)
    settings = MedianSettings(parameters="htc")
    rows = pl.concat([recording_rows(recording, settings) for recording in study.select()], how="diagonal_relaxed")
    paths = write_htc_medians(rows, study, study.root / "intermediates")
    total = 0
    for path in paths:
        ours, theirs = pl.read_ipc(path.read_bytes()), pl.read_ipc((tmp_path / path.name).read_bytes())
        assert ours.columns[:22] == theirs.columns[:22]
        assert set(theirs.columns) - set(ours.columns) <= {"dataset_settings_path"}
        order = ["label_index", "image_name"]
        ours, theirs, total = ours.sort(order), theirs.sort(order), total + len(theirs)
        for name in ("image_name", "subject_name", "timestamp", "label_index", "label_name", "n_pixels", "situs"):
            assert ours[name].to_list() == theirs[name].to_list(), name
        for name in ours.columns[5:9]:
            np.testing.assert_allclose(ours[name].to_list(), theirs[name].to_list(), rtol=2e-5, atol=1e-9)
        for name in ours.columns[10:22]:
            np.testing.assert_allclose(ours[name].to_numpy(), theirs[name].to_numpy(), rtol=1e-5, err_msg=name)
    ask_htc(study, "-c", _MEDIAN_TABLE, study.name, tmp_path / "read.feather")
    read = pl.read_ipc((tmp_path / "read.feather").read_bytes())
    assert len(read) == total == len(rows)
    assert set(read["annotation_name"].cast(pl.String)) == {"polygon#annotator1", "polygon#annotator2"}
