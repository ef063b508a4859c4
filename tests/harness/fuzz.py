"""The fuzz harness: damage good files at random, read them in a watched process, and allow only StromaErrors.

report = fuzz([Path("good.png")], "tests.harness.readers:read_image", tmp_path, cases=200, seed=0)
assert report.findings == []

A finding names the command that makes the damaged file again and reads it in the foreground:
python -m tests.harness.fuzz READER SEED NUMBER GOOD_FILE…
"""

import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stroma.core.errors import StromaError

INTERESTING = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
EDGE_BYTES = 1024


@dataclass(frozen=True)
class Finding:
    """A damaged file that did something else than being read or refused.

    Attributes:
        outcome: What happened: `crash`, `hang`, or the class of an error that is no StromaError.
        detail: Its message, or the end of what the process wrote when it died.
        replay: Command that does it again.
    """

    outcome: str
    detail: str
    replay: str


@dataclass
class Report:
    """What became of all damaged files."""

    read: int = 0
    refused: int = 0
    findings: list[Finding] = field(default_factory=list)


def fuzz(
    good_files: Sequence[Path],
    reader: str,
    folder: Path,
    *,
    cases: int,
    seed: int = 0,
    memory_bytes: int = 3 * 2**30,
    seconds: float = 20,
) -> Report:
    """Read `cases` damaged copies of good files.

    Args:
        good_files: Files that the reader reads; they are damaged in turn.
        reader: `module:function`, called with the path of a damaged file. A reader may refuse it with a
            StromaError; every other error, a crash, a hang and a memory error are findings.
        folder: Where the damaged files are written, under the names of the good ones.
        cases: How many.
        seed: Together with its number decides what a case is.
        memory_bytes: What a reader may allocate on top of what the process has after its imports (Linux only).
        seconds: What a reader may take for one file.
    """
    report = Report()
    start = 0
    while start < cases:
        plan = {
            "good_files": [str(path) for path in good_files],
            "reader": reader,
            "folder": str(folder),
            "cases": [start, cases],
            "seed": seed,
            "memory_bytes": memory_bytes,
        }
        start = _watch(plan, report, seconds)
    return report


def _watch(plan: dict, report: Report, seconds: float) -> int:
    """Follow one worker until it is done or dies; return the number of the next case."""
    command = [sys.executable, "-X", "faulthandler", "-m", __spec__.name, json.dumps(plan)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, encoding="utf-8")
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_forward, args=(worker.stdout, lines), daemon=True).start()
        number, limit = None, 120.0  # imports may take long
        while True:
            try:
                line = lines.get(timeout=limit)
            except queue.Empty:
                worker.kill()
                worker.wait()
                report.findings.append(Finding("hang", f"more than {limit} s", _replay(plan, number)))
                break
            limit = seconds
            word, _, rest = line.partition(" ")
            if word == "case":
                number = int(rest)
            elif word == "error":
                outcome, _, detail = rest.partition(" ")
                report.findings.append(Finding(outcome, detail, _replay(plan, number)))
            elif word in ("read", "refused"):
                setattr(report, word, getattr(report, word) + 1)
            elif word == "end":
                worker.wait()
                return plan["cases"][1]
            else:  # the pipe was closed: it died
                code = worker.wait()
                errors.seek(0)
                detail = f"exit code {code}: {errors.read().decode(errors='replace')[-2000:]}"
                if number is None:
                    raise RuntimeError(f"the fuzz worker does not start: {detail}")
                report.findings.append(Finding("crash", detail, _replay(plan, number)))
                break
    return (plan["cases"][0] if number is None else number) + 1


def _forward(stream, lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line.rstrip("\n"))
    lines.put("")


def _replay(plan: dict, number: int | None) -> str:
    files = " ".join(f"'{path}'" for path in plan["good_files"])
    return f"python -m {__spec__.name} {plan['reader']} {plan['seed']} {number} {files}"


def work(plan: dict) -> None:
    """Read one damaged file after the other, with a line on standard output before and after each."""
    read = load(plan["reader"])
    good = [Path(path).read_bytes() for path in plan["good_files"]]
    read_good(read, plan)
    limit_memory(plan["memory_bytes"])
    for number in range(*plan["cases"]):
        name = Path(plan["good_files"][number % len(good)]).name
        path = Path(plan["folder"]) / name
        path.write_bytes(damaged(good, plan["seed"], number))
        say("case", str(number))
        try:
            read(path)
        except StromaError:
            say("refused")
        except BaseException as error:  # noqa: BLE001 - also panics of Rust libraries, which are no Exception
            say("error", type(error).__name__, " ".join(str(error).split())[:500])
        else:
            say("read")
    say("end")


