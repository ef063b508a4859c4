"""What verbs over slides share: find the slides, skip complete ones, run, record failures and sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from stroma.core.clock import StageClock, stage
from stroma.core.done import done_path, first_difference, is_complete, write_done
from stroma.core.errors import InvalidData, MissingFile, OutputConflict
from stroma.core.items import Done, Failed, map_items
from stroma.core.progress import track
from stroma.core.provenance import InputRecord, Provenance
from stroma.core.tables import read_provenance
from stroma.core.verbs import VerbResult, write_failures
from stroma.images.image import Image
from stroma.prepare.inputs import Found, Source, find_inputs
from stroma.prepare.slide_options import SlideOptions
from stroma.prepare.sources import open_source, read_sources, sources_path, write_sources

R = TypeVar("R")


@dataclass(frozen=True)
class SlidePlan:
    """The slides a verb was given, and which of them still have to be worked on."""

    options: SlideOptions
    found: Found
    todo: tuple[Source, ...]
    earlier: tuple[tuple[str, str, Path], ...]

    def result(self) -> VerbResult:
        """What `--dry-run` says."""
        lines = [
            f"{'to do' if source in self.todo else 'complete'}: {source}: {source.path}"
            for source in self.found.sources
        ]
        return VerbResult(
            summary={"images": len(self.found.sources), "to do": len(self.todo)},
            lines=[*self.found.notes, *subject_lines(self.found), *lines],
        )


@dataclass(frozen=True)
class SlideOutcome(Generic[R]):
    """What became of the slides.

    Attributes:
        plan: Before they were worked on.
        reports: Slides of this run and what the verb reported about each.
        failed: Slides that failed, and lost parts of others.
        complete: All slides that were named and have results now.
        clock: Where the time went.
    """

    plan: SlidePlan
    reports: list[tuple[Source, R]]
    failed: list[Failed[Any]]
    complete: list[Source]
    clock: StageClock = field(default_factory=StageClock)

    def counts(self) -> dict[str, Any]:
        """The common fields of the `VerbResult`."""
        return {
            "output": self.plan.options.output,
            "done": len(self.reports),
            "skipped": len(self.plan.found.sources) - len(self.plan.todo),
            "failed": self.failed,
            "clock": self.clock,
        }


def plan_slides(options: SlideOptions, provenance_of: Callable[[Source], Provenance]) -> SlidePlan:
    """Find the slides and those of them that are not complete.

    Args:
        options: Of the verb.
        provenance_of: What the results of a slide would be made from and with now.

    Raises:
        MissingFile: an input does not exist or holds no image.
        InvalidData: two images have the same id.
        OutputConflict: the output is a file, or holds results of other settings or inputs without `overwrite`.
    """
    if options.output.exists() and not options.output.is_dir():
        raise OutputConflict("is a file", where=options.output, next_step="Choose a folder as --output")
    found = find_inputs(options.inputs, output=options.output, where=options.where)
    earlier = _earlier_sources(found.sources, options)
    todo = [source for source in found.sources if not _is_complete(source, options, provenance_of)]
    return SlidePlan(options, found, tuple(todo), tuple(earlier))


def run_slides(
    plan: SlidePlan,
    make: Callable[[Source], R],
    description: str,
    *,
    lost_parts: Callable[[Source], Sequence[Failed[Any]]] | None = None,
) -> SlideOutcome[R]:
    """Work on the slides of a plan; one that fails stops no other.

    Args:
        plan: From `plan_slides`.
        make: Writes all results of a slide, the done record last; picklable.
        description: Of the progress bar.
        lost_parts: What is missing of a slide that is complete otherwise, now or since an earlier run.
    """
    options = plan.options
    clock = StageClock()
    reports: list[tuple[Source, R]] = []
    failed: list[Failed[Any]] = []
    workers = options.workers if len(plan.todo) > 1 else 1
    for outcome in track(map_items(make, plan.todo, workers=workers), description, len(plan.todo)):
        clock.add(outcome.clock)
        if isinstance(outcome, Done):
            reports.append((outcome.item, outcome.result))
        else:
            failed.append(outcome)
    lost = {failure.item.image_id for failure in failed}
    complete = [source for source in plan.found.sources if source.image_id not in lost]
    if lost_parts is not None:
        failed += [part for source in complete for part in lost_parts(source)]
    provenance = Provenance("failures/1", options.settings())
    write_failures(options.output, failed, provenance)
    rows = [(source.image_id, source.subject_id, source.path) for source in complete]
    write_sources(options.output, [*plan.earlier, *rows], provenance)
    return SlideOutcome(plan, reports, failed, complete, clock)


def slide_provenance(
    source: Source,
    options: SlideOptions,
    format: str,
    inputs: Mapping[str, Path] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Provenance:
    """What the results of a slide are made from and with.

    Args:
        source: The slide.
        options: Of the verb.
        format: Of the results.
        inputs: Further files that they are made from, by name.
        settings: Further settings.
    """
    settings = {**options.settings(), "open": dict(source.options), **(settings or {})}
    with stage("read"):
        records = [InputRecord.of(source.image_id, source.path)]
        records += [InputRecord.of(name, path) for name, path in (inputs or {}).items()]
    return Provenance(format, settings, tuple(records))


def make_slide(
    source: Source, options: SlideOptions, provenance: Provenance, write: Callable[[Image], tuple[list[Path], R]]
) -> R:
    """Open a slide and write its results, the done record last.

    Args:
        source: The slide.
        options: Of the verb.
        provenance: Of the results.
        write: Writes them; returns the files and what to report.

    Returns:
        What `write` reported.

    Raises:
        UnreadableImage: the file is no image or is damaged.
    """
    with open_source(source.path, {"open": source.options, "source_mpp": options.source_mpp}) as image:
        record = done_path(options.output, source.image_id)
        record.unlink(missing_ok=True)  # from here on the item is not complete
        outputs, report = write(image)
    with stage("write"):
        write_done(record, provenance, outputs)
    return report


def subject_lines(found: Found) -> list[str]:
    """A line when subjects are unknown."""
    return [] if found.subjects_known else ["subjects unknown: each image counts as its own subject"]


def _earlier_sources(sources: Iterable[Source], options: SlideOptions) -> list[tuple[str, str, Path]]:
    """Images that earlier runs with these settings left complete in the output folder, and this run does not name."""
    path = sources_path(options.output)
    if not path.exists():
        return []
    difference = first_difference(read_provenance(path).settings, options.settings())
    if difference and not options.overwrite:
        raise OutputConflict(
            f"holds results made with other settings: {difference}",
            where=options.output,
            next_step="Use --overwrite to replace them, or another --output",
        )
    if difference:
        return []
    named = {source.image_id for source in sources}
    return [
        (image_id, subject_id, Path(file))
        for image_id, subject_id, file in read_sources(options.output).iter_rows()
        if image_id not in named and done_path(options.output, image_id).exists()
    ]


def _is_complete(source: Source, options: SlideOptions, provenance_of: Callable[[Source], Provenance]) -> bool:
    """Whether nothing is left to do; an input that cannot be used is tried, so that its failure is recorded."""
    try:
        provenance = provenance_of(source)
    except (MissingFile, InvalidData, OSError):
        return False
    try:
        return is_complete(done_path(options.output, source.image_id), provenance, verify=options.verify)
    except OutputConflict:
        if options.overwrite:
            return False
        raise
