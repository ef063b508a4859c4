"""The report of a run: scores, confusions, pictures, spectra, learning curves, and what they do not show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stroma.core.clock import stage
from stroma.core.errors import StromaError
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_table, require_columns
from stroma.evaluation.schema import CONFUSION_SCHEMA, SCORES_SCHEMA
from stroma.reports.confusion import confusion_figure
from stroma.reports.figure import count
from stroma.reports.learning import learning_figure
from stroma.reports.overlays import overlay_figure
from stroma.reports.page import REPORT_FORMAT, Report, ReportSection
from stroma.reports.run_limits import run_limits
from stroma.reports.run_pictures import overlay_items, pictured_images
from stroma.reports.run_text import (
    CONFUSION_READING,
    OVERLAY_READING,
    SCORES_READING,
    SPECTRA_READING,
    headline_card,
    learning_caption,
    scores_caption,
    scores_text,
    set_noun,
)
from stroma.reports.scores import MEAN, metric_title, scores_figure
from stroma.reports.spectra import spectra_figure
from stroma.runs.run import Run

_ROWS_PER_FIGURE = 4
_INPUTS = (
    "run.json",
    "labels.yaml",
    "splits.parquet",
    "folds/*/metrics.parquet",
    "folds/*/card.json",
    "tables/*/*.parquet",
    "predictions/*/predictions.parquet",
)
_KINDS = ("metric", "annotator", "convention")
"""Scores that differ in one of these are never drawn together."""
_HEADLINE_ORDER = ("test", "validation")


@dataclass(frozen=True)
class EvaluatedSet:
    """The tables of one evaluated set of a run.

    Attributes:
        name: `test`, `validation` or the name of an extra set.
        folder: `tables/<name>`.
        scores: `SCORES_SCHEMA`.
        confusion: `CONFUSION_SCHEMA`, None where it was not written.
        medians: Median spectra, None for images without wavelengths.
    """

    name: str
    folder: Path
    scores: pl.DataFrame
    confusion: pl.DataFrame | None
    medians: pl.DataFrame | None


def run_report(run_folder: Path | str, *, images: int = 8) -> Path:
    """Write `report.html` into a run folder, with `figures/` and `tables/*.csv` beside it.

    Args:
        run_folder: A run folder; what is not there yet (predictions, scores, the study) is left out, and said.
        images: How many images to show with their predictions.

    Returns:
        The page.

    Raises:
        MissingFile: it is no run folder.
        InvalidData: a table is damaged.
    """
    folder = Path(run_folder)
    provenance = Provenance(REPORT_FORMAT, {"images": images}, run_inputs(folder))
    report = Report(
        f"Report: {folder.resolve().name}", subtitle=run_subtitle(Run.open(folder)), provenance=provenance
    )
    add_run(report, folder, images=images)
    return report.write(folder / "report.html")[-1]


def run_inputs(folder: Path) -> tuple[InputRecord, ...]:
    """The files of a run that its report is made from, as records for provenance."""
    paths = sorted(path for pattern in _INPUTS for path in folder.glob(pattern))
    return tuple(InputRecord.of(f"{folder.resolve().name}/{p.relative_to(folder).as_posix()}", p) for p in paths)


def run_subtitle(run: Run) -> str:
    """One sentence: model, input, classes, folds."""
    config = run.config
    picture = "RGB pictures" if config.input.modality == "rgb" else "the stored images"
    return (
        f"{config.model.name} trained to {config.task.name} {picture} into "
        f"{count(len(run.labels), 'class', 'classes')}, {count(len(run.folds), 'fold')}."
    )


def add_run(report: Report, folder: Path, *, group: str = "", images: int = 8) -> None:
    """Add a run to a report.

    Args:
        report: The report.
        folder: The run folder.
        group: Its name where the page shows several things.
        images: How many images to show with their predictions.
    """
    run = Run.open(folder)
    sets = evaluated_sets(run)
    headline_card(report, run, sets[0] if sets else None, group)
    if not sets:
        section = report.section("Scores", group=group)
        section.figure(
            None, "", caption="", otherwise="Nothing has been evaluated yet: stroma predict, then stroma evaluate."
        )
    notes: list[str] = []
    for entry in sets:
        section = report.section(set_noun(entry.name).capitalize(), group=group)
        _add_scores(section, run, entry, explain=entry is sets[0])
        if entry.confusion is not None:
            _add_confusion(section, run, entry, entry.confusion)
        if entry is sets[0]:
            notes = _add_pictures(section, run, entry, images)
            if entry.medians is not None:
                _add_spectra(section, run, entry, entry.medians)
    _add_learning(report, run, group)
    _add_making(report, run, group)
    report.section("Limits", group=group).limits([*run_limits(run, sets), *notes])


def _counts(table: pl.DataFrame) -> str:
    """`5 subjects, 31 images`."""
    return f"{count(table['subject_id'].n_unique(), 'subject')}, {count(table['image_id'].n_unique(), 'image')}"


def evaluated_sets(run: Run) -> list[EvaluatedSet]:
    """The evaluated sets: test, validation, then others by name; the first one is the headline."""
    paths = sorted((run.folder / "tables").glob("*/scores.parquet"))
    rank = {name: place for place, name in enumerate(_HEADLINE_ORDER)}
    paths.sort(key=lambda path: (rank.get(path.parent.name, len(rank)), path.parent.name))
    return [_read_set(path.parent) for path in paths]


def _read_set(folder: Path) -> EvaluatedSet:
    with stage("read"):
        scores = read_table(folder / "scores.parquet")
        require_columns(scores, list(SCORES_SCHEMA), where=folder / "scores.parquet")
        confusion, medians = (
            read_table(folder / name) if (folder / name).is_file() else None
            for name in ("confusion.parquet", "medians.parquet")
        )
    if confusion is not None:
        require_columns(confusion, list(CONFUSION_SCHEMA), where=folder / "confusion.parquet")
    return EvaluatedSet(folder.name, folder, scores, confusion, medians)


def _add_scores(section: ReportSection, run: Run, entry: EvaluatedSet, *, explain: bool) -> None:
    section.heading("Scores")
    for (metric, annotator, _), mine in entry.scores.sort(_KINDS, maintain_order=True).group_by(
        _KINDS, maintain_order=True
    ):
        section.text(*scores_text(metric, mine, explain=explain))
        section.figure(
            scores_figure(mine, run.labels, metric),
            f"scores-{metric}-{entry.name}",
            caption=scores_caption(entry.name, metric, annotator, mine),
            reading=SCORES_READING,
            otherwise=f"No {metric_title(metric)} could be computed on the {set_noun(entry.name)}.",
        )
        order = pl.Enum([MEAN, *run.labels.names])
        table = mine.filter(pl.col("scope") == "set").with_columns(pl.col("label").fill_null(MEAN))
        table = table.sort(pl.col("label").cast(order))
        section.table(
            table,
            f"scores-{metric}-{entry.name}-table",
            caption=f"{metric_title(metric)} per class: mean over subjects and limits of its 95 % interval.",
            headers={
                "label": "Class",
                "value": metric_title(metric),
                "low": "95 % from",
                "high": "to",
                "n_subjects": "Subjects",
                "n_images": "Images",
            },
        )


def _add_confusion(section: ReportSection, run: Run, entry: EvaluatedSet, table: pl.DataFrame) -> None:
    section.heading("Confusions")
    section.figure(
        confusion_figure(table, run.labels),
        f"confusion-{entry.name}",
        caption=f"What the annotated pixels of each class were predicted as ({_counts(table)}).",
        reading=CONFUSION_READING,
        otherwise=f"No annotated pixel was counted on the {set_noun(entry.name)}.",
    )


def _add_pictures(section: ReportSection, run: Run, entry: EvaluatedSet, images: int) -> list[str]:
    """Add overlays of some images and return what could not be shown."""
    if images == 0:
        return []
    section.heading("Pictures")
    chosen = pictured_images(entry.scores, images)
    items, notes = overlay_items(run, entry.name, entry.scores, chosen)
    total = entry.scores.filter(pl.col("scope") == "image")["image_id"].n_unique()
    starts = range(0, max(1, len(items)), _ROWS_PER_FIGURE)
    for number, start in enumerate(starts, 1):
        part = f" (part {number} of {len(starts)})" if len(starts) > 1 else ""
        section.figure(
            overlay_figure(items[start : start + _ROWS_PER_FIGURE], run.labels),
            f"pictures-{entry.name}-{number}",
            caption=f"{len(items)} of {count(total, 'image')}, from the worst to the best by mean score{part}.",
            reading=OVERLAY_READING if number == 1 else "",
            otherwise="No picture can be shown: neither predictions nor their images were found.",
        )
    return notes


def _add_spectra(section: ReportSection, run: Run, entry: EvaluatedSet, medians: pl.DataFrame) -> None:
    section.heading("Spectra of the references")
    wavelengths = next((card.wavelengths_nm for card in map(run.card, run.folds) if card.wavelengths_nm), None)
    for annotator in medians["annotator"].unique().sort().to_list():
        mine = medians.filter(pl.col("annotator").eq_missing(annotator))
        by = f", annotated by {annotator}" if annotator else ""
        section.figure(
            spectra_figure(mine, run.labels, wavelengths),
            f"spectra-{entry.name}",
            caption=f"Median spectra of the annotated regions of each class ({_counts(mine)}{by}).",
            reading=SPECTRA_READING,
            otherwise="There are no median spectra of this run's classes.",
        )


def _add_learning(report: Report, run: Run, group: str) -> None:
    paths = [run.fold_folder(fold) / "metrics.parquet" for fold in run.folds]
    tables = [read_table(path) for path in paths if path.is_file()]
    section = report.section("Learning", group=group)
    metrics = pl.concat(tables) if tables else pl.DataFrame()
    section.figure(
        learning_figure(metrics) if tables else None,
        "learning",
        caption=learning_caption(run, metrics) if tables else "",
        reading="One line a fold. Circles mark the highest validation score of each fold. Folds have their own "
        "colours, which do not stand for classes.",
        otherwise="No fold has been trained completely, so there are no learning curves.",
    )


def _add_making(report: Report, run: Run, group: str) -> None:
    section = report.section("How it was made", group=group)
    section.table(
        _split_table(run),
        "splits",
        caption="Images of each fold by role. No subject has two roles in a fold, but for extra sets.",
        headers={"fold": "Fold", "role": "Role", "set": "Set", "n_images": "Images", "n_subjects": "Subjects"},
        otherwise="The run has no splits.",
    )
    config = run.folder / "config.yaml"
    section.listing("Configuration (config.yaml)", config.read_text(encoding="utf-8"))
    files = [(name, run.folder / name) for name in ("config.yaml", "labels.yaml", "splits.parquet", "run.json")]
    for fold in run.folds:
        files.append((f"folds/{fold}/card.json", run.fold_folder(fold) / "card.json"))
    files += [(f"tables/{p.parent.name}/{p.name}", p) for p in sorted((run.folder / "tables").glob("*/*.parquet"))]
    section.links("Files of the run:", [(label, path) for label, path in files if path.is_file()])


def _split_table(run: Run) -> pl.DataFrame:
    """Images and, where the study is at hand, subjects per fold, role and set."""
    empty = pl.DataFrame(schema={"fold": pl.String})
    if not (run.folder / "splits.parquet").is_file():
        return empty
    splits = run.splits
    try:
        subjects = run.study.catalog.select("image_id", "subject_id")
        counts = [
            pl.col("image_id").n_unique().alias("n_images"),
            pl.col("subject_id").n_unique().alias("n_subjects"),
        ]
        splits = splits.join(subjects, on="image_id", how="left")
    except StromaError:
        counts = [pl.col("image_id").n_unique().alias("n_images"), pl.lit(None, pl.Int64).alias("n_subjects")]
    order = {"train": 0, "validation": 1, "test": 2, "extra": 3}
    rank = pl.col("role").replace_strict(order, default=len(order))
    return splits.group_by("fold", "role", "set").agg(counts).sort("fold", rank, "set")
