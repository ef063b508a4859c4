"""The peer harness: another package's function in an environment of its own, beside ours, taking turns.

A benchmark file names a setup that makes the input, our function and the peer's, all as `module:function` or as
source text, and the packages the peer needs (it may need NumPy < 2 or an older torch). Both run in processes of
their own that stay alive; they alternate call by call, so that both see the same machine, and the medians are
compared. Losses are printed like gains.

    python -m benchmarks            # all
    python -m benchmarks cube_read  # one
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / ".environments"
_SUFFIX = {"seconds": "", "cpu_seconds": ", CPU time", "peak_mib": ", peak memory"}
_UNIT = {"seconds": "s", "cpu_seconds": "s", "peak_mib": "MiB"}
_SERVER = Path(__file__).with_name("peer_server.py")


@dataclass(frozen=True)
class Side:
    """One of the two functions.

    Attributes:
        name: What the table calls it.
        function: `module:function`, or Python source that defines `run(*arguments)`.
        packages: What pip installs for it; empty: our own environment.
    """

    name: str
    function: str
    packages: tuple[str, ...] = ()


@dataclass
class Comparison:
    """The figures of one case, in seconds; with `unit` MiB peak memory stands where seconds do."""

    case: str
    ours: str
    peer: str
    ours_seconds: list[float] = field(default_factory=list)
    peer_seconds: list[float] = field(default_factory=list)
    note: str = ""
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Median time (or memory) of the peer over ours: above 1 we are better."""
        return statistics.median(self.peer_seconds) / statistics.median(self.ours_seconds)


def compare(
    case: str, ours: Side, peer: Side, arguments: Sequence[Any] = (), *, repeats: int = 7, note: str = ""
) -> Comparison:
    """Run both sides alternately, one warm-up call each, and return their timings.

    Args:
        case: Name of the case.
        ours: Our side.
        peer: The other side; its environment is created on first use.
        arguments: JSON values for both functions, usually paths.
        repeats: Timed calls per side.
        note: What the reader has to know.
    """
    return compare_measures(case, ours, peer, arguments, measures=("seconds",), repeats=repeats, note=note)[0]


def compare_measures(
    case: str,
    ours: Side,
    peer: Side,
    arguments: Sequence[Any] = (),
    *,
    measures: Sequence[str],
    repeats: int = 7,
    warm_up: bool = True,
    note: str = "",
) -> list[Comparison]:
    """Like `compare`, for several measures of the same calls.

    Args:
        case: Name of the case.
        ours: Our side.
        peer: The other side.
        arguments: JSON values for both functions.
        measures: Of `seconds`, `cpu_seconds` (all threads of the process) and `peak_mib` (of its whole life).
        repeats: Measured calls per side.
        warm_up: Whether a call that is not measured comes first.
        note: What the reader has to know.

    Returns:
        One comparison a measure.
    """
    results = {
        name: Comparison(f"{case}{_SUFFIX[name]}", ours.name, peer.name, note=note, unit=_UNIT[name])
        for name in measures
    }
    with _server(ours) as call_ours, _server(peer) as call_peer:
        if warm_up:
            call_ours(arguments)
            call_peer(arguments)
        for _ in range(repeats):
            taken = call_ours(arguments), call_peer(arguments)
            for name, result in results.items():
                result.ours_seconds.append(taken[0][name])
                result.peer_seconds.append(taken[1][name])
    return list(results.values())


def python_of(packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with `packages`, created once; ours when there are none."""
    if not packages:
        return Path(sys.executable)
    folder = CACHE / hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "complete").write_text("\n".join(packages))
    return python


@contextmanager
def _server(side: Side) -> Iterator[Any]:
    """A process that calls the side's function for each line of JSON and answers with what it took."""
    process = subprocess.Popen(
        [python_of(side.packages), _SERVER, side.function], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process of a side has no pipes")
    requests, answers = process.stdin, process.stdout

    def call(arguments: Sequence[Any]) -> dict[str, float]:
        requests.write(json.dumps(list(arguments)) + "\n")
        requests.flush()
        answer = answers.readline()
        if not answer:
            raise RuntimeError(f"'{side.name}' ended; its message is above")
        taken: dict[str, float] = json.loads(answer)
        return taken

    try:
        yield call
    finally:
        requests.close()
        process.wait(timeout=60)


def report(comparisons: Sequence[Comparison], path: Path | None = None) -> str:
    """One table of medians and ratios; with `path` also all timings as JSON."""
    lines = ["| case | ours (median) | peer (median) | ratio | note |", "| --- | --- | --- | --- | --- |"]
    for entry in comparisons:
        ours, peer = statistics.median(entry.ours_seconds), statistics.median(entry.peer_seconds)
        worse = " (slower)" if entry.unit == "s" else " (more)"
        verdict = f"{entry.ratio:.2f}×" + ("" if entry.ratio >= 1 else worse)
        figures = [f"{1e3 * v:.1f} ms" if entry.unit == "s" else f"{v:.0f} {entry.unit}" for v in (ours, peer)]
        lines.append(
            f"| {entry.case} | {entry.ours}: {figures[0]} | {entry.peer}: {figures[1]} | {verdict} | {entry.note} |"
        )
    if path is not None:
        machine = {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}
        content = {"machine": machine, "comparisons": [{**asdict(c), "ratio": c.ratio} for c in comparisons]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return "\n".join(lines)
