"""`stroma report`: one offline HTML page about runs, clusters and median spectra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stroma.core.clock import running_clock
from stroma.core.done import done_path, is_complete, write_done
from stroma.core.errors import InvalidData, MissingFile, OutputConflict, UsageError
from stroma.core.files import read_json
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.verbs import Flag, VerbOptions, VerbResult
from stroma.reports.features_report import add_features, features_inputs, features_subtitle
from stroma.reports.markup import GENERATOR
from stroma.reports.page import REPORT_FORMAT, Report
from stroma.reports.run_report import add_run, run_inputs, run_subtitle
from stroma.reports.spectra_report import MEDIANS_FILE, add_medians, medians_inputs, medians_subtitle
from stroma.runs.run import Run

_INPUTS: dict[str, Callable[[Path], Iterable[InputRecord]]] = {
    "run": run_inputs,
    "clusters": features_inputs,
    "medians": medians_inputs,
}
_SUBTITLES: dict[str, Callable[[Path], str]] = {
    "run": lambda folder: run_subtitle(Run.open(folder)),
    "clusters": features_subtitle,
    "medians": medians_subtitle,
}


class ReportOptions(VerbOptions):
    """Options of `stroma report`."""

    inputs: Annotated[tuple[Path, ...], Flag(argument=True, setting=False)] = Field(
        min_length=1, description="Run folders, output folders of 'stroma cluster' and of 'stroma medians'"
    )
    output: Annotated[Path | None, Flag(short="-o", setting=False)] = Field(
        None, description="The page (default: report.html in the folder, if it is one)"
    )
    images: int = Field(8, ge=0, le=40, description="Images of each run to show with their predictions")
    by: str | None = Field(
        None, description="Column of median spectra whose values are drawn apart, such as perfusion_state"
    )
    tiles: int = Field(400, ge=0, le=2_000, description="Dots of each feature map that show their tile on hover")

    def settings(self) -> dict[str, Any]:
        """What a page depends on; without groups as before there were any."""
        return {key: value for key, value in super().settings().items() if key != "by" or value is not None}


def report(options: ReportOptions) -> VerbResult:
    """Write one offline HTML page about runs, clusters and median spectra.

    RUN folders and output folders of `stroma cluster` and `stroma medians` can be mixed. Beside the page lie its
    figures for print (`figures/*.svg`, `*.png`, some as `*.pdf`) and the numbers behind them (`tables/*.csv`). A page
    that is up to date is skipped; one whose inputs have changed is made again.

    Args:
        options: What to report, and where to.
    """
    folders = [_folder(path) for path in options.inputs]
    page = _page(options.output, folders)
    kinds = [_kind(folder) for folder in folders]
    inputs = tuple(record for folder, kind in zip(folders, kinds, strict=True) for record in _INPUTS[kind](folder))
    provenance = Provenance(REPORT_FORMAT, options.settings(), inputs)
    record = done_path(page.parent, page.stem)
    if not options.overwrite and _is_current(record, page, provenance, verify=options.verify):
        return VerbResult(output=page, skipped=1)
    if not options.overwrite and page.exists() and not record.exists() and not _is_ours(page):
        raise OutputConflict(
            "is not a page of Stroma", where=page, next_step="Use --overwrite to replace it, or another --output"
        )
    if options.dry_run:
        lines = [f"would report the {kind} in {folder}" for folder, kind in zip(folders, kinds, strict=True)]
        return VerbResult(output=page, lines=lines)
    with running_clock() as clock:
        written = _assemble(folders, kinds, options, provenance).write(page)
        write_done(record, provenance, written)
    summary = {
        "figures": sum(p.suffix == ".svg" for p in written),
        "tables": sum(p.suffix == ".csv" for p in written),
    }
    return VerbResult(output=page, summary=summary, done=1, clock=clock)


def _folder(path: Path) -> Path:
    """The folder that was meant: itself, or that of a file in it (`run.json`, `clusters.parquet`)."""
    if not path.exists():
        raise MissingFile("there is no such folder", where=path)
    return path if path.is_dir() else path.parent


def _kind(folder: Path) -> str:
    if (folder / "run.json").is_file():
        return "run"
    if (folder / "clusters.parquet").is_file():
        return "clusters"
    if (folder / MEDIANS_FILE).is_file():
        return "medians"
    raise UsageError(
        "is neither a run folder nor an output folder of stroma cluster or stroma medians (no run.json, no "
        f"clusters.parquet, no {MEDIANS_FILE})",
        where=folder,
        next_step="Give the folder that stroma train, stroma cluster or stroma medians wrote",
    )


def _page(output: Path | None, folders: Sequence[Path]) -> Path:
    if output is None:
        if len(folders) > 1:
            raise UsageError("several folders need a place for their page", next_step="Add --output report.html")
        return folders[0] / "report.html"
    return output if output.suffix.lower() in (".html", ".htm") else output / "report.html"


def _is_current(record: Path, page: Path, provenance: Provenance, *, verify: bool) -> bool:
    """Whether the page is there and made with these settings from these inputs by this version.

    Raises:
        OutputConflict: it was made with other settings.
    """
    if not record.is_file() or not page.is_file():
        return False
    try:
        found = Provenance.from_dict(read_json(record), where=record)
    except InvalidData:
        return False
    same_settings = is_complete(record, replace(provenance, inputs=found.inputs), verify=verify)
    return same_settings and found.inputs == provenance.inputs and found.stroma == provenance.stroma


def _is_ours(page: Path) -> bool:
    with page.open("rb") as handle:
        return GENERATOR.encode() in handle.read(4096)


def _assemble(
    folders: Sequence[Path], kinds: Sequence[str], options: ReportOptions, provenance: Provenance
) -> Report:
    names = _names(folders)
    if len(folders) == 1:
        folder, kind = folders[0], kinds[0]
        title = f"Report: {names[0]}"
        subtitle = _SUBTITLES[kind](folder)
    else:
        title, subtitle = "Report", "About " + ", ".join(names) + "."
    page = Report(title, subtitle=subtitle, provenance=provenance)
    for folder, kind, name in zip(folders, kinds, names, strict=True):
        group = name if len(folders) > 1 else ""
        if kind == "run":
            add_run(page, folder, group=group, images=options.images)
        elif kind == "medians":
            add_medians(page, folder, group=group, by=options.by)
        else:
            add_features(page, folder, group=group, tiles=options.tiles)
    return page


def _names(folders: Sequence[Path]) -> list[str]:
    """The name of each folder; where two are equal, with the folder above."""
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    return [f"{p.parent.name}/{p.name}" if names.count(p.name) > 1 else p.name for p in paths]
