"""The log beside a verb's results: when, where and how fast; everything that provenance leaves out."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stroma import __version__
from stroma.core.files import json_default


def append_log(folder: Path, verb: str, entry: dict[str, Any]) -> Path:
    """Append one line of JSON to `<folder>/log/<verb>.jsonl` and return its path.

    Args:
        folder: The verb's output folder.
        verb: Its name.
        entry: Options, counts, the stage clock.
    """
    path = folder / "log" / f"{verb}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "verb": verb,
        "stroma": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        **entry,
    }
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line, ensure_ascii=False, default=json_default) + "\n")
    return path
