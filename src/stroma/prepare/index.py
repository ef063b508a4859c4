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
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.prepare.study_yaml import study_yaml
from stroma.study import registry
from stroma.study.config import STUDY_FILE, StudyConfig
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import Layout, Proposal, Recognition, Scan
from stroma.study.layouts.recognise import recognise
from stroma.study.listing import Problem
from stroma.study.study import Study
from stroma.study.tables import derive_tables, store_tables

_SHOWN_PROBLEMS = 40
_FOLDS = 5


class InitOptions(VerbOptions):
    """Options of `stroma init`."""

    folder: Annotated[Path, Flag(argument=True), Field(description="Folder with the images")]
    output: Annotated[Path, Flag(short="-o")] = Field(Path(STUDY_FILE), description="Where to write the study")
    name: str | None = Field(None, description="Name of the study (default: of the folder)")
    layout: Literal["heiporspectral", "tivita", "masks", "classes", "slides"] | None = Field(
        None, description="How the files lie (default: recognised)"
    )
    images: str | None = Field(None, description="Layouts masks and classes: path pattern such as 'images/{id}'")
    masks: str | None = Field(
        None, description="Layout masks: path pattern such as 'masks/{id}', 'masks/{class}/{id}'"
    )
    subjects: Literal["layout", "column", "path-level", "regex", "table", "none"] | None = Field(
        None, description="Where the subject of an image comes from (default: the layout, else none)"
    )
    subject_column: str | None = Field(None, description="Column with the subject (rules column, table)")
    subject_level: int | None = Field(None, ge=1, description="Folder with the subject, 1: first (rule path-level)")
    subject_pattern: str | None = Field(None, description="Regular expression on the image id (rule regex)")
    table: Path | None = Field(None, description="CSV with metadata, one row an image")
    labels: str | None = Field(None, description="Names in the order of their values, 'a,b,c', or a labels.yaml")
    mpp: float | None = Field(None, gt=0, description="Resolution in µm per pixel of files that do not state theirs")


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
    layout: Layout = Component(name=recognition.name, **recognition.parameters).make(registry)
    listing = layout.listing(options.folder)
    scan = layout.scan(listing)
    values = _description(options, recognition, scan)
    config = build(StudyConfig, values, where=options.folder)
    tables = derive_tables(config, options.output, scan)
    proposal = _with_names(layout.propose(listing, scan), scan, options.labels)
    values |= _about_annotations(proposal, Study(config, options.output, tables))
    study = Study(build(StudyConfig, values, where=options.folder), options.output, tables)
    problems = [*tables.problems, *_split_problems(study)]
    skipped = 0
    if not options.dry_run:
        skipped = _write(options, study_yaml(study, recognition, proposal))
        store_tables(tables, study.config, options.output, listing)
    return VerbResult(
        output=None if options.dry_run else options.output,
        lines=[f"{recognition.name}: {recognition.reason}", *proposal.notes, *_problem_lines(problems)],
        summary=_summary(study, proposal, sum(not problem.harmless for problem in problems)),
        skipped=skipped,
        next=_next(study, options),
    )


def _description(options: InitOptions, recognition: Recognition, scan: Scan) -> dict[str, Any]:
    """The part of `study.yaml` that is known before the tables are made."""
    values: dict[str, Any] = {
        "name": options.name or options.folder.resolve().name or "study",
        "root": _root(options.folder, options.output),
        "layout": {"name": recognition.name, **recognition.parameters},
        "subjects": _subject_rule(options, scan),
    }
    if options.table is not None:
        values["table"] = _root(options.table, options.output)
    if options.mpp is not None:
        values["open"] = {"mpp": options.mpp}
    return values


def _root(path: Path, output: Path) -> str:
    """A path relative to `study.yaml` when it lies below its folder, else absolute."""
    absolute, home = path.resolve(), output.parent.resolve()
    return (absolute.relative_to(home) if absolute.is_relative_to(home) else absolute).as_posix()


