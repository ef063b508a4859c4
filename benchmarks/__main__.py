"""`python -m benchmarks [NAME…]`: run benchmark files and print one table."""

import importlib
import sys
from pathlib import Path

from benchmarks.peer import Comparison, report

HARNESS = {"__init__", "__main__", "peer", "peer_server"}


def main() -> None:
    """Run the named benchmark files, or all."""
    folder = Path(__file__).parent
    names = sys.argv[1:] or sorted(p.stem for p in folder.glob("*.py") if p.stem not in HARNESS)
    comparisons: list[Comparison] = []
    for name in names:
        comparisons += importlib.import_module(f"benchmarks.{name}").run()
    print(report(comparisons, folder / "results" / "latest.json"))


if __name__ == "__main__":
    main()