def read_good(read: Callable[[Path], object], plan: dict) -> None:
    """Read the undamaged files: they must be good, and it imports all that will be needed."""
    for path in plan["good_files"]:
        read(Path(path))


def say(*words: str) -> None:
    """Write one line that the parent sees at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def load(reader: str) -> Callable[[Path], object]:
    """Import `module:function`."""
    module, _, name = reader.partition(":")
    return getattr(importlib.import_module(module), name)


def limit_memory(extra_bytes: int) -> None:
    """Let allocations fail beyond what the process has now and `extra_bytes` more, where the system can."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def damaged(good: Sequence[bytes], seed: int, number: int) -> bytes:
    """The content of case `number`: one of the good contents with one to four kinds of damage."""
    rng = np.random.default_rng([seed, number])
    content = bytearray(good[number % len(good)])
    for _ in range(rng.integers(1, 5)):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content = damage(content, rng, good[rng.integers(len(good))])
    return repair_png(bytes(content)) if rng.random() < 0.7 else bytes(content)


def place(content: bytearray, rng: np.random.Generator) -> int:
    """A position; every second one is near the beginning or the end, where headers are."""
    size = max(1, len(content))
    if rng.random() < 0.5:
        near = int(rng.integers(min(size, EDGE_BYTES)))
        return near if rng.random() < 0.6 else size - 1 - near
    return int(rng.integers(size))


def flip_bits(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(rng.integers(1, 17)):
        if content:
            content[place(content, rng)] ^= 1 << int(rng.integers(8))
    return content


def overwrite(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, length = place(content, rng), int(rng.integers(1, 65))
    kind = rng.integers(3)
    new = rng.bytes(length) if kind == 0 else bytes([0 if kind == 1 else 255]) * length
    content[at : at + length] = new[: max(0, len(content) - at)]
    return content


def change_number(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Write a number that programmers forget about over 2, 4 or 8 bytes."""
    at, length = place(content, rng), int(rng.choice([2, 4, 8]))
    values = (*INTERESTING, len(content), len(content) - 1, int(rng.integers(2**32)))
    value = values[rng.integers(len(values))] * (-1 if rng.random() < 0.2 else 1)
    order = "big" if rng.random() < 0.5 else "little"
    content[at : at + length] = (value % 256**length).to_bytes(length, order)[: max(0, len(content) - at)]
    return content


def cut(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return content[: place(content, rng)] if rng.random() < 0.5 else content


def repeat_block(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, length = place(content, rng), int(rng.integers(1, 257))
    return content[: at + length] + content[at:]


def remove_block(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, length = place(content, rng), int(rng.integers(1, 65))
    return content[:at] + content[at + length :]


def splice(content: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    """Replace a piece by one from another place, or from another good file."""
    source = bytearray(other)
    start, at, length = place(source, rng), place(content, rng), int(rng.integers(1, 129))
    piece = source[start : start + length]
    content[at : at + len(piece)] = piece
    return content


DAMAGES = (flip_bits, overwrite, change_number, change_number, cut, repeat_block, remove_block, splice)


def repair_png(content: bytes) -> bytes:
    """Make the checksums of a PNG right again, so that its damage is seen by more than the check of these."""
    import zlib

    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    result, at = bytearray(content), 8
    while at + 12 <= len(result):
        end = at + 8 + int.from_bytes(result[at : at + 4], "big")
        if end + 4 > len(result):
            break
        result[end : end + 4] = zlib.crc32(result[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(result)


def replay(reader: str, seed: str, number: str, *good_files: str) -> None:
    """Read one case in this process, with its traceback."""
    good = [Path(path).read_bytes() for path in good_files]
    name = Path(good_files[int(number) % len(good)]).name
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(damaged(good, int(seed), int(number)))
    say("written:", str(path))
    load(reader)(path)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        work(json.loads(sys.argv[1]))
    else:
        replay(*sys.argv[1:])
