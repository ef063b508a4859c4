"""Weights of networks, known by names and first bytes: nothing in them is run, and torch is not needed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData
from stroma.support.description import Description, quoted

_ENDINGS = {".pth", ".pt", ".ckpt"}  # .bin is anything, .safetensors is looked into


def describe_weights(path: Path) -> Description | None:
    """Describe a file that torch wrote, or an archive of a run of htc; None for every other file.

    Raises:
        InvalidData: it ends as weights do, and is cut off.
    """
    with path.open("rb") as handle:
        head = handle.read(4)
    if head != b"PK\x03\x04":
        return _weights("weights (PyTorch, first format)", path) if path.suffix.lower() in _ENDINGS and head else None
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.split("/") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        if path.suffix.lower() not in _ENDINGS:
            return None
        raise InvalidData("is cut off or damaged", where=path, next_step="Download or copy it again") from error
    if any(len(name) == 2 and name[1] == "data.pkl" for name in names):
        return _weights("weights (PyTorch)", path)
    folds = {tuple(name[:-1]) for name in names if len(name) > 1 and name[-1].endswith(".ckpt")}
    if folds and any(name[-1] == "config.json" for name in names):
        return _weights("archive of a run of htc", path, folds=len(folds))
    return None


def describe_htc_run(folder: Path) -> Description | None:
    """Describe a run folder of htc, `config.json` beside checkpoints in `fold*`; None for every other folder."""
    folds = {path.parent for path in folder.glob("fold*/*.ckpt")}
    if not folds or not (folder / "config.json").is_file():
        return None
    opens = f"import stroma; network = stroma.load_model({str(folder)!r})"
    following = f"stroma predict {quoted(folder)} CUBES -o predictions"
    return Description("run folder of htc", {"folds": len(folds)}, opens, following)


def _weights(kind: str, path: Path, **facts: Any) -> Description:
    facts["size_bytes"] = path.stat().st_size
    opens = f"import stroma; network = stroma.load_model({str(path)!r})"
    return Description(kind, facts, opens, f"stroma models import {quoted(path)} -o imported")
