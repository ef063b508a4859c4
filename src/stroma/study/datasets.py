"""Data sets without a `study.yaml`: opened by the name that the environment gives them, tables in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from stroma.core.component import Component
from stroma.core.config import build, dump_yaml
from stroma.core.errors import MissingFile, OutputConflict, StromaError, UsageError
from stroma.core.files import id_to_name, write_text
from stroma.core.provenance import head_and_tail
from stroma.study.config import STUDY_FILE, STUDY_FORMAT, StudyConfig
from stroma.study.htc.names import ImageName
from stroma.study.htc.settings import SETTINGS_FILE
from stroma.study.layouts.own import make_layout
from stroma.study.layouts.recognise import recognise
from stroma.study.places import CACHE_VARIABLE, cache_folder, find_dataset, known_datasets
from stroma.study.recording import Recording
from stroma.study.study import Study, open_study
from stroma.study.tables import derive_tables, store_tables

_FOLDS = 5


def open_dataset(name: str | Path, *, cache: Path | str | None = None) -> Study:
    """Open a data set as a study without writing into it.

    Args:
        name: Its folder, or its shortcut, folder name or variable (`PATH_Tivita_…`); `name#subset` is the folder
            `data/subset` of it.
        cache: Where its tables are kept; default: `PATH_STROMA_CACHE`, else the system's cache folder.

    Raises:
        UsageError: there is no such data set.
        StromaError: as `recognise` and `open_study` raise.
    """
    root = Path(name) if Path(name).is_dir() else _named(str(name))
    if (root / STUDY_FILE).is_file():
        return open_study(root)
    path = _cached(root.resolve(), cache_folder() if cache is None else Path(cache))
    return open_study(path) if path.is_file() else _describe(root.resolve(), path)


def find_described(path: Path) -> Path | None:
    """The description of a data set of htc that has no `study.yaml`, made in the cache on first use.

    Args:
        path: Its folder with `dataset_settings.json` in it or in `data`, or the name that the environment gives it.

    Returns:
        None when `path` is neither.
    """
    if path.is_dir():
        known = any((path / place).is_file() for place in (SETTINGS_FILE, f"data/{SETTINGS_FILE}"))
        return open_dataset(path).path if known else None
    base = str(path).partition("#")[0]
    if path.exists() or not any(base in place.names for place in known_datasets()):
        return None
    return open_dataset(str(path)).path


def _named(name: str) -> Path:
    base, sign, subset = name.partition("#")
    root = find_dataset(base).path
    if sign and not (root / "data" / subset).is_dir():
        raise MissingFile(f"has no subset '{subset}'", where=root / "data")
    return root / "data" / subset if sign else root


def _cached(root: Path, cache: Path) -> Path:
    """Where the description of a data set is kept; other settings, another place."""
    digest = hashlib.sha256(root.as_posix().encode())
    for settings in (root / SETTINGS_FILE, root / "data" / SETTINGS_FILE):
        if settings.is_file():
            digest.update(head_and_tail(settings).encode())
    return cache / f"{id_to_name(root.name)[:80]}-{digest.hexdigest()[:12]}" / STUDY_FILE


def _describe(root: Path, path: Path) -> Study:
    """Recognise the data set and keep what was found."""
    recognition = recognise(root)
    layout = make_layout(Component(name=recognition.name, **recognition.parameters))
    listing = layout.listing(root)
    scan = layout.scan(listing)
    proposal = layout.propose(listing, scan)
    values = {
        "format": STUDY_FORMAT,
        "name": root.name or "dataset",
        "root": root.as_posix(),
        "layout": {"name": recognition.name, **recognition.parameters},
        "subjects": {"rule": "none" if scan.catalog["subject_id"].null_count() else "layout"},
        **proposal.values(scan.annotations),
    }
    subjects = scan.catalog.join(scan.annotations, on="image_id", how="semi")["subject_id"].n_unique()
    if subjects > 1:
        values["splits"] = {"folds": min(_FOLDS, subjects), "seed": 0}
    config = build(StudyConfig, values, where=root)
    tables = derive_tables(config, path, scan)
    try:
        write_text(path, dump_yaml(values))
    except OSError as error:
        raise OutputConflict(
            f"the cache cannot be written ({error.strerror})",
            where=path.parent,
            next_step=f"Name another folder with --cache or {CACHE_VARIABLE}",
        ) from error
    store_tables(tables, config, path, listing)
    return Study(config, path, tables)


def find_recording(name: str, *, cache: Path | str | None = None) -> Recording:
    """The recording of this name (`P086#2021_04_15_09_22_02@polygon#annotator1`) in any known data set.

    Raises:
        UsageError: none has it, or several.
    """
    wanted = ImageName.parse(name)
    found = [study[name] for study in open_datasets(cache=cache) if wanted.image_id in study]
    if len(found) == 1:
        return found[0]
    names = ", ".join(place.path.name for place in known_datasets()) or "none"
    what = f"is in {len(found)} data sets" if found else f"is in no known data set ({names})"
    raise UsageError(f"'{wanted.image_id}' {what}", next_step="Open its data set: open_dataset(folder)[name]")


def open_datasets(*, cache: Path | str | None = None) -> Iterator[Study]:
    """All known data sets that can be opened; `stroma info` says what is wrong with the others."""
    for place in known_datasets():
        try:
            study = open_dataset(place.path, cache=cache)
        except (StromaError, OSError):
            continue
        yield study
