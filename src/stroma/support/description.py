"""What `describe` answers, and the small things all its parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData
from stroma.core.files import read_json
from stroma.core.provenance import Provenance


@dataclass(frozen=True)
class Description:
    """What `describe` found.

    Attributes:
        kind: What it is, in a few words.
        facts: Name → plain value, in the order to show; lengths carry their unit in the name.
        opens: Python that opens it, or an empty string.
        next: A command that probably follows, or an empty string.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    opens: str = ""
    next: str = ""


def record_facts(path: Path) -> dict[str, Any]:
    """Format, version and fingerprint from a JSON file that carries provenance.

    Raises:
        InvalidData: it carries none.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InvalidData("is no record of Stroma", where=path)
    return provenance_facts(Provenance.from_dict(content, where=path))


def provenance_facts(provenance: Provenance) -> dict[str, Any]:
    """Format, version, settings and their fingerprint, number of inputs."""
    record = provenance.to_dict()
    return {
        "format": record["format"],
        "written_by": f"Stroma {record['stroma']}",
        "fingerprint": record["fingerprint"],
        "settings": record["settings"],
        "inputs": len(record["inputs"]),
    }


def component_name(component: Any) -> str:
    """Name of a component as a configuration gives it, which may be wrong there."""
    return str(component.get("name", "")) if isinstance(component, dict) else str(component)


def quoted(path: Path) -> str:
    """A path as one word of a command line."""
    text = str(path)
    return f'"{text}"' if set(text) & set(" #&;()[]'*?$!<>|") else text
