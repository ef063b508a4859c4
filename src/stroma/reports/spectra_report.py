"""The part of a report about a table of median spectra: spectra of labels, their parameters, how they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from stroma.core.errors import InvalidData
from stroma.core.provenance import InputRecord
from stroma.core.tables import read_provenance, read_table
from stroma.reports.figure import count
from stroma.reports.page import Report, ReportSection
from stroma.reports.parameter_values import parameter_figure, parameter_table, present_parameters
from stroma.reports.spectra import ClassSpectra, class_spectra, spectra_figure
from stroma.reports.spectra_label import GroupSpectra, counts_text, label_figure, label_groups, table_of_labels
from stroma.reports.spectra_views import discriminants, principal_components, view_figure
from stroma.spectra.medians import Spectrum
from stroma.study.labels import LabelMapping
from stroma.study.median_rows import TABLE_FORMAT

MEDIANS_FILE = "medians.parquet"
_NORMALISED: Spectrum = "median_normalized_spectrum"
_REFLECTANCE: Spectrum = "median_spectrum"


def medians_inputs(folder: Path) -> tuple[InputRecord, ...]:
    """The file that the part is made from."""
    return (InputRecord.of(MEDIANS_FILE, folder / MEDIANS_FILE),)


def medians_subtitle(folder: Path) -> str:
    """What the table is about, in a sentence."""
    rows = read_table(folder / MEDIANS_FILE, format=TABLE_FORMAT)
    columns = {"label": "label_name", "image": "image_id", "subject": "subject_id"}
    labels, images, subjects = (count(rows[column].n_unique(), noun) for noun, column in columns.items())
    return f"Median spectra of {labels} in {images} of {subjects}."


def add_medians(page: Report, folder: Path, *, group: str = "", by: str | None = None) -> None:
    """Add the sections about the table that `stroma medians` wrote into a folder.

    Figures are of one annotation; annotators are never merged.

    Args:
        page: The report.
        folder: With `medians.parquet`.
        group: Heading above the sections, where the page is about several things.
        by: Column whose values are drawn apart in the figures of labels.

    Raises:
        InvalidData: the table has no rows.
        UsageError: it has no column `by`, or that has too many values.
    """
    path = folder / MEDIANS_FILE
    table = read_table(path, format=TABLE_FORMAT)
    if table.is_empty():
        raise InvalidData("holds no median spectrum", where=path)
    settings = read_provenance(path).settings
    annotation, rows = _main_annotation(table)
    labels = _labels(settings.get("labels"), rows)
    nm = settings.get("wavelengths_nm") or None
    classes = class_spectra(rows, labels, _NORMALISED)
    page.card("Subjects", str(rows["subject_id"].n_unique()))
    page.card("Images", str(rows["image_id"].n_unique()))
    page.card("Labels", str(len(classes)), "with annotated pixels")
    section = page.section("Median spectra", group=group)
    section.text(
        f"Annotation {annotation}. In each image the median over the pixels of a label is taken channel by channel; "
        "then the mean over the images of a subject, then over subjects, so that every subject counts the same. "
        "Bands are one standard deviation over subjects."
    )
    for column, name in ((_NORMALISED, "spectra"), (_REFLECTANCE, "spectra-reflectance")):
        section.figure(
            spectra_figure(rows, labels, nm, column), name,
            caption=f"Median spectra of {count(len(classes), 'label')}"
            + (", each pixel divided by the sum of its values" if column == _NORMALISED else ""),
            reading="Thick line: mean over subjects. Band: one standard deviation over subjects. Thin lines: "
            "subjects. Grey: the other labels.",
        )  # fmt: skip
    _add_labels(page.section("Each label", group=group), label_groups(rows, labels, _NORMALISED, by), nm)
    _add_parameters(page.section("Tissue parameters", group=group), rows, labels, by)
    _add_views(page.section("How labels differ", group=group), classes, labels)
    page.section("Limits", group=group).limits(_limits(table, rows, annotation))


def _main_annotation(table: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """The annotation of most images, the first by name of several, and its rows with `label` for `label_name`."""
    named = table.with_columns(pl.concat_str("layer", "annotator", separator="#").alias("annotation"))
    counts = named.group_by("annotation").agg(pl.col("image_id").n_unique().alias("images"))
    chosen = str(counts.sort(["images", "annotation"], descending=[True, False])["annotation"][0])
    rows = named.filter(pl.col("annotation") == chosen).drop("annotation")
    return chosen.strip("#") or "of the files", rows.rename({"label_name": "label"})


def _labels(stored: object, rows: pl.DataFrame) -> LabelMapping:
    """The classes of the study, or of a table of htc in their order."""
    if isinstance(stored, dict):
        return LabelMapping.model_validate(stored)
    order = ["label_index"] if "label_index" in rows.columns else []
    return LabelMapping.of(rows.sort(*order, "label")["label"].unique(maintain_order=True))


def _add_labels(section: ReportSection, groups: dict[str, list[GroupSpectra]], nm: list[float] | None) -> None:
    section.text(
        "Each figure lies beside this page as PDF, SVG and PNG, of the width of one column of a journal (89 mm)."
    )
    for name, ones in groups.items():
        x = np.asarray(nm if nm else np.arange(len(ones[0].spectra.mean)), np.float64)
        section.figure(
            label_figure(ones, x, has_nm=bool(nm), column=_NORMALISED),
            f"label-{name}",
            caption=f"{name}; {counts_text(ones)}",
            pdf=True,
        )
    grouped = any(one.group for ones in groups.values() for one in ones)
    section.table(
        table_of_labels(groups), "labels", caption="Subjects and images of each label",
        headers={"label": "Label", **({"group": "Group"} if grouped else {}),
                 "n_subjects": "Subjects", "n_images": "Images"},
    )  # fmt: skip


def _add_parameters(section: ReportSection, rows: pl.DataFrame, labels: LabelMapping, by: str | None) -> None:
    if not present_parameters(rows):
        section.figure(None, "parameters", caption="", otherwise="The table has no tissue parameters.")
        return
    if "parameters" in rows.columns:
        section.text("Sources: " + "; ".join(rows["parameters"].drop_nulls().unique().sort().to_list()) + ".")
    section.figure(
        parameter_figure(rows, labels, by), "parameters",
        caption="Tissue parameters of each label, 0-1" + (f", by {by}" if by else ""),
        reading="Dots: subjects (mean over the medians of their images). Line and whisker: mean and one standard "
        "deviation over subjects.", pdf=True,
    )  # fmt: skip
    section.table(
        parameter_table(rows, labels, by), "parameters-mean", caption="Mean ± standard deviation over subjects",
        headers={"label": "Label", **({"group": by} if by else {}), "n_subjects": "Subjects",
                 **{name: name for name in present_parameters(rows)}},
    )  # fmt: skip


def _add_views(section: ReportSection, classes: list[ClassSpectra], labels: LabelMapping) -> None:
    section.figure(
        view_figure(principal_components(classes), labels), "principal-components",
        caption="Principal components of the L1-normalised spectra, one mark a label and subject",
        reading="Marks that lie close have spectra that resemble each other; labels were not used.",
        otherwise="Principal components need three spectra that differ.", pdf=True,
    )  # fmt: skip
    view = discriminants(classes)
    judged = (
        ""
        if view is None or view.accuracy is None
        else f" Of subjects that were left out, {100 * view.accuracy:.0f} % of the spectra are recognised "
        f"(mean over labels; chance: {100 / len(classes):.0f} %)."
    )
    section.figure(
        view_figure(view, labels), "discriminants",
        caption=f"Linear discriminants of the L1-normalised spectra, one mark a label and subject.{judged}",
        reading="The directions were chosen to separate these very marks: the picture flatters, the number does not.",
        otherwise="Discriminants need two labels, and a label in two subjects.", pdf=True,
    )  # fmt: skip


def _limits(table: pl.DataFrame, rows: pl.DataFrame, annotation: str) -> list[str]:
    limits = []
    subjects = rows["subject_id"].n_unique()
    if subjects == 1:
        limits.append("There is one subject: nothing can be said about the spread over subjects.")
    others = table.select(pl.concat_str("layer", "annotator", separator="#")).to_series().n_unique() - 1
    if others:
        limits.append(
            f"Figures are of the annotation {annotation}; the table has {others} more, which are not merged with it "
            "(stroma medians --annotator NAME makes a table of one)."
        )
    if "parameters" in rows.columns and rows["parameters"].drop_nulls().n_unique() > 1:
        limits.append("Tissue parameters come from several sources, which are not comparable.")
    if "parameters" in rows.columns and "formula" in " ".join(rows["parameters"].drop_nulls().unique()):
        limits.append(
            "Tissue parameters by published formulas rank tissue; their values are not those of the camera, and TWI "
            "and THI follow other components as well (docs/tissue-parameters.md)."
        )
    return limits
