"""The child process of the peer harness; runs in any Python 3.8+ environment, so it imports nothing of ours."""

import importlib
import json
import os
import sys
import time


def load(function):  # type: ignore[no-untyped-def]
    """`module:function`, or source text that defines `run`."""
    if "\n" in function or "(" in function:
        names = {}
        exec(compile(function, "peer", "exec"), names)  # noqa: S102 - source text of our own benchmark files
        return names["run"]
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def main():  # type: ignore[no-untyped-def]
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
