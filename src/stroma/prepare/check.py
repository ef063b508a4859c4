"""`stroma check`: every image and annotation of a study read once, and everything that is wrong with them named."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.errors import OutputConflict, UsageError
from stroma.core.items import Failed, map_items
from stroma.core.provenance import Provenance
from stroma.core.tables import write_table
from stroma.core.verbs import Flag, VerbOptions, VerbResult, Workers
from stroma.prepare.check_image import CHECK_SCHEMA, CHECKS_FORMAT, Finding, check_image
from stroma.study.identifiers import identifiers_in
from stroma.study.study import Study, open_study

_SHOWN = 40


class CheckOptions(VerbOptions):
    """Options of `stroma check`."""

    study: Annotated[Path, Flag(argument=True), Field(description="study.yaml or its folder")]
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="Write all findings as a table: .parquet or .csv"
    )
    where: str | None = Field(None, description="Only images that fulfil this SQL condition")
    strict: bool = Field(
        False, description="Count single zeros and all-negative pixels of cubes as errors, as htc does"
    )
    workers: Workers = 1


def check(options: CheckOptions) -> VerbResult:
    """Check every image and annotation of a study.

    Reads each image once: its header and size, values that are no numbers, empty pixels, its picture, every mask
    against its image and the labels. Says also where names of patients may lie, without showing them. The data are
    only read; exit code 3 when some images have errors, 1 when all have.

    Args:
        options: The study, and what counts as an error.
    """
    study = open_study(options.study)
    ids = [recording.image_id for recording in study.select(options.where)]
    if not ids:
        raise UsageError(f"no image fulfils '{options.where}'", where=options.study)
    if options.dry_run:
        return VerbResult(summary={"images": len(ids)})
    findings = [
        Finding("", "error", "listing", problem.path, problem.message)
        for problem in study.refresh()
        if not problem.harmless
    ]
    findings += [Finding("", "identifier", "identifiers", path, message) for path, message in identifiers_in(study)]
    failed: list[Failed[Any]] = []
    clock = StageClock()
    work = partial(check_image, options.study, strict=options.strict)
    for outcome in map_items(work, ids, workers=options.workers):
        clock.add(outcome.clock)
        if isinstance(outcome, Failed):
            failed.append(outcome)
            findings.append(Finding(outcome.item, "error", outcome.stage or "open", "", outcome.message))
            continue
        findings += outcome.result
        errors = [finding for finding in outcome.result if finding.severity == "error"]
        if errors:
            more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
            failed.append(Failed(outcome.item, "", "InvalidData", f"{errors[0].path} {errors[0].message}{more}"))
    table = pl.DataFrame([finding.row() for finding in findings], schema=CHECK_SCHEMA, orient="row")
    if options.output is not None:
        _write(table, options, study)
    return VerbResult(
        output=options.output,
        lines=_lines([finding for finding in findings if finding.severity != "error" or not finding.image_id]),
        details={"findings": table.to_dicts()},
        summary={"images": len(ids), **{name: count for name, count in _counts(findings).items() if count}},
        done=len(ids) - len(failed),
        failed=failed,
        clock=clock,
        next=[f"stroma train '{options.study}' -o runs/first"] if not failed and study.config.labels else [],
    )


def _counts(findings: list[Finding]) -> dict[str, int]:
    counted = Counter(finding.severity for finding in findings)
    return {
        "errors": counted["error"],
        "warnings": counted["warning"],
        "places_with_identifiers": counted["identifier"],
    }


def _lines(findings: list[Finding]) -> list[str]:
    ordered = sorted(findings, key=lambda f: ("error", "identifier", "warning").index(f.severity))
    lines = [
        f"{finding.severity}: {finding.path or finding.image_id} {finding.message}" for finding in ordered[:_SHOWN]
    ]
    more = len(ordered) - len(lines)
    return [*lines, f"… and {more:,} more (--output FILE.csv writes all)"] if more else lines


def _write(table: pl.DataFrame, options: CheckOptions, study: Study) -> None:
    path = options.output
    if path is None:
        return
    if path.exists() and not options.overwrite:
        raise OutputConflict("is there already", where=path, next_step="Use --overwrite, or another --output")
    if path.suffix.lower() == ".csv":
        from stroma.core.files import write_text

        write_text(path, table.write_csv())
        return
    write_table(table, path, Provenance(CHECKS_FORMAT, options.settings() | {"study": study.name}))
