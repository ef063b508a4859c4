"""JSON schemas of the files that users write, for editors that complete and check them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from stroma.core.config import Section
from stroma.core.files import write_json
from stroma.runs.config import RunConfig
from stroma.study.config import StudyConfig

MODELS: dict[str, type[Section]] = {"run": RunConfig, "study": StudyConfig}


def schema(name: str) -> dict[str, Any]:
    """JSON schema of a run configuration (`run`) or of `study.yaml` (`study`).

    `extends` is resolved before a file is checked, so the schema allows it at the top.
    """
    content = MODELS[name].model_json_schema()
    parents = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    content["properties"] = {"extends": parents, **content["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **content}


def write_schemas(folder: Path) -> list[Path]:
    """Write `<name>.schema.json` of every model into `folder`."""
    return [write_json(folder / f"{name}.schema.json", schema(name)) for name in MODELS]


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
