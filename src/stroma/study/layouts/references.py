"""The layout of data sets that only name images of other data sets: `data/image_references.feather`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from stroma.core.errors import InvalidData, MissingFile
from stroma.study.htc.feather import read_feather
from stroma.study.htc.segmentations import annotations_in
from stroma.study.htc.settings import SETTINGS_FILE, DatasetSettings
from stroma.study.layouts.layout import Proposal, Recognition, Scan, image_counts
from stroma.study.layouts.recordings import DRAWN, Folder, scan_recordings
from stroma.study.listing import Listing, Problem, list_files
from stroma.study.places import known_datasets, network_folder

TABLE = "image_references.feather"
_COLUMNS = ("network_path", "dataset_name")


@dataclass(frozen=True)
class ImageReferences:
    """Studies of images that lie in other data sets, found by name or below the network folder of htc.

    The root, or its folder `data`, holds `image_references.feather` with the columns `network_path`
    (`<data set>/data/…/<timestamp>`) and `dataset_name`. An image's id is `ref#<data set>#<timestamp>`; masks lie in
    `intermediates/segmentations` of the study itself. Whose an image is the table does not say.
    """

    @classmethod
    def recognise(cls, root: Path) -> Recognition | None:
        """Recognise a root by its table."""
        place = _table(root)
        return Recognition("references", f"the table {place}") if place else None

    def listing(self, root: Path) -> Listing:
        """List the table, the settings and the masks.

        Raises:
            MissingFile: there is no table.
        """
        place = _table(root)
        if not place:
            raise MissingFile(f"has no table {TABLE}", where=root)
        beside = (place, str(PurePosixPath(place).with_name(SETTINGS_FILE)))
        files = {path: (root / path).stat().st_size for path in beside if (root / path).is_file()}
        masks = "intermediates/segmentations"
        found = list_files(root, masks) if (root / masks).is_dir() else Listing(root, {}, ())
        return Listing(root, dict(sorted({**files, **found.files}.items())), found.folders, found.problems)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; the catalog has a column `dataset_name`. Images that are nowhere are problems.

        Raises:
            InvalidData: the table cannot be read.
        """
        problems = list(listing.problems)
        settings = _settings(listing)
        masks = annotations_in(listing, "intermediates/segmentations", problems)
        folders = _folders(listing, problems)
        return scan_recordings(listing, folders, _name, lambda folder: settings, problems, masks)

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take the labels from `dataset_settings.json`."""
        settings = _settings(listing)
        labels = settings.labels()
        notes = (f"labels are taken from {SETTINGS_FILE}",) if labels else ("there are no labels",)
        counts = image_counts(scan.annotations, labels.names if labels else ())
        return Proposal(labels, counts=counts, notes=notes, preferred=settings.default_annotations)


def _name(fields: Mapping[str, Any]) -> str:
    return f"ref#{fields['dataset_name']}#{fields['timestamp']}"


def _table(root: Path) -> str:
    return next((place for place in (f"data/{TABLE}", TABLE) if (root / place).is_file()), "")


def _settings(listing: Listing) -> DatasetSettings:
    path = (listing.root / _table(listing.root)).with_name(SETTINGS_FILE)
    return DatasetSettings.load(path) if path.is_file() else DatasetSettings()


def _folders(listing: Listing, problems: list[Problem]) -> Iterator[Folder]:
    """The folder of each reference."""
    place = _table(listing.root)
    path = listing.root / place
    table = read_feather(path)
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise InvalidData(f"has no column '{missing[0]}'", where=path, next_step=f"Its columns: {table.columns}")
    homes = {known.path.name: known.path for known in known_datasets()}
    for network_path, dataset in table.select(pl.col(_COLUMNS).cast(pl.String)).iter_rows():
        reference = PurePosixPath(str(network_path).replace("\\", "/"))
        folder = _find(reference, str(dataset), homes)
        if folder is None:
            problems.append(Problem(place, f"names {reference}, which is in no known data set; it is left out"))
            continue
        files = list_files(folder, without_size=DRAWN).files
        relative = PurePosixPath(Path(os.path.relpath(folder, listing.root)).as_posix())
        cube = f"{relative}/{folder.name}_SpecCube.dat"
        if (listing.root / cube).is_file():
            yield Folder(str(relative), files, folder.name, {"dataset_name": str(dataset)}, cube)
        else:
            problems.append(Problem(cube, "does not exist; the image is left out"))


def _find(reference: PurePosixPath, dataset: str, homes: Mapping[str, Path]) -> Path | None:
    """Where a reference lies: in the data set of this name, else below the network folder."""
    places = []
    if dataset in homes and reference.is_relative_to(dataset):
        places.append(homes[dataset] / reference.relative_to(dataset))
    network = network_folder()
    if network is not None:
        places.append(network / reference)
    return next((place for place in places if place.is_dir()), None)
