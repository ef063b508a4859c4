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


def main() -> None:
    """Answer each line of JSON arguments with the seconds the call took; everything else goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    function = load(sys.argv[1])
    for line in sys.stdin:
        arguments = json.loads(line)
        start = time.perf_counter()
        function(*arguments)
        answers.write(json.dumps(time.perf_counter() - start) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
