"""Verbs that are killed at any moment and run again end with the same bytes as undisturbed ones."""

import pytest
from PIL import Image as Pillow
from skimage import data

from tests.harness.kill import OUTPUT, differences, kill_and_resume
from tests.tiny import cube_study

RUN = """
data: {study: study.yaml}
input: {prepare: {steps: [l1]}, granularity: {name: patch, size_px: 16}}
sampling: {batch_size: 8, samples_per_epoch: 64}
train: {epochs: 4}
"""


@pytest.fixture
def slides(tmp_path):
    folder = tmp_path / "slides, Süß #1"
    folder.mkdir()
    tissue = data.immunohistochemistry()
    for name, angle in (("a", 0), ("b+c", 1), ("d@e", 2)):
        Pillow.fromarray(tissue).rotate(90 * angle).save(folder / f"{name}.png")
    return folder


def test_tiling_survives_kills(slides, tmp_path):
    arguments = ["tile", str(slides), "--tile-px", "64", "--save-images"]
    comparison = kill_and_resume(arguments, tmp_path, kills=3, seed=1)
    assert comparison.kills >= 1
    assert comparison.differences == []


def test_the_harness_notices_a_changed_byte_and_a_missing_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text("x")
        (tmp_path / name / "changed").write_text(name)
    (tmp_path / "a" / "missing").write_text("x")
    (tmp_path / "b" / ".tmp-1-left").write_text("x")
    assert differences(tmp_path / "a", tmp_path / "b") == ["changed", "missing"]


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(3))
def test_training_survives_kills(tmp_path, seed):
    cube_study(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(RUN)
    comparison = kill_and_resume(["train", str(config)], tmp_path / "runs", kills=6, seed=seed)
    assert comparison.kills >= 2
    assert comparison.differences == []


@pytest.mark.proof
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_hyperspectral_phantom_survives_kills(tmp_path, workers):
    size = ["--subjects", "2", "--images", "2", "--height", "48", "--width", "64"]
    comparison = kill_and_resume(["phantom", "hsi", OUTPUT, *size, "-j", workers], tmp_path, kills=5, seed=2)
    assert comparison.differences == []
