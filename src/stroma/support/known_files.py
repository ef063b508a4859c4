"""Tables, documents, arrays and weights: known by their first bytes, then by their suffix."""

from __future__ import annotations

import csv
import io
import json
import tokenize
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from stroma.core.config import read_mapping
from stroma.core.errors import InvalidData
from stroma.core.files import read_json
from stroma.core.tables import UNREADABLE_TABLE, read_provenance
from stroma.study.config import STUDY_FILE
from stroma.support.description import Description, component_name, provenance_facts, quoted, record_facts

_HEAD_BYTES = 64 * 1024
_COUNT_LINES_BELOW = 256 * 2**20


def describe_file(path: Path) -> Description:
    """Say what a file is that is no image.

    Raises:
        InvalidData: it is damaged.
        ConfigError: it is YAML with an error in it.
    """
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    facts: dict[str, Any] = {"size_bytes": path.stat().st_size}
    for matches, describe_it in _KINDS:
        if matches(path, head):
            found = describe_it(path, head)
            return Description(found.kind, {**found.facts, **facts}, found.opens, found.next)
    if _is_text(head):
        return Description("text; it may name patients, so nothing of it is shown", facts)
    return Description("unknown", {**facts, "first_bytes": head[:16].hex(" ")})


def describe_study(file: Path, named: Path) -> Description:
    """Describe `study.yaml`; `named` is what the user named, it or its folder."""
    content = read_mapping(file)
    layout = content.get("layout", {})
    labels = content.get("labels") or {}
    facts = {
        "name": str(content.get("name", "")),
        "layout": component_name(layout),
        "labels": list(labels.get("names", ())) if isinstance(labels, dict) else [],
    }
    return Description("study", facts, f"import stroma; study = stroma.open_study({str(named)!r})")


def _parquet(path: Path, head: bytes) -> Description:
    try:
        schema = pl.read_parquet_schema(path)
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable Parquet file ({error})", where=path) from error
    try:
        provenance = provenance_facts(read_provenance(path))
    except InvalidData:
        provenance = {}
    facts = {"rows": rows, "columns": {name: str(kind) for name, kind in schema.items()}, **provenance}
    kind = f"table of Stroma ({provenance['format']})" if provenance else "Parquet table"
    return Description(kind, facts, f"import polars; table = polars.read_parquet({str(path)!r})")


def _arrow(path: Path, head: bytes) -> Description:
    try:
        schema = pl.read_ipc_schema(path)
    except UNREADABLE_TABLE as error:
        raise InvalidData(f"is not a readable Arrow file ({error})", where=path) from error
    facts = {"columns": {name: str(kind) for name, kind in schema.items()}}
    return Description("Arrow (Feather) table", facts, f"import polars; table = polars.read_ipc({str(path)!r})")


def _csv(path: Path, head: bytes) -> Description:
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    first = lines[0] if lines else ""
    separator = max(",;\t|", key=first.count)
    names = next(csv.reader(io.StringIO(first), delimiter=separator), [])
    has_header = len(set(names)) == len(names) > 0 and all(names[1:]) and not any(_is_number(name) for name in names)
    facts: dict[str, Any] = {"separator": separator, "columns": names if has_header else len(names)}
    if path.stat().st_size < _COUNT_LINES_BELOW:
        with path.open("rb") as handle:
            facts["lines"] = sum(1 for _ in handle)
    options = ("" if separator == "," else f", separator={separator!r}") + (
        "" if has_header else ", has_header=False"
    )
    return Description("CSV table", facts, f"import polars; table = polars.read_csv({str(path)!r}{options})")


