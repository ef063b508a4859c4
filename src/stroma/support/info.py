"""`stroma info`: versions, devices, settings, and the data sets that the environment names."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from stroma import __version__
from stroma.core.errors import StromaError
from stroma.core.verbs import VerbOptions, VerbResult
from stroma.study.htc.settings import DatasetSettings
from stroma.study.places import (
    EXAMPLE_LINES,
    SETTINGS_FILE,
    DatasetPlace,
    cache_folder,
    known_datasets,
    known_settings,
    result_folders,
    settings_files,
    settings_folder,
)

_LIBRARIES = (
    "numpy", "scipy", "polars", "scikit-image", "scikit-learn", "openslide-python", "tifffile", "imagecodecs",
    "torch", "torchvision", "lightning", "timm", "segmentation-models-pytorch", "kornia",
)  # fmt: skip

_INSTALL = 'python -m pip install "stroma[learn]"'

_GPU_FILES = ("nvidia[0-9]*", "nvhost*", "kfd", "dxg")
"""Of NVIDIA, of its Jetson, of AMD, of the Windows subsystem for Linux."""


class InfoOptions(VerbOptions):
    """Options of `stroma info`."""

    open: bool = Field(False, description="Open every data set: count its images, find what is wrong with them")
    cache: Path | None = Field(
        None, description="Folder for what is derived from data sets, which are never written to"
    )


def info(options: InfoOptions) -> VerbResult:
    """Show versions, devices, settings and data sets, and what is wrong with them.

    Settings are environment variables (`PATH_Tivita_…` for data sets, `PATH_HTC_RESULTS…`, `PATH_STROMA_CACHE`),
    lines of a file `.env` in the working folder, or of a settings file of yours; the environment wins.
    """
    settings, broken = known_settings()
    files = settings_files()
    own = settings_folder() / SETTINGS_FILE
    datasets = [_dataset(place, options) for place in known_datasets(settings)]
    results = {name: _folder(path) for name, path in result_folders(settings).items()}
    details: dict[str, Any] = {
        "stroma": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "cores": os.cpu_count() or 1,
        "libraries": _versions(),
        "devices": _devices(),
        "settings_files": {str(path): path.is_file() for path in files},
        "settings_problems": [str(error) for error in broken],
        "settings": {name: {"value": one.value, "from": one.source} for name, one in settings.items()},
        "datasets": datasets,
        "results": results,
        "cache": str(options.cache or cache_folder(settings)),
    }
    return VerbResult(lines=_lines(details, own), details=details, next=_next(details))


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _devices() -> list[str]:
    """Devices on which networks can run; empty without torch, which is asked only where there may be a GPU."""
    if importlib.util.find_spec("torch") is None:
        return []
    if sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in _GPU_FILES):
        return ["cpu"]
    import torch

    gpus = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _dataset(place: DatasetPlace, options: InfoOptions) -> dict[str, Any]:
    """What is known about a data set, and what is wrong with it."""
    problems = list(place.problems)
    found: dict[str, Any] = {
        "variable": place.variable,
        "from": place.source,
        "path": str(Path.cwd() / place.path),
        "names": list(place.names),
    }
    if place.path.is_dir():
        try:
            settings = DatasetSettings.nearest(place.path / "data", place.path)
            if settings.path is None:
                problems.append("has no dataset_settings.json: labels are taken from the annotation files")
            found["labels"] = len(settings.labels() or ())
        except StromaError as error:
            problems.append(str(error))
        parts = ("data/subjects", "intermediates/segmentations", "intermediates/tables")
        found["there"] = [part for part in parts if (place.path / part).is_dir()]
        if options.open:
            from stroma.study.datasets import open_dataset  # imports what reads images

            try:
                study = open_dataset(place.path, cache=options.cache)
                bad = [problem for problem in study.refresh() if not problem.harmless]
                found |= {"images": len(study), "subjects": study.describe_subjects()}
                problems += [f"{problem.path} {problem.message}" for problem in bad[:10]]
                problems += [f"… and {len(bad) - 10} more problems"] if len(bad) > 10 else []
            except StromaError as error:
                problems.append(str(error))
    return {**found, "problems": problems}


def _folder(path: Path) -> dict[str, Any]:
    return {"path": str(path), "problems": [] if path.is_dir() else ["the folder does not exist"]}


def _lines(details: dict[str, Any], own: Path) -> list[str]:
    versions = details["libraries"]
    installed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = ", ".join(name for name, version in versions.items() if version is None)
    lines = [
        f"Stroma {details['stroma']}, Python {details['python']} ({sys.executable})",
        f"{details['system']}, {details['cores']} cores",
        f"libraries: {installed}",
        *([f"not installed: {missing} ({_INSTALL})"] if missing else []),
        f"devices: {', '.join(details['devices']) or 'none, since torch is not installed'}",
        "",
        *_settings_lines(details, own),
        "",
    ]
    if not details["datasets"]:
        lines.append("data sets: none; a folder can also be described with 'stroma init FOLDER'")
    for entry in details["datasets"]:
        counted = f", {entry['images']:,} images, {entry['subjects']}" if "images" in entry else ""
        lines.append(f"data set {entry['names'][0]}: {entry['path']}{counted}")
        lines += [f"  problem: {problem}" for problem in entry["problems"]]
    for name, entry in details["results"].items():
        lines.append(f"{name}: {entry['path']}")
        lines += [f"  problem: {problem}" for problem in entry["problems"]]
    return [*lines, f"cache: {details['cache']}"]


def _settings_lines(details: dict[str, Any], own: Path) -> list[str]:
    lines = [f"settings file: {path}" for path, there in details["settings_files"].items() if there]
    if not own.is_file():
        lines += [
            f"you have no settings file; {own} may hold lines such as",
            *(f"  {line}" for line in EXAMPLE_LINES),
        ]
    lines += [f"problem: {problem}" for problem in details["settings_problems"]]
    for name, entry in details["settings"].items():
        lines.append(f"{name}={entry['value']} (from {entry['from']})")
    return lines


def _next(details: dict[str, Any]) -> list[str]:
    usable = next((entry for entry in details["datasets"] if not entry["problems"]), None)
    if usable is not None:
        return [f"stroma init '{usable['path']}'"]
    return [*([] if details["devices"] else [_INSTALL]), "stroma demo"]
