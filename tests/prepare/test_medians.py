"""`stroma medians`: rows, their metadata, what is left out, and tables for htc and from it."""

import json
import shutil

import numpy as np
import PIL.Image
import polars as pl
import pytest

import stroma
from stroma.cli.main import run
from stroma.core.errors import InvalidData, OutputConflict, UsageError
from stroma.core.tables import read_provenance
from stroma.images.tivita import read_cube, write_cube
from stroma.phantom.hsi import PhantomHsiOptions, phantom_hsi
from stroma.prepare.gather import gather_tables
from stroma.prepare.index import InitOptions, init
from stroma.prepare.medians import MediansOptions, medians
from stroma.spectra.parameters import compute_parameter
from stroma.study.htc.median_tables import read_htc_medians
from stroma.study.median_rows import table_schema
from tests.tiny import cube_study, picture_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A phantom of two subjects in pairs of images, and its medians."""
    folder = tmp_path_factory.mktemp("Mediane ä #1")
    options = PhantomHsiOptions(output=folder / "phantom", subjects=2, images=2, height=72, width=96, ischaemia=0.25)
    phantom_hsi(options)
    init(InitOptions(folder=folder / "phantom", output=folder / "study.yaml"))
    medians(MediansOptions(inputs=(folder,), output=folder / "out", htc=True))
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return pl.read_parquet(folder / "out" / "medians.parquet")


def test_there_is_a_row_for_each_image_annotation_and_label(folder, table):
    study = stroma.open_study(folder)
    expected = {
        (image_id, mask.annotator, study.labels.names[index])
        for image_id in study
        for mask in study[image_id].masks().values()
        for index in np.unique(mask.labels[mask.labels < 255])
    }
    assert set(table.select("image_id", "annotator", "label_name").iter_rows()) == expected
    assert {"annotator1", "annotator2"} == set(table["annotator"])
    assert len(table) == len(expected)


def test_columns_are_those_of_htc_and_the_metadata_of_label_image_and_study(table):
    start = table_schema(100)
    assert dict(list(table.schema.items())[: len(start)]) == start
    assert set(table["perfusion_state"]) == {"perfused", "ischaemic"}
    assert table["situs"].to_list() == [1] * len(table)
    assert {"camera", "Camera_CamID", "timestamp", "path", "image_labels"} <= set(table.columns)
    assert len(set(table.columns)) == len(table.columns)


def test_values_are_those_of_the_pixels(folder, table):
    study = stroma.open_study(folder)
    row = table.filter(pl.col("label_name") == "spleen").row(0, named=True)
    recording = study[row["image_id"]]
    mask = recording.mask(row["annotator"]).labels == study.labels.index("spleen")
    pixels = recording.cube()[mask].astype(np.float64)
    assert row["n_pixels"] == row["n_used"] == mask.sum()
    np.testing.assert_allclose(row["median_spectrum"], np.quantile(pixels, 0.5, axis=0), rtol=1e-5)
    np.testing.assert_allclose(row["std_spectrum"], pixels.std(axis=0, ddof=1), rtol=1e-4)
    normal = pixels / np.abs(pixels).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(row["median_normalized_spectrum"], np.median(normal, axis=0), rtol=1e-5)
    sto2 = compute_parameter("StO2", pixels, recording.wavelengths_nm)
    assert row["median_sto2"] == pytest.approx(np.nanmedian(sto2), abs=1e-5)
    assert row["std_sto2"] == pytest.approx(np.nanstd(sto2), abs=1e-5)
    assert row["median_tli"] is None
    assert row["parameters"] == "StO2, NIR, THI, TWI: published formula; WaterBand: own formula"


def test_less_oxygen_was_planted_and_is_found(table):
    by_state = table.group_by("subject_id", "label_name", "perfusion_state").agg(pl.col("median_sto2").mean())
    wide = by_state.pivot("perfusion_state", index=["subject_id", "label_name"], values="median_sto2").drop_nulls()
    assert (wide["perfused"] > wide["ischaemic"]).mean() > 0.9


def test_run_again_nothing_is_made_and_the_bytes_stay(folder):
    before = (folder / "out" / "medians.parquet").read_bytes()
    result = medians(MediansOptions(inputs=(folder / "study.yaml",), output=folder / "out"))
    assert (result.done, result.skipped) == (0, 4)
    assert (folder / "out" / "medians.parquet").read_bytes() == before
    with pytest.raises(OutputConflict, match=r"parameters was \"auto\", is \"none\""):
        medians(MediansOptions(inputs=(folder,), output=folder / "out", parameters="none"))


def test_a_label_that_is_annotated_without_a_measured_pixel_is_named(tmp_path):
    phantom_hsi(PhantomHsiOptions(output=tmp_path / "phantom", subjects=2, images=1, height=72, width=96))
    first = sorted((tmp_path / "phantom").rglob("*#spleen#binary.png"))[0]
    PIL.Image.fromarray(np.zeros((72, 96), bool)).save(first)
    init(InitOptions(folder=tmp_path / "phantom", output=tmp_path / "study.yaml"))
    result = medians(MediansOptions(inputs=(tmp_path,), output=tmp_path / "out", annotator="annotator1"))
    (line,) = [line for line in result.lines if line.startswith("annotated, but")]
    assert line.endswith("this label alone: spleen of P001#2024_01_01_08_00_00 (annotator1)")


def test_two_processes_give_the_same_bytes(folder, tmp_path):
    medians(MediansOptions(inputs=(folder,), output=tmp_path, workers=2))
    assert (tmp_path / "medians.parquet").read_bytes() == (folder / "out" / "medians.parquet").read_bytes()


def test_htc_gets_a_file_for_each_annotation_and_what_it_wrote_is_read(folder, table, tmp_path):
    paths = sorted((folder / "out" / "tables").iterdir())
    assert [path.name.split("@", 1)[1] for path in paths] == [
        "median_spectra@polygon#annotator1.feather",
        "median_spectra@polygon#annotator2.feather",
    ]
    written = pl.read_ipc(paths[0].read_bytes())
    assert written.columns[:10] == [
        "image_name", "subject_name", "timestamp", "label_index", "label_name", "median_spectrum", "std_spectrum",
        "median_normalized_spectrum", "std_normalized_spectrum", "n_pixels",
    ]  # fmt: skip
    assert written["label_index"].is_sorted() and written["median_spectrum"].dtype == pl.List(pl.Float32)
    medians(MediansOptions(inputs=tuple(paths), output=tmp_path))
    again = pl.read_parquet(tmp_path / "medians.parquet")
    keys = [
        "image_id",
        "subject_id",
        "layer",
        "annotator",
        "label_name",
        "n_pixels",
        "median_spectrum",
        "median_sto2",
    ]
    order = ["annotator", "label_name", "image_id"]
    assert again.select(keys).sort(order).equals(table.select(keys).sort(order))
    with pytest.raises(OutputConflict, match="holds a table"):
        medians(MediansOptions(inputs=tuple(paths), output=tmp_path))


def test_what_is_no_table_of_htc_is_named(folder, tmp_path):
    wrong = tmp_path / "x@median_spectra@polygon#a.feather"
    wrong.write_bytes(b"nothing")
    with pytest.raises(InvalidData, match="no readable Feather file"):
        read_htc_medians(wrong)
    pl.DataFrame({"image_name": ["a"]}).write_ipc(wrong)
    with pytest.raises(InvalidData, match="no column 'label_name'"):
        read_htc_medians(wrong)
    other = shutil.copy(next((folder / "out" / "tables").iterdir()), tmp_path / "table.feather")
    with pytest.raises(InvalidData, match="is not named"):
        read_htc_medians(tmp_path / other)


def tampered(tmp_path, change):
    """A study of four cubes of ten bands, one of which was changed."""
    path = cube_study(tmp_path)
    study = stroma.open_study(path)
    cube_path = study.image_path(next(iter(study)))
    write_cube(cube_path, change(read_cube(cube_path)))
    return path


def test_pixels_that_were_not_measured_are_left_out_and_counted(tmp_path):
    def change(cube):
        cube[:10] = 0
        cube[10, :, 3] = np.nan
        return cube

    result = medians(MediansOptions(inputs=(tampered(tmp_path, change),), output=tmp_path / "out"))
    table = pl.read_parquet(tmp_path / "out" / "medians.parquet")
    lost = (table["n_pixels"] - table["n_used"]).to_list()
    assert sum(lost) == 11 * 32 and lost[3:] == [0] * (len(lost) - 3)
    assert np.isfinite(np.stack(table["median_spectrum"].to_list())).all()
    assert f"annotated pixels left out, not measured or highlights: {sum(lost)}" in result.lines
    assert np.isfinite(np.stack(table["std_normalized_spectrum"].to_list())).all()


def test_an_image_without_a_measured_pixel_fails_and_the_others_do_not(tmp_path):
    path = tampered(tmp_path, np.zeros_like)
    result = medians(MediansOptions(inputs=(path,), output=tmp_path / "out"))
    assert (result.done, len(result.failed), result.exit_code) == (3, 1, 3)
    assert "no annotated pixel that was measured" in result.failed[0].message
    assert pl.read_parquet(tmp_path / "out" / "medians.parquet")["image_id"].n_unique() == 3


def test_bands_that_cover_no_curvature_leave_the_parameter_empty(tmp_path):
    path = cube_study(tmp_path)
    medians(MediansOptions(inputs=(path,), output=tmp_path / "out"))
    table = pl.read_parquet(tmp_path / "out" / "medians.parquet")
    assert table["median_sto2"].null_count() == len(table) and "StO2" not in (table["parameters"][0] or "")


def test_a_label_without_pixels_is_named(tmp_path):
    path = cube_study(tmp_path)
    path.write_text(path.read_text().replace("names:\n", "names:\n  - violet\n", 1))
    result = medians(MediansOptions(inputs=(path,), output=tmp_path / "out"))
    assert "labels without a pixel: violet" in result.lines


def test_cubes_of_other_bands_in_one_study_are_named(tmp_path):
    path = tampered(tmp_path, lambda cube: cube[:, :, :8])
    with pytest.raises(InvalidData, match=r"has 10 bands, '.*' has 8 others"):
        medians(MediansOptions(inputs=(path,), output=tmp_path / "out"))


def test_highlights_are_left_out_when_asked_for(folder, tmp_path):
    result = medians(MediansOptions(inputs=(folder,), output=tmp_path, highlights_above=0.2, parameters="none"))
    table = pl.read_parquet(tmp_path / "medians.parquet")
    assert (table["n_used"] < table["n_pixels"]).any() and (table["n_used"] <= table["n_pixels"]).all()
    assert table["parameters"].null_count() == len(table)
    assert any("highlights" in line for line in result.lines)


def test_pictures_unknown_annotators_and_unknown_sources_are_refused(tmp_path, folder):
    with pytest.raises(UsageError, match="no annotator .nobody"):
        medians(MediansOptions(inputs=(folder,), output=tmp_path, annotator="nobody"))
    with pytest.raises(UsageError, match="no source 'vendr'"):
        medians(MediansOptions(inputs=(folder,), output=tmp_path / "out", parameters="vendr"))
    result = medians(MediansOptions(inputs=(picture_study(tmp_path / "p"),), output=tmp_path / "q"))
    assert result.exit_code == 1 and "has no wavelengths" in result.failed[0].message


def test_the_table_says_with_which_settings_and_bands_it_was_made(folder, tmp_path, capsys):
    settings = read_provenance(folder / "out" / "medians.parquet").settings
    assert settings["constants"]["sto2_r2"] == 0.15 and len(settings["wavelengths_nm"]) == 100
    arguments = ["medians", str(folder), "-o", str(tmp_path), "--annotator", "annotator1", "--json"]
    assert run([*arguments, "--set", "constants.sto2_r2=0.3"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    table = pl.read_parquet(tmp_path / "medians.parquet")
    assert set(table["annotator"]) == {"annotator1"}
    other = pl.read_parquet(folder / "out" / "medians.parquet").filter(pl.col("annotator") == "annotator1")
    assert (table["median_sto2"] > other["median_sto2"]).all()


def test_a_condition_chooses_images_and_annotations(folder, tmp_path):
    where = "perfusion_state = 'perfused' AND annotator = 'annotator2'"
    medians(MediansOptions(inputs=(folder,), output=tmp_path, where=where, parameters="none"))
    table = pl.read_parquet(tmp_path / "medians.parquet")
    assert set(table.select("perfusion_state", "annotator").iter_rows()) == {("perfused", "annotator2")}


def test_tables_of_other_columns_go_below_each_other(tmp_path):
    tables = [
        pl.DataFrame({"id": ["a"], "angle": [90], "site": [1]}),
        pl.DataFrame({"id": ["b"], "angle": [22.5], "note": ["x"], "site": ["left"]}),
    ]
    for number, table in enumerate(tables):
        table.write_parquet(tmp_path / f"{number}.parquet")
    (tmp_path / "batches").mkdir()
    result = gather_tables([tmp_path / "0.parquet", tmp_path / "1.parquet"], tmp_path / "batches").collect()
    assert result.to_dict(as_series=False) == {
        "id": ["a", "b"],
        "angle": [90.0, 22.5],
        "site": ["1", "left"],
        "note": [None, "x"],
    }
    pl.DataFrame({"id": [["a"]]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(InvalidData, match="in the column 'id'"):
        gather_tables([tmp_path / "0.parquet", tmp_path / "2.parquet"], tmp_path)
