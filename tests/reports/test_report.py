"""`stroma report` and the page about a run."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from stroma.cli.main import run as command
from stroma.core.errors import MissingFile, OutputConflict, UsageError
from stroma.core.tables import read_provenance, read_table, write_table
from stroma.reports.page import Report
from stroma.reports.report import ReportOptions, report
from stroma.reports.run_pictures import image_means, pictured_images, translate
from stroma.reports.run_report import add_run, run_report
from stroma.study.labels import LabelMapping
from tests.reports.test_figures import scores
from tests.reports.test_page import Tags


@pytest.fixture
def run_folder(run_of_pictures, tmp_path):
    """A copy of the run that may be changed, beside a copy of its study; only test images are evaluated."""
    shutil.copytree(run_of_pictures.parent, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "run" / "tables" / "validation")
    return tmp_path / "copy" / "run"


def words(run_folder: Path) -> str:
    """All text of a run's report, without rendering it."""
    report = Report("A run")
    add_run(report, run_folder, images=2)
    parts = [str(value) for card in report.cards for value in vars(card).values()]
    for block in (block for section in report.sections for block in section.blocks):
        parts += [str(value) for value in vars(block).values() if isinstance(value, str | tuple)]
    return " ".join(parts)


@pytest.fixture(scope="module")
def page_of_pictures(run_of_pictures):
    return run_report(run_of_pictures)


@pytest.fixture(scope="module")
def page_of_cubes(run_of_cubes):
    return run_report(run_of_cubes)


def test_the_page_of_a_run_begins_with_its_score_its_interval_and_its_counts(page_of_pictures, run_of_pictures):
    table = read_table(run_of_pictures / "tables" / "test" / "scores.parquet")
    row = table.filter((pl.col("scope") == "set") & pl.col("label").is_null()).row(0, named=True)
    text = " ".join(Tags(page_of_pictures).text.split())
    cards = text[: text.index("The mean Dice over classes")]
    assert f"{row['value']:.3f}" in cards
    assert f"95 % interval {row['low']:.3f} to {row['high']:.3f}" in cards
    assert "(2 subjects, 4 images" in text


def test_test_images_come_before_validation_images(page_of_pictures):
    text = Tags(page_of_pictures).text
    assert "Dice, test images" in text
    assert text.index("Test images") < text.index("Validation images")
    assert "The validation images chose the epoch" in text


def test_one_test_subject_gives_no_interval_and_the_page_says_so(page_of_cubes):
    text = Tags(page_of_cubes).text
    assert "no interval: one subject" in text
    assert "All test images come from one subject" in text


def test_cubes_have_spectra_over_wavelengths_and_pictures_without_a_camera_rgb(page_of_cubes):
    spectra = pl.read_csv(page_of_cubes.parent / "tables" / "spectra-test.csv")
    assert spectra.columns[1] == "wavelength_nm"
    assert spectra["wavelength_nm"].min() == 500
    assert (page_of_cubes.parent / "figures" / "pictures-test-1.svg").is_file()


def test_links_of_a_page_lead_to_the_files_of_the_run(page_of_pictures):
    from urllib.parse import unquote

    links = [unquote(value) for value in Tags(page_of_pictures).values("href") if not value.startswith("#")]
    assert "tables/test/scores.parquet" in links
    assert all((page_of_pictures.parent / link).is_file() for link in links)


def test_csv_of_scores_equals_the_evaluated_table(page_of_pictures, run_of_pictures):
    table = read_table(run_of_pictures / "tables" / "test" / "scores.parquet")
    drawn = pl.read_csv(run_of_pictures / "tables" / "scores-dice-test.csv", schema_overrides=table.schema)
    assert drawn.sort(drawn.columns).equals(table.select(drawn.columns).sort(drawn.columns))


def test_a_page_made_again_has_the_same_bytes(page_of_cubes):
    before = page_of_cubes.read_bytes()
    assert run_report(page_of_cubes.parent).read_bytes() == before


def test_without_its_study_a_run_has_a_page_without_pictures(run_folder):
    shutil.rmtree(run_folder.parent / "data")
    text = words(run_folder)
    assert "The study could not be opened" in text
    assert "Dice per class" in text


