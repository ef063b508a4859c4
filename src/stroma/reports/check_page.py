"""The page of `stroma check`: what was found, with small pictures of the images it was found in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image as Picture

from stroma.core.errors import StromaError
from stroma.core.files import id_to_name
from stroma.core.provenance import Provenance
from stroma.core.tables import read_provenance, read_table
from stroma.core.verbs import VerbResult
from stroma.prepare.check import FINDINGS_FILE, IMAGES_FILE, LABELS_FILE, CheckOptions, check
from stroma.prepare.check_across import MPP_TOLERANCE, OUTLIER_Z, class_counts
from stroma.prepare.check_image import CHECKS_FORMAT, FACTS_FORMAT
from stroma.reports.check_colours import colours_figure
from stroma.reports.figure import count
from stroma.reports.page import REPORT_FORMAT, Report
from stroma.reports.thumbnails import Thumbnail, thumbnails_figure
from stroma.study.study import Study, open_study

PAGE_FILE = "report.html"
_MOST_PICTURES = 64
_FRAMES = {"error": "#c62828", "warning": "#e08a00", "": ""}
_ABOUT = {
    "listing": "a file that was left out of the study, or an object with an odd outline",
    "unreadable": "the file cannot be read",
    "open": "the file cannot be opened",
    "shape": "another size than the data set says",
    "size": "another size than most images",
    "channels": "other channels than most images",
    "type": "values of another type than most images",
    "not_finite": "values that are no numbers",
    "zero_pixel": "pixels that are 0 in all channels",
    "zero_value": "single values of 0",
    "negative_pixel": "pixels below 0 in all channels",
    "all_negative": "a cube that is no reflectance",
    "blank": "nothing to see",
    "picture": "the camera's picture is missing or does not fit",
    "camera": "the camera is unknown",
    "meta": "a meta file that cannot be read",
    "mask": "a mask that contradicts its image or the labels",
    "overlap": "several labels for one pixel",
    "label": "a label that the study does not know",
    "labels": "labels that contradict each other",
    "duplicate": "the same pixels twice",
    "lookalike": "nearly the same picture under another subject",
    "mpp": "another pixel size than most images",
    "colour": "unusual colours",
    "class": "a class that cannot be learned or judged everywhere",
    "splits": "the images cannot be divided",
    "subjects": "nobody says whose the images are",
    "identifiers": "where names of patients may lie",
}


def check_study(options: CheckOptions) -> VerbResult:
    """Run `check`, and write its page where an output folder was given."""
    result = check(options)
    if options.output is None or options.dry_run:
        return result
    page = write_check_page(options.output, open_study(options.study))
    return replace(result, output=page)


check_study.__doc__ = check.__doc__


def write_check_page(folder: Path, study: Study) -> Path:
    """Write `report.html` beside the tables of `stroma check`.

    Args:
        folder: Its output folder.
        study: The study that was checked.

    Returns:
        The page. It shows pictures of the images that something was found in, else of the first ones, 64 at most.
    """
    findings = read_table(folder / FINDINGS_FILE, format=CHECKS_FORMAT)
    images = read_table(folder / IMAGES_FILE, format=FACTS_FORMAT)
    labels = read_table(folder / LABELS_FILE)
    settings = dict(read_provenance(folder / FINDINGS_FILE).settings)
    report = Report(
        f"Check: {study.name}",
        subtitle="Every image and annotation of the study was opened; nothing was changed.",
        provenance=Provenance(REPORT_FORMAT, settings),
    )
    _add_cards(report, findings, images, study)
    _add_summary(report, findings)
    _add_pictures(report, findings, images, folder)
    for severity, title in (("error", "Errors"), ("warning", "Warnings")):
        _add_findings(report, findings.filter(pl.col("severity") == severity), title)
    _add_colours(report, findings, images)
    _add_classes(report, labels, study)
    _add_identifiers(report, findings)
    return report.write(folder / PAGE_FILE)[-1]


def _add_cards(report: Report, findings: pl.DataFrame, images: pl.DataFrame, study: Study) -> None:
    images_with = pl.col("image_id").filter(pl.col("image_id") != "").n_unique()
    found = findings.group_by("severity").agg(pl.len(), images_with)
    counts = {severity: (number, of) for severity, number, of in found.iter_rows()}
    report.card("images", f"{len(images):,}")
    known = study.subject_known
    subjects = f"{images['subject_id'].n_unique():,}" if known else "unknown"
    report.card("subjects", subjects, "" if known else "each image counts as one")
    for severity, label in (("error", "errors"), ("warning", "warnings")):
        number, of = counts.get(severity, (0, 0))
        report.card(label, f"{number:,}", f"in {count(of, 'image')}" if of else "")
    report.card("places with identifiers", f"{counts.get('identifier', (0, 0))[0]:,}")


def _add_summary(report: Report, findings: pl.DataFrame) -> None:
    order = pl.col("severity").replace_strict({"error": 0, "identifier": 1, "warning": 2}, return_dtype=pl.Int64)
    kinds = (
        findings.group_by("severity", "check")
        .agg(findings=pl.len(), images=pl.col("image_id").filter(pl.col("image_id") != "").n_unique())
        .sort(order, "check")
        .with_columns(about=pl.col("check").replace_strict(_ABOUT, default="", return_dtype=pl.String))
    )
    headers = {"severity": "", "about": "what", "findings": "findings", "images": "images", "check": "check"}
    report.section("What was found").table(
        kinds, "kinds", caption="Kinds of findings.", headers=headers, otherwise="Nothing is wrong with this study."
    )


def _add_pictures(report: Report, findings: pl.DataFrame, images: pl.DataFrame, folder: Path) -> None:
    told: dict[str, list[tuple[str, str]]] = {}
    for image_id, severity, text in findings.select("image_id", "severity", "message").iter_rows():
        told.setdefault(image_id, []).append((severity, text))
    worst = {name: min(found)[0] for name, found in told.items() if name}
    ids = sorted(images["image_id"].to_list(), key=lambda name: (worst.get(name, "x"), name))
    shown = list[Thumbnail]()
    for image_id in ids:
        path = folder / "thumbnails" / f"{id_to_name(image_id)}.jpg"
        if len(shown) == _MOST_PICTURES or not path.is_file():
            continue
        with Picture.open(path) as stored:
            picture = np.asarray(stored.convert("RGB"))
        notes = [text for _, text in sorted(told.get(image_id, []))[:3]]
        shown.append(Thumbnail(picture, image_id, "; ".join(notes), _FRAMES[worst.get(image_id, "")]))
    report.section("Pictures").figure(
        thumbnails_figure(shown),
        "pictures",
        caption=f"{count(len(shown), 'image')} of {len(images):,}.",
        reading="Images with errors come first, framed in red, then those with warnings, in orange.",
        otherwise="No image of this study has colours to show.",
    )


def _add_findings(report: Report, findings: pl.DataFrame, title: str) -> None:
    where = pl.when(pl.col("image_id") == "").then("path").otherwise("image_id")
    headers = {"where": "image or file", "message": "what is wrong"}
    report.section(title).table(
        findings.sort("check", "image_id", "path").with_columns(where=where),
        title.lower(),
        caption=f"{title}, by kind.",
        headers=headers,
        rows=200,
        otherwise=f"There are no {title.lower()}.",
    )


def _add_colours(report: Report, findings: pl.DataFrame, images: pl.DataFrame) -> None:
    unusual = set(findings.filter(pl.col("check") == "colour")["image_id"])
    section = report.section("Colours and scales")
    section.figure(
        colours_figure(images, unusual),
        "colours",
        caption=f"Mean colour of {len(images):,} images, on slides of their tissue.",
        reading="Each dot is an image in its own mean colour. A ring marks one whose mean or contrast lies more than "
        f"{OUTLIER_Z:g} modified z-scores from the median of all images (of its class, where images have one).",
        otherwise="Fewer than two images have colours.",
    )
    scales = images.group_by(pl.col("mpp").round_sig_figs(4), "height", "width", "channels").agg(images=pl.len())
    section.table(
        scales.sort("images", "mpp", "height", "width", descending=[True, False, False, False]),
        "scales",
        caption=f"Pixel sizes in µm and sizes in pixels. Pixels that differ by more than {MPP_TOLERANCE:.0%} from "
        "the median are a warning.",
        rows=20,
    )


def _add_classes(report: Report, labels: pl.DataFrame, study: Study) -> None:
    section = report.section("Classes and folds")
    if study.config.labels is None or labels.is_empty():
        section.text("The study has no labels, or no image is annotated.")
        return
    try:
        section.table(class_counts(labels, study), "classes", caption="Images with each class.", rows=200)
    except StromaError as error:
        section.text(f"The images cannot be divided: {error.what}")


def _add_identifiers(report: Report, findings: pl.DataFrame) -> None:
    section = report.section("Where identifiers lie")
    section.text(
        "Files that may hold names of patients, birth dates or numbers of admissions. Their content is never shown "
        "here, and never reaches tables, reports or exports."
    )
    section.table(
        findings.filter(pl.col("severity") == "identifier").sort("path"),
        "identifiers",
        caption="Places with identifiers.",
        headers={"path": "file", "message": "what lies there"},
        rows=100,
        otherwise="No file that may hold identifiers was found.",
    )
