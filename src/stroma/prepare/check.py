"""`stroma check`: every image and annotation of a study read once, and everything that is wrong with them named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.errors import OutputConflict, UsageError
from stroma.core.files import write_text
from stroma.core.items import Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.core.verbs import Flag, VerbOptions, VerbResult, Workers, write_failures
from stroma.prepare.check_across import LABELS_SCHEMA, find_between, find_missing_classes
from stroma.prepare.check_image import (
    CHECK_SCHEMA,
    CHECKS_FORMAT,
    FACTS_FORMAT,
    FACTS_SCHEMA,
    CheckedImage,
    Finding,
    check_image,
)
from stroma.study.identifiers import identifiers_in
from stroma.study.selection import Where
from stroma.study.study import Study, open_study

FINDINGS_FILE, IMAGES_FILE, LABELS_FILE = "findings.parquet", "images.parquet", "labels.parquet"
_SHOWN = {"identifier": 40, "warning": 5}  # of each kind


class CheckOptions(VerbOptions):
    """Options of `stroma check`."""

    study: Annotated[Path, Flag(argument=True), Field(description="study.yaml or its folder")]
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Folder for a page with thumbnails (report.html) and the tables of findings and images"
    )
    where: Where = None
    strict: bool = Field(
        False, description="Count single zeros and all-negative pixels of cubes as errors, as htc does"
    )
    workers: Workers = 1


def check(options: CheckOptions) -> VerbResult:
    """Check every image and annotation of a study before any training.

    Opens each file: header, size and pixels, its picture, every mask against its image and the labels. Compares the
    images: equal pixels under different subjects, other sizes, scales or colours than the rest, classes missing from
    folds. Says where names of patients may lie, without showing them. The data are only read; exit code 3 when some
    images have errors, 1 when all have.

    Args:
        options: The study, and what counts as an error.

    Raises:
        UsageError: no image fulfils the condition.
        OutputConflict: the output folder has findings already, and `overwrite` is not set.
    """
    study = open_study(options.study)
    ids = [recording.image_id for recording in study.select(options.where)]
    if not ids:
        raise UsageError(f"no image fulfils '{options.where}'", where=options.study)
    _check_free(options)
    if options.dry_run:
        return VerbResult(summary={"images": len(ids)})
    findings = list(_of_study(study))
    thumbnails = None if options.output is None else options.output / "thumbnails"
    work = partial(check_image, options.study, strict=options.strict, thumbnails=thumbnails)
    clock, facts, labels = StageClock(), list[tuple[Any, ...]](), list[tuple[str, str, int | None]]()
    for outcome in track(map_items(work, ids, workers=options.workers), "checking", len(ids)):
        clock.add(outcome.clock)
        if isinstance(outcome, Failed):
            findings.append(Finding(outcome.item, "error", outcome.stage or "open", "", outcome.message))
            continue
        one: CheckedImage = outcome.result
        findings += one.findings
        facts.append(one.facts)
        labels += [(outcome.item, label, pixels) for label, pixels in one.labels]
    told = {finding.path for finding in findings if finding.check in ("camera", "meta")}
    findings = [finding for finding in findings if finding.check != "listing" or finding.path not in told]
    images = pl.DataFrame(facts, schema=FACTS_SCHEMA, orient="row")
    marked = pl.DataFrame(labels, schema=LABELS_SCHEMA, orient="row")
    findings += find_between(images, marked)
    findings += find_missing_classes(marked, study) if options.where is None else []
    failed = _failed(findings)
    table = pl.DataFrame([finding.row() for finding in findings], schema=CHECK_SCHEMA, orient="row")
    if options.output is not None:
        _write(options.output, table, images, marked, failed, options.settings() | {"study": study.name})
    return VerbResult(
        output=options.output,
        lines=_lines(findings),
        details={"findings": table.to_dicts()},
        summary={"images": len(ids), **_counts(findings)},
        done=len(ids) - len({entry.item for entry in failed} & set(ids)),
        failed=failed,
        clock=clock,
        next=[f"stroma train {quote(str(options.study))} -o runs/first"]
        if not failed and study.config.labels
        else [],
    )


def _of_study(study: Study) -> list[Finding]:
    """What is known before any image is opened."""
    found = [
        Finding("", "warning" if problem.harmless else "error", "listing", problem.path, problem.message)
        for problem in study.refresh()
    ]
    if not study.subject_known:
        text = f"{study.describe_subjects()}, so one subject may stand on two sides of a split"
        found.append(Finding("", "warning", "subjects", "", text))
    return [*found, *(Finding("", "identifier", "identifiers", path, text) for path, text in identifiers_in(study))]


def _failed(findings: Sequence[Finding]) -> list[Failed[str]]:
    """Images, and files of no image, with errors: the first of each, and how many more there are."""
    errors: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "error":
            errors.setdefault(finding.image_id or finding.path or finding.check, []).append(finding)
    failed = []
    for item, of_item in errors.items():
        more = f" (and {len(of_item) - 1} more errors)" if len(of_item) > 1 else ""
        text = f"{of_item[0].path} {of_item[0].message}{more}".strip()
        failed.append(Failed(item, "", "InvalidData", text))
    return failed


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(finding.severity for finding in findings)
    places = {"places_with_identifiers": counted["identifier"]} if counted["identifier"] else {}
    return {"errors": counted["error"], "warnings": counted["warning"], **places}


def _lines(findings: Sequence[Finding]) -> list[str]:
    """Places with identifiers and warnings, the first of each kind; errors are told as failures."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for severity in _SHOWN:
        for finding in findings:
            if finding.severity == severity:
                kinds.setdefault((severity, finding.check), []).append(finding)
    lines = []
    for (severity, check), found in kinds.items():
        shown = found if len(found) <= _SHOWN[severity] + 1 else found[: _SHOWN[severity]]
        lines += [f"{severity}: {' '.join([f.path or f.image_id, f.message]).strip()}" for f in shown]
        if len(found) > len(shown):
            lines.append(f"{severity}: … and {len(found) - len(shown):,} more of this kind ({check})")
    return lines


def _check_free(options: CheckOptions) -> None:
    if options.output is None:
        return
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder as --output")
    path = options.output / FINDINGS_FILE
    if path.exists() and not options.overwrite:
        raise OutputConflict("is there already", where=path, next_step="Use --overwrite, or another --output")


def _write(
    folder: Path,
    findings: pl.DataFrame,
    images: pl.DataFrame,
    labels: pl.DataFrame,
    failed: Sequence[Failed[str]],
    settings: dict[str, Any],
) -> None:
    write_table(labels, folder / LABELS_FILE, Provenance("labels/1", settings))
    write_table(images, folder / IMAGES_FILE, Provenance(FACTS_FORMAT, settings))
    write_text(folder / "images.csv", images.write_csv())
    write_failures(folder, failed, Provenance("failures/1", settings))
    write_text(folder / "findings.csv", findings.write_csv())
    write_table(findings, folder / FINDINGS_FILE, Provenance(CHECKS_FORMAT, settings))
