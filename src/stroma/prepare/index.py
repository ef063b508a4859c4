"""`stroma init`: recognise a folder of images and describe it in `study.yaml`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from stroma.core.component import Component
from stroma.core.config import build
from stroma.core.errors import OutputConflict, StromaError, UsageError
from stroma.core.files import write_text
from stroma.core.text import plural
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.prepare.init_labels import with_image_labels, with_names
from stroma.prepare.init_subjects import describe_rule, hint, subject_rule
from stroma.prepare.init_tables import FoundTable, examine_table, find_table
from stroma.prepare.study_yaml import study_yaml
from stroma.study.config import STUDY_FILE, StudyConfig
from stroma.study.layouts.layout import Proposal, Recognition, Scan
from stroma.study.layouts.own import make_layout
from stroma.study.layouts.recognise import recognise
from stroma.study.listing import Problem
from stroma.study.marks import LARGEST_PX
from stroma.study.study import Study
from stroma.study.tables import derive_tables, store_tables

_SHOWN_PROBLEMS = 40
_FOLDS = 5
_OF_SLIDES = ("slides", "tiles", "hubmap")


class InitOptions(VerbOptions):
    """Options of `stroma init`."""

    folder: Annotated[Path, Flag(argument=True), Field(description="Folder with the images")]
    output: Annotated[Path, Flag(short="-o")] = Field(Path(STUDY_FILE), description="Where to write the study")
    name: str | None = Field(None, description="Name of the study (default: of the folder)")
    layout: str | None = Field(
        None,
        description="How the files lie: heiporspectral, tivita, masks, classes, slides, tiles, hubmap, or your own "
        "module:Class (default: recognised)",
    )
    images: str | None = Field(None, description="Layouts masks and classes: path pattern such as 'images/{id}'")
    masks: str | None = Field(
        None, description="Layout masks: path pattern such as 'masks/{id}', 'masks/{class}/{id}'"
    )
    subjects: str | None = Field(
        None,
        description="Table of images and subjects such as patients.csv, or a rule: layout, column, path-level, "
        "regex, tcga, table, none (default: what the files tell)",
    )
    subject_column: str | None = Field(None, description="Column with the subject (rules column, table)")
    subject_level: int | None = Field(None, ge=1, description="Folder with the subject, 1: first (rule path-level)")
    subject_pattern: str | None = Field(None, description="Regular expression on the image id (rule regex)")
    table: Path | None = Field(
        None, description="CSV with metadata, one row an image, slide or case (default: the one beside the images)"
    )
    unlisted: Literal["keep", "leave-out"] | None = Field(
        None,
        description="Images without a row in the table (default: left out where it only lists images with masks)",
    )
    label_column: str | None = Field(None, description="Column of the table with a label of each whole image")
    labels: str | None = Field(None, description="Names in the order of their values, 'a,b,c', or a labels.yaml")
    mpp: float | None = Field(None, gt=0, description="Resolution in µm per pixel of files that do not state theirs")
    with_identifiers: bool = Field(
        False, description="Also index names, birth dates and ids of patients (Tivita recordings)"
    )


class Counts(dict[str, int]):
    """Counts that read well in text and stay a table in JSON."""

    def __str__(self) -> str:
        return ", ".join(f"{name}: {count:,}" for name, count in self.items()) or "none"


def init(options: InitOptions) -> VerbResult:
    """Recognise a folder of images and describe it in study.yaml.

    Says what was found: images, subjects, labels, annotators, sizes, and every file that cannot be used. The
    folder is only read. Edit study.yaml afterwards as you like.

    Args:
        options: The folder, and what is known about it.
    """
    recognition = recognise(options.folder, options.layout, images=options.images, masks=options.masks)
    if options.with_identifiers:
        recognition = _with_identifiers(recognition)
    layout = make_layout(Component(name=recognition.name, **recognition.parameters))
    listing = layout.listing(options.folder)
    scan = layout.scan(listing)
    table = find_table(listing, scan) if options.table is None else _given_table(options.table, scan, options)
    values = _description(options, recognition, scan, table)
    config = build(StudyConfig, values, where=options.folder)
    tables = derive_tables(config, options.output, scan)
    proposal = with_image_labels(layout.propose(listing, scan), table, tables, config)
    proposal = with_names(proposal, tables, options.labels)
    values |= _about_annotations(proposal, Study(config, options.output, tables))
    study = Study(build(StudyConfig, values, where=options.folder), options.output, tables)
    problems = [*_unexplained(tables.problems, study), *_split_problems(study)]
    skipped = 0
    if not options.dry_run:
        skipped = _write(options, study_yaml(study, recognition, proposal))
        store_tables(tables, study.config, options.output, listing)
    return VerbResult(
        output=None if options.dry_run else options.output,
        lines=[
            f"{recognition.name}: {recognition.reason}",
            *([] if table is None else _table_lines(table, study.config)),
            *proposal.notes,
            *_resolution_lines(study),
            *([] if study.subject_known else [hint(recognition.name)]),
            *_problem_lines(problems),
        ],
        summary=_summary(study, proposal, sum(not problem.harmless for problem in problems)),
        skipped=skipped,
        next=_next(study, options),
    )


def _resolution_lines(study: Study) -> list[str]:
    """Whether files do not state their resolution, where it matters: for slides and their tiles."""
    if study.config.layout.name not in _OF_SLIDES or "mpp" in study.config.open:
        return []
    known = study.catalog["mpp"].count() if "mpp" in study.catalog.columns else 0
    text = f"{len(study) - known:,} of {plural(len(study), 'image')} without a stated resolution"
    return [f"{text}: give it with --mpp, or 'open: {{mpp: …}}' in study.yaml"] if known < len(study) else []


def _given_table(path: Path, scan: Scan, options: InitOptions) -> FoundTable | None:
    return examine_table(path, scan, label=options.label_column)


def _description(
    options: InitOptions, recognition: Recognition, scan: Scan, found: FoundTable | None
) -> dict[str, Any]:
    """The part of `study.yaml` that is known before the tables are made."""

    def relative(path: Path) -> str:
        return _root(path, options.output)

    table = options.table or (found.path if found is not None and found.tells else None)
    given = {
        "column": options.subject_column,
        "path-level": options.subject_level,
        "regex": options.subject_pattern,
    }
    subjects = subject_rule(options.subjects, given, scan, found, has_table=table is not None, relative=relative)
    values: dict[str, Any] = {
        "name": options.name or options.folder.resolve().name or "study",
        "root": relative(options.folder),
        "layout": {"name": recognition.name, **recognition.parameters},
        "subjects": subjects,
    }
    if table is not None:
        values["table"] = relative(table)
        only_ids = found is not None and not found.columns and found.listed < found.images
        selects = recognition.name == "masks" and only_ids
        unlisted = options.unlisted or ("leave-out" if selects else "keep")
        values |= {"unlisted": unlisted} if unlisted != "keep" else {}
        label = options.label_column or (found.label if found is not None and not len(scan.annotations) else None)
        values |= {"label_column": label} if label is not None else {}
    elif options.label_column is not None:
        raise UsageError("--label-column needs a table of the images", next_step="Name it with --table FILE.csv")
    if options.mpp is not None:
        values["open"] = {"mpp": options.mpp}
    return values


def _with_identifiers(recognition: Recognition) -> Recognition:
    if recognition.name not in ("heiporspectral", "tivita"):
        raise UsageError(
            f"the layout '{recognition.name}' reads no identifiers of patients",
            next_step="Leave out --with-identifiers; a table given with --table is taken as it is",
        )
    return replace(recognition, parameters={**recognition.parameters, "with_identifiers": True})


def _root(path: Path, output: Path) -> str:
    """A path relative to `study.yaml` when it lies below its folder, else absolute."""
    absolute, home = path.resolve(), output.parent.resolve()
    return (absolute.relative_to(home) if absolute.is_relative_to(home) else absolute).as_posix()


def _table_lines(table: FoundTable, config: StudyConfig) -> list[str]:
    """What a table beside the images is used for."""
    uses = []
    if config.table is not None:
        columns = ", ".join(table.columns[:6]) + (", …" if len(table.columns) > 6 else "")
        uses.append(f"its columns {columns} go into the catalog" if table.columns else "it selects the images")
    if config.subjects.table is not None:
        uses.append(f"'{config.subjects.column}' says whose the images are")
    listed = f"{table.path.name} lists {table.listed:,} of {table.images:,} images"
    left = ", the others are left out (--unlisted keep takes them)" if config.unlisted == "leave-out" else ""
    return [f"{listed}{left}; {'; '.join(uses)}"] if uses else []


def _unexplained(problems: Sequence[Problem], study: Study) -> list[Problem]:
    """The problems, without the tables that are used."""
    tables = {study.config.table, study.config.subjects.table} - {None}
    used = {(study.path.parent / str(table)).resolve() for table in tables}
    return [
        one for one in problems if not one.harmless or "no part" not in one.message or not _is_in(one, study, used)
    ]


def _is_in(problem: Problem, study: Study, used: set[Path]) -> bool:
    return (study.root / problem.path).resolve() in used


def _about_annotations(proposal: Proposal, study: Study) -> dict[str, Any]:
    """Labels, annotators and splits for `study.yaml`."""
    values = proposal.values(study.annotations)
    layer = values.get("layer")
    of_layer = study.annotations if layer is None else study.annotations.filter(layer=layer)
    annotated = study.catalog.join(of_layer, on="image_id", how="semi")
    subjects = (annotated if len(annotated) else study.catalog)["subject_id"].n_unique()
    if proposal.split_column is not None:
        values["splits"] = {"from": "column", "column": proposal.split_column, **_few_folds(study, proposal)}
    elif subjects > 1:
        values["splits"] = {"folds": min(_FOLDS, subjects), "seed": 0}
    return values


def _few_folds(study: Study, proposal: Proposal) -> dict[str, int]:
    """The number of folds, where the training part has fewer subjects than there are folds by default."""
    part = pl.col(str(proposal.split_column)).str.to_lowercase()
    training = study.catalog.filter(part.is_in(["train", "training"]))["subject_id"].n_unique()
    validation = study.catalog.filter(part.is_in(["val", "valid", "validation"]))
    return {} if len(validation) or not 1 < training < _FOLDS else {"folds": training}


def _split_problems(study: Study) -> list[Problem]:
    """Whether the division that the data came with is sound."""
    if study.config.splits is None and study.config.labels is None:
        return []
    if study.config.splits is None:
        return [Problem("the study", "has one subject, which cannot be divided into train and validation")]
    try:
        study.splits()
    except StromaError as error:
        return [Problem("the study", f"cannot be divided: {error}")]
    return []


def _problem_lines(problems: Sequence[Problem]) -> list[str]:
    ordered = sorted(problems, key=lambda problem: problem.harmless)
    lines = [
        f"{'also there' if problem.harmless else 'problem'}: {problem.path} {problem.message}"
        for problem in ordered[:_SHOWN_PROBLEMS]
    ]
    more = len(problems) - len(lines)
    return [*lines, f"… and {more:,} more problems (Study.refresh() returns all)"] if more else lines


def _write(options: InitOptions, text: str) -> int:
    """Write `study.yaml`; 1 when it was there already, word for word."""
    if options.output.is_dir():
        raise OutputConflict(
            "is a folder", where=options.output, next_step=f"Use --output {options.output}/study.yaml"
        )
    if options.output.is_file() and not options.overwrite:
        if options.output.read_text(encoding="utf-8") == text:
            return 1
        raise OutputConflict(
            "is there already and says something else",
            where=options.output,
            next_step="Use --overwrite to replace it, or another --output",
        )
    try:
        write_text(options.output, text)
    except OSError as error:
        raise OutputConflict(
            f"cannot be written ({error.strerror})",
            where=options.output,
            next_step="Give another place with --output",
        ) from error
    return 0


def _summary(study: Study, proposal: Proposal, problems: int) -> dict[str, Any]:
    catalog, annotations = study.catalog, study.annotations
    summary: dict[str, Any] = {"images": len(catalog), "subjects": study.describe_subjects()}
    if study.subject_known:
        summary["subjects_from"] = describe_rule(study.config.subjects)
    if proposal.counts:
        summary["labels"] = Counts(proposal.counts)
    annotators = annotations.group_by("annotator").agg(pl.col("image_id").n_unique()).sort("annotator")
    if len(annotators) > 1:
        summary["annotators"] = Counts(dict(annotators.iter_rows()))
    if "height" in catalog.columns:
        sizes = Counter(f"{height} × {width}" for height, width in catalog.select("height", "width").iter_rows())
        summary["sizes"] = Counts(dict(sizes.most_common(5)))
        if len(sizes) > 5:
            summary["other_sizes"] = len(sizes) - 5
    return {**summary, "problems": problems}


def _next(study: Study, options: InitOptions) -> list[str]:
    """The two commands to type next."""
    first = study.image_path(next(iter(study)))
    inspect = f"stroma inspect {shlex.quote(str(first))}"
    if study.config.labels is None and first.name.endswith("_SpecCube.dat"):
        return [inspect, f"stroma check {shlex.quote(str(options.output))}"]
    yaml = shlex.quote(str(options.output))
    kinds = set(study.annotations["kind"].unique())
    if study.config.layout.name in ("tiles", "classes") and kinds <= {"image"}:
        return [inspect, f"stroma embed {shlex.quote(str(options.folder))} -o features"]
    if study.config.labels is None or kinds == {"image"}:
        return [inspect, f"stroma tile {yaml} -o tiles"]
    if _largest_px(study) > LARGEST_PX:
        scale = " --mpp 2" if "mpp" in study.open_options(next(iter(study))) else ""
        return [inspect, f"stroma annotations pairs {yaml} --images {yaml} -o pairs --tile-px 256{scale}"]
    return [inspect, f"stroma train {yaml} -o runs/first"]


def _largest_px(study: Study) -> int:
    if "height" not in study.catalog.columns or "width" not in study.catalog.columns:
        return 0
    sizes = study.catalog.select("height", "width").drop_nulls()
    return max((height * width for height, width in sizes.iter_rows()), default=0)
