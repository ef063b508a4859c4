"""Where `stroma init` takes the subject of an image from, and how it says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stroma.core.errors import UsageError, nearest
from stroma.prepare.init_tables import FoundTable
from stroma.study.config import SubjectRule
from stroma.study.layouts.layout import Scan
from stroma.study.subjects import tcga_participant

RULES = ("layout", "column", "path-level", "regex", "tcga", "table", "none")
_TABLES = (".csv", ".tsv", ".tab", ".parquet")
_FLAGS = {"column": "--subject-column", "path-level": "--subject-level", "regex": "--subject-pattern"}


def subject_rule(
    wanted: str | None,
    given: Mapping[str, Any],
    scan: Scan,
    found: FoundTable | None,
    *,
    has_table: bool,
    relative: Callable[[Path], str],
) -> dict[str, Any]:
    """The rule that the user names, or that follows from the one parameter that is given, or that the files suggest.

    Args:
        wanted: A rule, or a table of subjects.
        given: Rule → its parameter, None where it is not given: `column`, `path-level`, `regex`.
        scan: What the layout found.
        found: A table beside the images.
        has_table: Whether the study has a metadata table.
        relative: From a path to how `study.yaml` writes it.

    Raises:
        UsageError: a rule without its parameter, or one that there is not.
    """
    if wanted is not None and (wanted.lower().endswith(_TABLES) or Path(wanted).is_file()):
        if not Path(wanted).is_file():
            raise UsageError(f"--subjects: there is no table '{wanted}'")
        column = {} if given["column"] is None else {"column": given["column"]}
        return {"rule": "table", "table": relative(Path(wanted)), **column}
    if wanted is not None and wanted not in RULES:
        raise UsageError(f"--subjects: '{wanted}' is neither a rule nor a table", next_step=nearest(wanted, RULES))
    implied = [rule for rule, value in given.items() if value is not None]
    rule = wanted or (implied[0] if implied else "")
    if not rule:
        return _suggested(scan, found, relative)
    if rule in given and given[rule] is None:
        raise UsageError(f"--subjects {rule} needs {_FLAGS[rule]}")
    if rule == "table" and not has_table:
        raise UsageError("--subjects table needs --table FILE.csv; or name the table: --subjects FILE.csv")
    keys = {"column": "column", "table": "column", "path-level": "level", "regex": "pattern"}
    value = given["column"] if rule == "table" else given.get(rule)
    return {"rule": rule} if value is None else {"rule": rule, keys[rule]: value}


def hint(layout: str) -> str:
    """How to say whose the images are, for studies that do not know."""
    level = "" if layout == "classes" else "--subject-level 1 (the first folder), "
    pattern = "--subject-pattern '[^/_]+(?=_[^/]*$)' (the part of a file's name before '_')"
    return f"say whose the images are: --subjects patients.csv, {level}{pattern}"


def _suggested(scan: Scan, found: FoundTable | None, relative: Callable[[Path], str]) -> dict[str, Any]:
    if not scan.catalog["subject_id"].null_count():
        return {"rule": "layout"}
    if found is not None and found.subject is not None and found.listed == found.images:
        return {"rule": "table", "table": relative(found.path), "column": found.subject}
    if all(tcga_participant(path) for path in scan.catalog["path"]):
        return {"rule": "tcga"}
    if found is not None and found.parts and found.listed == found.images:
        return {"rule": "table", "table": relative(found.path), "column": found.key}
    if "slide" in scan.catalog.columns:
        return {"rule": "column", "column": "slide"}
    return {"rule": "none"}


def describe_rule(rule: SubjectRule) -> str:
    """Where the subjects come from, as the end of a sentence: `the column 'patient' of patients.csv`."""
    if rule.rule == "table" and rule.table is not None:
        column = f"the column '{rule.column}' of " if rule.column else ""
        return f"{column}{Path(rule.table).name}"
    if rule.rule == "column" and rule.column == "slide":
        return "the slide that each tile was cut from (name a table if several slides show one patient)"
    return {
        "layout": "the layout",
        "column": f"the column '{rule.column}'",
        "table": f"the column '{rule.column or 'subject_id'}' of the table",
        "path-level": f"folder {rule.level} of the path",
        "regex": f"the part of the name that fits '{rule.pattern}'",
        "tcga": "the participant of the TCGA barcode in the name",
        "none": "nowhere",
    }[rule.rule]
