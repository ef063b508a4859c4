"""The kill harness: end a verb at random moments, run it again, and compare every byte with an undisturbed run.

compare = kill_and_resume(["tile", str(slide)], tmp_path, kills=5, seed=0)
assert compare.differences == []
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LOGS = ("log", "log.txt")
OUTPUT = "{output}"


@dataclass
class Comparison:
    """What became of an output folder that was built under kills.

    Attributes:
        kills: How many runs were ended before they finished.
        differences: Files that differ from those of the undisturbed run, or are there too much or too little.
    """

    kills: int = 0
    differences: list[str] = field(default_factory=list)


def kill_and_resume(arguments: list[str], folder: Path, *, kills: int = 5, seed: int = 0) -> Comparison:
    """Run `stroma *arguments -o <folder>/…` undisturbed once, then again under kills, and compare.

    The verb is ended with SIGKILL (TerminateProcess on Windows) at uniformly drawn moments of the time that the
    undisturbed run took; workers go down with it. After the last kill it runs to its end.

    Args:
        arguments: The verb and its arguments; `{output}` stands for the output folder (default: `-o {output}`).
        folder: An empty folder.
        kills: How often to end it.
        seed: Of the moments.
    """
    undisturbed, disturbed = folder / "undisturbed" / "out", folder / "disturbed" / "out"
    start = time.perf_counter()
    run_to_end(arguments, undisturbed)
    duration = time.perf_counter() - start
    moments, comparison = random.Random(seed), Comparison()
    for _ in range(kills):
        comparison.kills += run_and_kill(arguments, disturbed, after=moments.uniform(0.05, 1.0) * duration)
    run_to_end(arguments, disturbed)
    comparison.differences = differences(undisturbed, disturbed)
    return comparison


def command(arguments: list[str], output: Path) -> list[str]:
    place = [] if OUTPUT in arguments else ["-o", OUTPUT]
    given = [str(output) if part == OUTPUT else part for part in [*arguments, *place]]
    return [sys.executable, "-c", "from stroma.cli.main import main; main()", *given]


def run_to_end(arguments: list[str], output: Path) -> None:
    done = subprocess.run(command(arguments, output), capture_output=True, text=True, timeout=600)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"stroma {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")


def run_and_kill(arguments: list[str], output: Path, *, after: float) -> bool:
    """Start the verb, end it and its children `after` seconds later; tell whether it was still running."""
    own_session = {"start_new_session": True} if os.name == "posix" else {}
    process = subprocess.Popen(
        command(arguments, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **own_session
    )
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return True


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but logs, which tell of time and place."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not set(path.relative_to(folder).parts) & set(LOGS)
    }


def differences(expected: Path, found: Path) -> list[str]:
    """Names of files that are not equal in both folders; left-over temporary files are no results."""
    before, after = contents(expected), contents(found)
    names = {name for name in before.keys() | after.keys() if not Path(name).name.startswith(".tmp-")}
    return sorted(name for name in names if before.get(name) != after.get(name))
