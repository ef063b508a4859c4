"""Where fetched weights lie, and which licences have been accepted there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.files import read_json, write_json
from stroma.models.card import PublishedModel

VARIABLE = "STROMA_WEIGHTS_DIR"


def weights_folder(given: Path | None = None) -> Path:
    """The folder of fetched weights: as given, else `STROMA_WEIGHTS_DIR`, else one in the user's cache."""
    if given is not None:
        return Path(given)
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "stroma" / "weights"


def require_licence(model: PublishedModel, folder: Path, *, accept: bool) -> None:
    """Check that a non-commercial licence has been accepted in this weights folder, or accept it now.

    Args:
        model: The published model; open licences need nothing.
        folder: From `weights_folder`; `licences.json` there remembers.
        accept: Whether the user accepts it with this call.

    Raises:
        UsageError: it has not been accepted.
    """
    if not model.non_commercial:
        return
    path = folder / "licences.json"
    accepted = _accepted(path)
    whose = model.name if model.system == "encoders" else model.system
    if accepted.get(whose) == model.licence:
        return
    if not accept:
        own = "" if folder == weights_folder() else f" --weights-dir '{folder}'"
        raise UsageError(
            f"the weights of {model.name} may not be used commercially ({model.licence}, {model.source})",
            next_step=f"If you agree, once: stroma models fetch '{model.name}' --accept-licence{own} (in Python: "
            "accept_licence=True)",
        )
    write_json(path, {**accepted, whose: model.licence})


def _accepted(path: Path) -> dict[str, str]:
    try:
        content = read_json(path)
    except MissingFile:
        return {}
    if not isinstance(content, dict):
        raise InvalidData("is not a record of accepted licences", where=path, next_step="Delete it and accept again")
    return content
