"""`stroma inspect`: what a file or folder is, and the line of Python that opens it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.files import canonical_json
from stroma.core.items import Done, map_items
from stroma.core.verbs import Inputs, VerbOptions, VerbResult
from stroma.study.selection import Where, select
from stroma.study.study import open_study
from stroma.support.describe import describe
from stroma.support.description import Description

_SHOWN = 12


class InspectOptions(VerbOptions):
    """Options of `stroma inspect`.

    Attributes:
        inputs: Files and folders of any kind.
        where: Which images of studies are listed.
        with_identifiers: Whether what patient files of cameras (`*.xml`) say of patients is shown.
    """

    inputs: Inputs
    where: Where = None
    with_identifiers: bool = Field(False, description="Show names, birth dates and ids in patient files of cameras")


def inspect(options: InspectOptions) -> VerbResult:
    """Say what files and folders are, and how to open them.

    Images, slides, tables, documents, studies, runs and results of Stroma are recognised by their content. What
    could identify a patient is not shown: no slide labels, no scanner or DICOM headers, no text and no cells of
    tables. With --with-identifiers patient files of cameras are shown whole. With --where the images of studies that
    fulfil a condition are listed, with the annotations that are meant.
    """
    if options.where is not None:
        return _images(options)
    found: list[tuple[Path, Description]] = []
    failed = []
    clock = StageClock()
    for outcome in map_items(partial(describe, with_identifiers=options.with_identifiers), options.inputs):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            found.append((outcome.item, outcome.result))
        else:
            failed.append(outcome)
    return VerbResult(
        lines=[line for path, description in found for line in _lines(path, description)],
        details={"inputs": [_plain(path, description) for path, description in found]},
        next=list(dict.fromkeys(description.next for _, description in found if description.next))[:3],
        done=len(found),
        failed=failed,
        clock=clock,
    )


def _images(options: InspectOptions) -> VerbResult:
    """List the images of studies that fulfil a condition."""
    found = list(select([open_study(path) for path in options.inputs], options.where))
    return VerbResult(
        lines=[f"{recording.name}  {recording.path}" for recording in found],
        details={"names": [recording.name for recording in found], "paths": [str(one.path) for one in found]},
        summary={"images": len(found), "subjects": len({(one.study.name, one.subject_id) for one in found})},
    )


def _plain(path: Path, description: Description) -> dict[str, Any]:
    return {"path": str(path), "kind": description.kind, **description.facts, "opens": description.opens}


def _lines(path: Path, description: Description) -> list[str]:
    facts = [
        (_LABELS.get(name, name.replace("_", " ")), _text(name, value)) for name, value in description.facts.items()
    ]
    facts = [("is", description.kind), *facts, ("open it", description.opens)]
    return [str(path), *(f"  {label:<15} {text}" for label, text in facts if text), ""]


_LABELS = {"size_bytes": "on disk", "wavelengths_nm": "wavelengths", "mpp": "resolution"}


def _text(name: str, value: Any) -> str:
    return _WORDS.get(name, _general)(value)


def _general(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return _listed([f"{key} {_general(inner)}" for key, inner in value.items()])
    if isinstance(value, list):
        return _listed([_general(inner) for inner in value])
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _listed(texts: list[str]) -> str:
    more = f" … ({len(texts)} in all)" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _shape(value: list[int]) -> str:
    if len(value) != 3:
        return " × ".join(f"{size:,}" for size in value)
    height, width, channels = value
    return f"{height:,} high, {width:,} wide, {channels:,} channel{'s' if channels > 1 else ''}"


def _levels(value: list[tuple[int, int, float]]) -> str:
    return _listed([f"{height:,} × {width:,} (1:{factor:g})" for height, width, factor in value])


def _bytes(value: int) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min((max(value, 1).bit_length() - 1) // 10, len(units) - 1)
    return f"{value:,} bytes" if power == 0 else f"{value / 1024**power:.1f} {units[power]} ({value:,} bytes)"


_WORDS: dict[str, Callable[[Any], str]] = {
    "shape": _shape,
    "levels": _levels,
    "size_bytes": _bytes,
    "settings": canonical_json,
    "separator": repr,
    "wavelengths_nm": lambda value: f"{value[0]:g} to {value[1]:g} nm",
    "mpp": lambda value: "not stated in the file" if value is None else f"{value:.5g} µm per pixel",
}
"""How the facts that need it are put into words."""
