"""Done records: the last file written for an item, and the only proof that its outputs are complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData, OutputConflict
from stroma.core.files import canonical_json, id_to_name, read_json, sha256, write_json
from stroma.core.provenance import Provenance

_MISSING = object()


def done_path(folder: Path, item: str) -> Path:
    """Where the record of `item` lies: `<folder>/<percent-encoded item>.done.json`."""
    return folder / f"{id_to_name(item)}.done.json"


def write_done(record: Path, provenance: Provenance, outputs: Sequence[Path]) -> Path:
    """Record that `outputs` are complete. Call it after every output has its final name.

    Args:
        record: From `done_path`; the outputs lie in its folder or below.
        provenance: What the outputs were made from and with.
        outputs: The files; their sizes and SHA-256 are stored.
    """
    entries = {
        path.relative_to(record.parent).as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(outputs)
    }
    return write_json(record, {**provenance.to_dict(), "outputs": entries})


def is_complete(record: Path, provenance: Provenance, *, verify: bool = False) -> bool:
    """Tell whether the item of `record` is there, whole, and made with the same settings and inputs.

    Args:
        record: From `done_path`.
        provenance: What the item would be made from and with now.
        verify: Read every output again and compare its hash; otherwise presence and size decide.

    Returns:
        True if it can be skipped, False if it has to be made (again).

    Raises:
        OutputConflict: it was made with other settings or from other inputs; the message names the first
            difference. Making it again would destroy those results, so the user has to say `--overwrite`.
    """
    if not record.exists():
        return False
    try:
        content = read_json(record)
        found = Provenance.from_dict(content, where=record)
        outputs: Mapping[str, Mapping[str, Any]] = content["outputs"]
    except (InvalidData, KeyError):
        return False
    difference = first_difference(found.settings, provenance.settings)
    if difference:
        raise OutputConflict(
            f"was made with other settings: {difference}",
            where=record,
            next_step="Use --overwrite to replace it, or another --output",
        )
    if [entry.to_dict() for entry in found.inputs] != [entry.to_dict() for entry in provenance.inputs]:
        raise OutputConflict(
            f"was made from other input files: {_first_changed_input(found, provenance)}",
            where=record,
            next_step="Use --overwrite to replace it, or another --output",
        )
    return all(_is_whole(record.parent / name, entry, verify) for name, entry in outputs.items())


def _is_whole(path: Path, entry: Mapping[str, Any], verify: bool) -> bool:
    if not path.is_file() or path.stat().st_size != entry["size"]:
        return False
    return not verify or sha256(path) == entry["sha256"]


def _first_changed_input(found: Provenance, now: Provenance) -> str:
    before, after = ({r.id: r for r in p.inputs} for p in (found, now))
    for identifier in sorted(before.keys() | after.keys()):
        if identifier not in after:
            return f"'{identifier}' is no longer among them"
        if identifier not in before:
            return f"'{identifier}' is new"
        if before[identifier] != after[identifier]:
            return f"'{identifier}' has changed"
    return "their order has changed"


def first_difference(before: Any, after: Any, key: str = "") -> str:
    """Name the first key whose values differ: `tissue.sigma was 1.0, is 2.0`; empty when all are equal."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{key}.{name}" if key else str(name)
            difference = first_difference(before.get(name, _MISSING), after.get(name, _MISSING), inner)
            if difference:
                return difference
        return ""
    old, new = ("not set" if v is _MISSING else canonical_json(v) for v in (before, after))
    return "" if old == new else f"{key} was {old}, is {new}"