def _subject_rule(options: InitOptions, scan: Scan) -> dict[str, Any]:
    """The rule that the options name, or that follows from the one parameter that is given."""
    given = {
        "column": options.subject_column,
        "path-level": options.subject_level,
        "regex": options.subject_pattern,
    }
    implied = [rule for rule, value in given.items() if value is not None]
    rule = options.subjects or (implied[0] if implied else "")
    if not rule:
        return {"rule": "none" if scan.catalog["subject_id"].null_count() else "layout"}
    if rule in given and given[rule] is None:
        flag = {"column": "--subject-column", "path-level": "--subject-level", "regex": "--subject-pattern"}[rule]
        raise UsageError(f"--subjects {rule} needs {flag}")
    if rule == "table" and options.table is None:
        raise UsageError("--subjects table needs --table FILE.csv")
    keys = {"column": "column", "table": "column", "path-level": "level", "regex": "pattern"}
    value = options.subject_column if rule == "table" else given.get(rule)
    return {"rule": rule} if value is None else {"rule": rule, keys[rule]: value}


def _with_names(proposal: Proposal, scan: Scan, names: str | None) -> Proposal:
    """The proposal with the labels that the user gave."""
    if names is None:
        return proposal
    if names.endswith((".yaml", ".yml")):
        labels = LabelMapping.load(Path(names))
        return replace(proposal, labels=labels, outside=_kept(proposal.outside, labels), notes=("labels as given",))
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    labels = build(LabelMapping, {"names": wanted}, where="--labels")
    found = scan.annotations["label"].drop_nulls().unique().sort().to_list()
    if found or proposal.labels is None:
        unknown = [name for name in found if name not in wanted]
        if unknown:
            raise UsageError(
                f"--labels lacks {', '.join(unknown)}, which the annotations have",
                next_step="Name all, or give a labels.yaml with 'aliases' and 'ignore'",
            )
        counts = {name: proposal.counts.get(name, 0) for name in wanted}
        return replace(proposal, labels=labels, counts=counts, outside=_kept(proposal.outside, labels))
    old = proposal.labels
    if len(old) != len(wanted):
        raise UsageError(
            f"--labels has {len(wanted)} names, the masks have {len(old)} classes ({', '.join(old.names)})",
            next_step="Give one name for each, in this order, or a labels.yaml",
        )
    new = dict(zip(old.names, wanted, strict=True))
    labels = LabelMapping(
        names=tuple(wanted),
        colours={new[name]: colour for name, colour in old.colours.items()},
        sources={value: new[name] for value, name in old.sources.items()},
        ignore=old.ignore,
    )
    return replace(proposal, labels=labels, counts={new[name]: count for name, count in proposal.counts.items()})


def _kept(outside: str | None, labels: LabelMapping) -> str | None:
    return outside if outside in labels.names else None


def _about_annotations(proposal: Proposal, study: Study) -> dict[str, Any]:
    """Labels, annotators and splits for `study.yaml`."""
    values = proposal.values(study.annotations)
    layer = values.get("layer")
    of_layer = study.annotations if layer is None else study.annotations.filter(layer=layer)
    annotated = study.catalog.join(of_layer, on="image_id", how="semi")
    subjects = (annotated if len(annotated) else study.catalog)["subject_id"].n_unique()
    if proposal.split_column is not None:
        values["splits"] = {"from": "column", "column": proposal.split_column}
    elif subjects > 1:
        values["splits"] = {"folds": min(_FOLDS, subjects), "seed": 0}
    return values


def _split_problems(study: Study) -> list[Problem]:
    """Whether the division that the data came with is sound."""
    if study.config.splits is None and study.config.labels is None:
        return []
    if study.config.splits is None:
        return [Problem(".", "has one subject, which cannot be divided into train and validation")]
    try:
        study.splits()
    except StromaError as error:
        return [Problem(".", f"cannot be divided: {error}")]
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
    if study.config.labels is None:
        return [inspect, f"stroma tile {shlex.quote(str(options.folder))} -o tiles"]
    return [inspect, f"stroma train {shlex.quote(str(options.output))} -o runs/first"]
