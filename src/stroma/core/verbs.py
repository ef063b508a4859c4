"""A verb: one function with one options model, from which its command line and its docs are generated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stroma.core.clock import StageClock
from stroma.core.config import Section, to_plain

if TYPE_CHECKING:
    from stroma.core.items import Failed
    from stroma.core.provenance import Provenance


@dataclass(frozen=True)
class Flag:
    """How a field of an options model is treated; put it into `Annotated[…]`.

    Attributes:
        short: A one-letter form such as `-o`.
        argument: The field is given by position on the command line rather than by name.
        setting: Whether the result depends on it. Paths, devices, worker counts and switches such as
            `--overwrite` do not, and stay outside fingerprints.
    """

    short: str = ""
    argument: bool = False
    setting: bool = True


Workers = Annotated[int, Flag(short="-j", setting=False), Field(ge=0, description="Processes (0: one per core)")]
Device = Annotated[str, Flag(setting=False), Field(description="auto, cpu, cuda, cuda:<index> or mps")]
Output = Annotated[Path, Flag(short="-o", setting=False), Field(description="Folder for the results")]
Inputs = Annotated[
    tuple[Path, ...],
    Flag(argument=True, setting=False),
    Field(min_length=1, description="Files, folders or quoted patterns"),
]


class VerbOptions(Section):
    """What every verb understands; its own options are added by subclasses."""

    overwrite: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Replace results made with other settings or from other inputs"
    )
    verify: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Hash existing results before skipping them"
    )
    dry_run: Annotated[bool, Flag(setting=False)] = Field(
        False, description="Say what would be done, and write nothing"
    )

    def settings(self) -> dict[str, Any]:
        """The options that a result depends on, as plain values."""
        outside = {name for name, info in type(self).model_fields.items() if not flag_of(info.metadata).setting}
        return to_plain(self, exclude=outside)


def flag_of(metadata: Iterable[object]) -> Flag:
    """The `Flag` among a field's metadata, or the default one."""
    return next((entry for entry in metadata if isinstance(entry, Flag)), Flag())


@dataclass(frozen=True)
class VerbResult:
    """What a verb reports at its end.

    Attributes:
        output: The most useful file or folder it made.
        summary: Figures to print, in order.
        lines: Further text to print, already formatted.
        details: What the lines say as plain values, for `--json`.
        next: Commands the user will probably type next.
        done: Items made in this run.
        skipped: Items found complete.
        failed: Items that failed; they are listed in `failures.parquet` of the output folder.
        clock: Where the time went.
    """

    output: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    next: Sequence[str] = ()
    done: int = 0
    skipped: int = 0
    failed: Sequence[Failed[Any]] = ()
    clock: StageClock = field(default_factory=StageClock)

    @property
    def exit_code(self) -> int:
        """0 all well, 1 every item failed, 3 some items failed."""
        if not self.failed:
            return 0
        return 3 if self.done or self.skipped else 1


def write_failures(folder: Path, failed: Sequence[Failed[Any]], provenance: Provenance) -> Path:
    """Write `failures.parquet` (columns item, stage, error, message), or remove an outdated one."""
    import polars as pl

    from stroma.core.tables import FAILURES_SCHEMA, write_table

    path = folder / "failures.parquet"
    if not failed:
        path.unlink(missing_ok=True)
        return path
    rows = [(str(f.item), f.stage, f.error, f.message) for f in failed]
    return write_table(pl.DataFrame(rows, schema=FAILURES_SCHEMA, orient="row"), path, provenance)
