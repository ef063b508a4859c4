"""The child process of the peer harness; runs in any Python 3.8+ environment, so it imports nothing of ours."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, Callable  # noqa: UP035 - Python 3.8


def load(function: str) -> Callable[..., Any]:
    """`module:function`, or source text that defines `run`."""
    if "\n" in function or "(" in function:
        names: dict[str, Any] = {}
        exec(compile(function, "peer", "exec"), names)  # source text of our own benchmark files
        return names["run"]  # type: ignore[no-any-return]
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def peak_mib() -> float:
    """Largest resident memory of this process so far in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def main() -> None:
    """Answer each line of JSON arguments with what the call took; everything else goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    function = load(sys.argv[1])
    for line in sys.stdin:
        arguments = json.loads(line)
        start, cpu = time.perf_counter(), time.process_time()
        function(*arguments)
        taken = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        answers.write(json.dumps({**taken, "peak_mib": peak_mib()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
