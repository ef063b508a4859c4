"""The report about a table of median spectra: hierarchical means, views, figures per label, and few data."""

import numpy as np
import polars as pl
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from stroma.cli.main import run
from stroma.core.errors import InvalidData, UsageError
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.reports.page import Report
from stroma.reports.parameter_values import parameter_figure, parameter_table
from stroma.reports.report import ReportOptions, report
from stroma.reports.spectra import ClassSpectra
from stroma.reports.spectra_label import label_figure, label_groups
from stroma.reports.spectra_report import add_medians
from stroma.reports.spectra_views import discriminants, principal_components, subject_spectra, view_figure
from stroma.spectra.medians import SPECTRUM_COLUMNS, values_over_subjects
from stroma.study.labels import LabelMapping
from stroma.study.median_rows import TABLE_FORMAT, table_schema

NAMES = ("liver", "spleen", "small_bowel")
CHANNELS = 12


def rows(subjects=4, images=2, names=NAMES, annotators=("annotator1",), sto2=True):
    rng = np.random.default_rng(0)
    made = []
    for subject in range(subjects):
        for image in range(images):
            for annotator in annotators:
                for index, name in enumerate(names):
                    spectrum = np.sin(np.arange(CHANNELS) * (0.2 + 0.1 * index)) + 2 + rng.normal(0, 0.02, CHANNELS)
                    row = dict.fromkeys(table_schema(CHANNELS))
                    row |= dict.fromkeys(SPECTRUM_COLUMNS, (spectrum / spectrum.sum()).tolist())
                    row |= {"image_id": f"P{subject}#{image}", "subject_id": f"P{subject}", "layer": "polygon"}
                    row |= {"annotator": annotator, "label_index": index, "label_name": name}
                    row |= {"n_pixels": 10, "n_used": 10, "parameters": "StO2: published formula" if sto2 else None}
                    row["median_sto2"] = 0.4 + 0.1 * index + 0.01 * subject if sto2 else None
                    made.append(row)
    return pl.DataFrame(made, schema=table_schema(CHANNELS), orient="row")


def written(folder, table, **settings):
    known = {"wavelengths_nm": np.linspace(500, 1000, CHANNELS).tolist(), "labels": {"names": list(NAMES)}}
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table, folder / "medians.parquet", Provenance(TABLE_FORMAT, {**known, **settings}))
    return folder


def test_the_page_has_every_label_as_pdf_svg_and_png(tmp_path, capsys):
    folder = written(tmp_path / "Mediane ä #1", rows())
    assert run(["report", str(folder)]) == 0
    for name in NAMES:
        for suffix in ("pdf", "svg", "png"):
            assert (folder / "figures" / f"label-{name}.{suffix}").stat().st_size > 1000
    assert (folder / "figures" / "label-liver.pdf").read_bytes().startswith(b"%PDF")
    html = (folder / "report.html").read_text(encoding="utf-8")
    for text in (
        "Median spectra of 3 labels in 8 images of 4 subjects",
        "StO2: published formula",
        "label-liver.pdf",
    ):
        assert text in html


def test_the_same_spectra_give_the_same_pdf():
    pdfs = []
    for _ in range(2):
        table = rows().rename({"label_name": "label"})
        groups = label_groups(table, LabelMapping.of(NAMES), "median_spectrum", None)["spleen"]
        pdfs.append(label_figure(groups, np.linspace(500, 1000, CHANNELS), has_nm=True, column="x").pdf())
    assert pdfs[0] == pdfs[1] and pdfs[0].startswith(b"%PDF")


def test_values_become_subjects_first_so_that_many_images_do_not_count_more():
    table = pl.DataFrame(
        {
            "subject_id": ["a", "a", "a", "b", "b", "b"],
            "label": ["x", "x", "x", "x", "y", "y"],
            "value": [1.0, 1.0, 1.0, 3.0, 5.0, None],
        }
    )
    found = values_over_subjects(table, ["value"]).to_dicts()
    assert found == [
        {"label": "x", "column": "value", "n_subjects": 2, "mean": 2.0, "std": pytest.approx(np.sqrt(2))},
        {"label": "y", "column": "value", "n_subjects": 1, "mean": 5.0, "std": None},
    ]
    with pytest.raises(InvalidData, match="no column 'other'"):
        values_over_subjects(table, ["other"])