def _json(path: Path, head: bytes) -> Description:
    content = read_json(path)
    if isinstance(content, dict) and {"format", "stroma", "settings", "inputs"} <= content.keys():
        outputs = {"outputs": len(content["outputs"])} if "outputs" in content else {}
        return Description("record of Stroma", record_facts(path) | outputs)
    features = content.get("features") if isinstance(content, dict) else content
    if isinstance(features, list) and features and all(isinstance(f, dict) and "geometry" in f for f in features):
        kinds = Counter(str((feature["geometry"] or {}).get("type")) for feature in features)
        opens = f"from stroma.regions import read_geojson; annotations = read_geojson({str(path)!r})"
        return Description("GeoJSON", {"features": len(features), "geometries": dict(kinds)}, opens)
    facts = (
        {"keys": len(content)}
        if isinstance(content, dict)
        else {"entries": len(content)}
        if isinstance(content, list)
        else {}
    )
    return Description(
        "JSON", facts, f"import json, pathlib; value = json.loads(pathlib.Path({str(path)!r}).read_text())"
    )


def _yaml(path: Path, head: bytes) -> Description:
    if path.name == STUDY_FILE:
        return describe_study(path, path)
    content = read_mapping(path)
    if {"data", "model"} <= content.keys():
        facts: dict[str, Any] = {
            name: component_name(content[name]) for name in ("model", "task", "loss") if name in content
        }
        return Description("configuration of a run", facts, "", f"stroma train {quoted(path)} -o run")
    opens = f"import pathlib, yaml; value = yaml.safe_load(pathlib.Path({str(path)!r}).read_text())"
    return Description("YAML", {"keys": len(content)}, opens)


def _npy(path: Path, head: bytes) -> Description:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, SyntaxError, TypeError, OverflowError, tokenize.TokenError) as error:
        raise InvalidData(f"is not a readable NumPy file ({error})", where=path) from error
    facts = {"shape": list(array.shape), "dtype": str(array.dtype)}
    return Description("NumPy array", facts, f"import numpy; array = numpy.load({str(path)!r})")


def _safetensors(path: Path, head: bytes) -> Description:
    end = 8 + int.from_bytes(head[:8], "little")
    if end > path.stat().st_size:
        raise InvalidData("is not a readable safetensors file: it ends before its header does", where=path)
    try:
        with path.open("rb") as handle:
            header = json.loads(handle.read(end)[8:])
        tensors = [value["shape"] for name, value in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidData("is not a readable safetensors file", where=path) from error
    facts = {"tensors": len(tensors), "parameters": sum(int(np.prod(shape)) for shape in tensors)}
    return Description(
        "weights", facts, f"import safetensors.torch; weights = safetensors.torch.load_file({str(path)!r})"
    )


def _dicom(path: Path, head: bytes) -> Description:
    tag = head.find(b"\x08\x00\x60\x00")  # (0008,0060) Modality
    at = tag + 6 if head[tag + 4 : tag + 6] == b"CS" else tag + 4  # explicit or implicit representation
    length = int.from_bytes(head[at : tag + 8], "little")
    modality = head[tag + 8 : tag + 8 + min(length, 16)].decode("ascii", "replace").strip() if tag >= 0 else "unknown"
    return Description("DICOM, but no slide; its header may name a patient and is not shown", {"modality": modality})


_KINDS: tuple[tuple[Callable[[Path, bytes], bool], Callable[[Path, bytes], Description]], ...] = (
    (lambda path, head: head.startswith(b"PAR1"), _parquet),
    (lambda path, head: head.startswith(b"ARROW1"), _arrow),
    (lambda path, head: head.startswith(b"\x93NUMPY"), _npy),
    (lambda path, head: head[128:132] == b"DICM", _dicom),
    (lambda path, head: path.suffix.lower() == ".parquet", _parquet),
    (lambda path, head: path.suffix.lower() == ".safetensors", _safetensors),
    (lambda path, head: path.suffix.lower() in {".json", ".geojson"}, _json),
    (lambda path, head: path.suffix.lower() in {".yaml", ".yml"}, _yaml),
    (lambda path, head: path.suffix.lower() in {".csv", ".tsv"} and _is_text(head), _csv),
)
"""Asked in this order: by first bytes, then by suffix."""


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head[:4096])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