def test_without_evaluation_the_page_says_so(run_folder):
    shutil.rmtree(run_folder / "tables")
    text = words(run_folder)
    assert "none yet" in text
    assert "stroma evaluate" in text
    assert "Learning curves of 2 folds" in text


def test_a_run_that_has_just_been_created_has_a_page(run_folder):
    for name in ("tables", "folds", "predictions"):
        shutil.rmtree(run_folder / name)
    assert "No fold has been trained completely" in words(run_folder)


def test_classes_absent_in_the_reference_are_named(run_folder):
    path = run_folder / "tables" / "test" / "scores.parquet"
    table = read_table(path).filter(pl.col("label").is_null() | (pl.col("label") != "blue"))
    write_table(table, path, read_provenance(path))
    text = words(run_folder)
    assert "No reference of the test images holds blue" in text


def test_shown_images_are_the_worst_the_best_and_evenly_between():
    table = scores([("P", f"im{n}", "liver", n / 10) for n in range(11)])
    assert pictured_images(table, 3) == ["im0", "im5", "im10"]
    assert pictured_images(table, 40) == [f"im{n}" for n in range(11)]
    assert pictured_images(table.clear(), 3) == []


def test_images_are_ranked_by_their_mean_over_classes():
    table = scores([("P", "a", "liver", 0.9), ("P", "a", "colon", 0.1), ("P", "b", "liver", 0.6)])
    assert image_means(table).rows() == [("a", "P", 0.5), ("b", "P", 0.6)]


def test_references_are_translated_by_name():
    import numpy as np

    source, target = LabelMapping.of(["a", "b", "c"]), LabelMapping.of(["c", "a"])
    assert translate(np.array([[0, 1, 2, 255]], np.uint8), source, target).tolist() == [[1, 255, 0, 255]]


def test_a_run_and_clusters_make_one_page(run_folder, cluster_folder, tmp_path):
    page = tmp_path / "out" / "both.html"
    result = report(ReportOptions(inputs=(run_folder, cluster_folder), output=page, images=2, tiles=5))
    assert result.output == page
    text = Tags(page).text
    assert "run: Dice, test images" in text
    assert "clusters: tiles" in text


def test_a_current_page_is_skipped_and_one_with_changed_inputs_made_again(cluster_folder):
    options = ReportOptions(inputs=(cluster_folder,), tiles=3)
    assert report(options).done == 1
    assert report(options).skipped == 1
    path = cluster_folder / "proportions.parquet"
    write_table(read_table(path).head(3), path, read_provenance(path))
    assert report(options).done == 1


def test_other_settings_need_overwrite(cluster_folder):
    report(ReportOptions(inputs=(cluster_folder,), tiles=3))
    with pytest.raises(OutputConflict, match="tiles was 3, is 4"):
        report(ReportOptions(inputs=(cluster_folder,), tiles=4))
    assert report(ReportOptions(inputs=(cluster_folder,), tiles=4, overwrite=True)).done == 1


def test_a_page_that_is_not_ours_is_kept(cluster_folder, tmp_path):
    page = tmp_path / "notes.html"
    page.write_text("<p>mine</p>")
    options = ReportOptions(inputs=(cluster_folder,), output=page, tiles=0)
    with pytest.raises(OutputConflict, match="not a page of Stroma"):
        report(options)
    assert page.read_text() == "<p>mine</p>"
    assert report(options.model_copy(update={"overwrite": True})).done == 1


def test_a_dry_run_writes_nothing(cluster_folder):
    before = sorted(cluster_folder.rglob("*"))
    result = report(ReportOptions(inputs=(cluster_folder,), dry_run=True))
    assert "clusters" in result.lines[0]
    assert sorted(cluster_folder.rglob("*")) == before


def test_wrong_inputs_are_named(tmp_path, cluster_folder):
    with pytest.raises(UsageError, match="neither a run folder"):
        report(ReportOptions(inputs=(tmp_path,)))
    with pytest.raises(MissingFile, match="no such folder"):
        report(ReportOptions(inputs=(tmp_path / "nowhere",)))
    with pytest.raises(UsageError, match="--output"):
        report(ReportOptions(inputs=(cluster_folder, cluster_folder)))


def test_the_command_writes_the_page_beside_the_run(cluster_folder, capsys):
    assert command(["report", str(cluster_folder), "--tiles", "2"]) == 0
    assert (cluster_folder / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out