def test_the_table_of_parameters_says_mean_and_spread_over_subjects():
    table = rows(images=1).rename({"label_name": "label"})
    shown = parameter_table(table.reverse(), LabelMapping.of(NAMES))  # the order is that of the labels
    assert shown["label"].to_list() == list(NAMES)
    assert shown["StO2"].to_list() == ["0.415 ± 0.013", "0.515 ± 0.013", "0.615 ± 0.013"]
    round_mean = table.with_columns(median_sto2=pl.col("median_sto2") - 0.015)
    assert parameter_table(round_mean, LabelMapping.of(NAMES))["StO2"][0] == "0.400 ± 0.013"  # three digits, always
    assert shown["n_subjects"].to_list() == [4, 4, 4]
    assert shown.columns == ["label", "n_subjects", "StO2"]


def test_parameters_of_groups_stand_apart_and_are_not_averaged():
    """With perfused and ischaemic images of each subject, their mean would be the value of neither."""
    table = rows(subjects=3).rename({"label_name": "label"})
    state = pl.Series([("perfused", "ischaemic")[int(name[-1])] for name in table["image_id"]])
    table = table.with_columns(state=state, median_sto2=pl.col("median_sto2") - 0.2 * (state == "ischaemic"))
    shown = parameter_table(table, LabelMapping.of(NAMES), "state")
    assert shown.columns == ["label", "group", "n_subjects", "StO2"]
    assert shown.filter(label="liver").select("group", "StO2").rows() == [
        ("ischaemic", "0.210 ± 0.010"), ("perfused", "0.410 ± 0.010"),
    ]  # fmt: skip
    figure = parameter_figure(table, LabelMapping.of(NAMES), "state")
    assert figure.table.filter(label="spleen", group="perfused")["mean"].to_list() == [pytest.approx(0.51)]
    assert "ischaemic and perfused apart" in figure.text


def classes(labels=3, subjects=5, noise=0.02):
    rng = np.random.default_rng(3)
    means = rng.normal(size=(labels, CHANNELS))
    found = []
    for place, name in enumerate(NAMES[:labels]):
        spectra = {f"P{s}": means[place] + rng.normal(0, noise, CHANNELS) for s in range(subjects)}
        found.append(ClassSpectra(name, means[place], None, spectra, subjects))
    return found


def test_principal_components_are_the_eigenvectors_of_the_covariance():
    given = classes()
    view = principal_components(given)
    spectra, *_ = subject_spectra(given)
    centred = spectra - spectra.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    expected = centred @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(view.points.select("x", "y").to_numpy()), np.abs(expected), atol=1e-9)
    assert f"{100 * values[-1] / values.sum():.0f} %" in view.x_title


def test_discriminants_separate_labels_and_the_accuracy_is_of_left_out_subjects():
    view = discriminants(classes())
    assert view.accuracy == 1.0
    groups = [view.points.filter(pl.col("label") == name).select("x", "y").to_numpy() for name in NAMES]
    within = max(np.linalg.norm(g - g.mean(axis=0), axis=1).max() for g in groups)
    between = min(np.linalg.norm(a.mean(0) - b.mean(0)) for i, a in enumerate(groups) for b in groups[:i])
    assert between > 5 * within
    noise = discriminants(classes(noise=50))
    assert noise.accuracy < 0.8  # while the fit itself looks well separated
    spectra, labels, _ = subject_spectra(classes(noise=50))
    fitted = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(spectra, labels)
    assert fitted.score(spectra, labels) > noise.accuracy


@pytest.mark.parametrize("subjects", [(2, 2, 2), (2, 1, 1), (5, 1, 2), (1, 1, 4)])
def test_labels_of_one_or_two_subjects_among_more_bands_than_spectra_have_discriminants(subjects, recwarn):
    found = [
        ClassSpectra(one.name, one.mean, None, dict(list(one.subjects.items())[:count]), count)
        for one, count in zip(classes(), subjects, strict=True)
    ]
    view = discriminants(found)
    assert np.isfinite(view.points.select("x", "y").to_numpy()).all()
    assert not recwarn.list


