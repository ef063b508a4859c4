"""The demo: everything from phantoms to a report, as a newcomer runs it."""

import polars as pl
import pytest

from stroma.cli.main import run as command
from stroma.evaluation.nearest_mean import nearest_mean_scores
from stroma.runs.run import Run


def headline(scores: pl.DataFrame) -> dict[str, object]:
    (row,) = scores.filter(scope="set").filter(pl.col("label").is_null()).to_dicts()
    return row


def test_a_short_demo_ends_with_scores_and_a_report_and_can_be_repeated(tmp_path, capsys):
    folder = tmp_path / "demo, Süß #1"
    arguments = ["demo", "-o", str(folder), "--subjects", "4", "--images", "1", "--epochs", "1", "--workers", "1"]
    assert command(arguments) == 0
    output = capsys.readouterr().out
    assert "dice mean over classes" in output
    assert "nearest mean spectrum" in output
    assert f"output: {folder / 'report.html'}" in output
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Feature map" in page
    assert (folder / "figures").is_dir()
    scores = (folder / "run" / "tables" / "test" / "scores.parquet").read_bytes()
    assert command(arguments) == 0
    assert (folder / "run" / "tables" / "test" / "scores.parquet").read_bytes() == scores


@pytest.mark.proof
def test_the_phantom_is_hard_for_spectra_and_learnable_for_a_network(tmp_path):
    """Nearest mean spectrum under 0.6 where the demo's U-Net reaches over 0.8, on subjects it was not trained on."""
    assert command(["demo", "-o", str(tmp_path / "demo")]) == 0
    run = Run.open(tmp_path / "demo" / "run")
    network = headline(pl.read_parquet(run.folder / "tables" / "test" / "scores.parquet"))
    assert network["n_subjects"] == 3
    assert network["value"] > 0.8
    assert headline(nearest_mean_scores(run))["value"] < 0.6