def test_discriminants_of_many_spectra_are_those_of_scikit_learn():
    given = classes(subjects=400, noise=1.0)
    spectra, labels, _ = subject_spectra(given)
    expected = LinearDiscriminantAnalysis(solver="eigen").fit(spectra, labels).transform(spectra)
    found = discriminants(given).points.select("x", "y").to_numpy()
    for axis in range(2):  # with so many spectra, shrinkage is next to nothing
        assert abs(np.corrcoef(found[:, axis], expected[:, axis])[0, 1]) > 0.99


def test_two_labels_get_a_principal_component_beside_their_one_direction():
    view = discriminants(classes(labels=2))
    assert (view.x_title, view.y_title) == ("Discriminant 1", "Principal component 1")
    assert view_figure(view, LabelMapping.of(NAMES)).table.height == 10


def test_one_label_or_one_subject_has_no_discriminants_and_one_spectrum_no_components():
    assert discriminants(classes(labels=1)) is None
    assert discriminants(classes(subjects=1)) is None
    assert principal_components(classes(labels=2, subjects=1)) is None
    assert principal_components([]) is None
    assert view_figure(None, LabelMapping.of(NAMES)) is None


@pytest.mark.parametrize("names", [NAMES, NAMES[:1]])
def test_one_subject_gives_a_page_that_says_so(tmp_path, names):
    folder = written(tmp_path, rows(subjects=1, names=names, sto2=False))
    report(ReportOptions(inputs=(folder,)))
    html = (folder / "report.html").read_text(encoding="utf-8")
    for text in ("There is one subject", "no tissue parameters", "Discriminants need two labels"):
        assert text in html


def test_annotators_are_not_merged(tmp_path):
    table = pl.concat([rows(), rows(images=1, annotators=("annotator0",))])
    folder = written(tmp_path, table)
    page = Report("x")
    add_medians(page, folder)
    text = str(page.sections)
    assert "Figures are of the annotation polygon#annotator1; the table has 1 more" in text


def test_a_table_of_htc_without_labels_and_wavelengths_is_drawn(tmp_path):
    folder = written(tmp_path, rows(names=NAMES[:1]), labels=None, wavelengths_nm=None)
    report(ReportOptions(inputs=(folder,)))
    assert (folder / "tables" / "label-liver.csv").read_text().startswith("label,channel,mean")


def test_groups_are_drawn_apart_and_their_numbers_written(tmp_path):
    table = rows().with_columns(
        pl.when(pl.col("image_id").str.ends_with("#0"))
        .then(pl.lit("perfused"))
        .otherwise(pl.lit("ischaemic"))
        .alias("s"),
        pl.col("image_id").hash(0).alias("many"),
    )
    table = table.filter(pl.col("label_name") == "liver")
    folder = written(tmp_path, table)
    report(ReportOptions(inputs=(folder,), by="s"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<th scope="col">s</th>' in page  # the table of parameters names the group of a row
    numbers = pl.read_csv(folder / "tables" / "label-liver.csv")
    assert numbers.columns[:3] == ["label", "group", "wavelength_nm"]
    assert set(numbers["group"]) == {"perfused", "ischaemic"} and set(numbers["n_images"]) == {4}
    mine = table.filter((pl.col("s") == "perfused") & (pl.col("label_name") == "liver"))
    expected = np.mean(np.stack(mine["median_normalized_spectrum"].to_list()), axis=0)
    np.testing.assert_allclose(numbers.filter(pl.col("group") == "perfused")["mean"], expected, rtol=1e-5)
    with pytest.raises(UsageError, match="no column 'perfusion'"):
        report(ReportOptions(inputs=(folder,), by="perfusion", overwrite=True))
    with pytest.raises(UsageError, match="has 8 values, where 1 to 6"):
        report(ReportOptions(inputs=(folder,), by="many", overwrite=True))
    with pytest.raises(UsageError, match="one value a row"):
        report(ReportOptions(inputs=(folder,), by="median_spectrum", overwrite=True))


def test_an_empty_table_is_named(tmp_path):
    folder = written(tmp_path, rows().head(0))
    with pytest.raises(InvalidData, match="holds no median spectrum"):
        report(ReportOptions(inputs=(folder,)))
