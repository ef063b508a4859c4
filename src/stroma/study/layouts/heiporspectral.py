"""The layout of HeiPorSPECTRAL: `data/subjects/<subject>/<timestamp>/<timestamp>_SpecCube.dat` and annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stroma.core.errors import MissingFile
from stroma.study.htc.meta_table import join_meta_table
from stroma.study.htc.segmentations import annotations_in
from stroma.study.htc.settings import SETTINGS_FILE, DatasetSettings
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import Proposal, Recognition, Scan, image_counts
from stroma.study.layouts.recordings import CUBE, DRAWN, Folder, scan_recordings
from stroma.study.layouts.tivita import SCHEME_OF_CLASS
from stroma.study.listing import Listing, Problem, is_hidden, list_files
from stroma.study.places import known_datasets


@dataclass(frozen=True)
class HeiPorSpectral:
    """Studies in the folder scheme of HeiPorSPECTRAL (Studier-Fischer et al. 2023).

    The root is the data set or its folder `data`. An image is `<subject>/<timestamp>` with
    `<timestamp>_SpecCube.dat` in it, and its id is `<subject>#<timestamp>`. Annotations are 1-bit PNGs
    `annotations/<timestamp>#<layer>#<annotator>#<label>#binary.png`, or for images without them the masks of htc
    in `intermediates/segmentations`. Folders `overlap…/subjects/<subject>/<timestamp>` hold other annotations of
    images that lie elsewhere; their ids end in `#overlap`.

    Attributes:
        with_identifiers: Whether names, birth dates and ids of patients get into the catalog; without it patient
            files (`*.xml`) are not even opened.
    """

    with_identifiers: bool = False

    @classmethod
    def recognise(cls, root: Path) -> Recognition | None:
        """Recognise a root by its folder `subjects` with `dataset_settings.json` beside it, or a cube inside."""
        subjects = _subjects(root)
        if subjects is None or _settings(root).path_class in SCHEME_OF_CLASS:
            return None
        if (root / subjects).with_name(SETTINGS_FILE).is_file():
            return Recognition("heiporspectral", f"'{subjects}' with {SETTINGS_FILE} beside it")
        cube = next((root / subjects).glob(f"*/*/*{CUBE}"), None)
        return Recognition("heiporspectral", f"'{subjects}' with cubes such as {cube.name}") if cube else None

    def listing(self, root: Path) -> Listing:
        """List `subjects`, `overlap…/subjects`, and of the intermediates the masks and tables.

        Raises:
            MissingFile: there is no such folder.
        """
        subjects = _subjects(root)
        if subjects is None:
            raise MissingFile("has neither a folder 'data/subjects' nor 'subjects'", where=root)
        listing = list_files(root, subjects, without_size=DRAWN)
        files, folders, problems = dict(listing.files), list(listing.folders), list(listing.problems)
        settings = Path(subjects).with_name(SETTINGS_FILE).as_posix()
        if (root / settings).is_file():
            files = {settings: (root / settings).stat().st_size, **files}
        intermediates = _intermediates(root, subjects)
        beside = [*_overlaps(root, subjects), f"{intermediates}/segmentations", f"{intermediates}/tables"]
        for folder in beside:
            if (root / folder).is_dir():
                more = list_files(root, folder, without_size=DRAWN)
                files |= more.files
                folders += more.folders
                problems += more.problems
        return Listing(root, files, tuple(folders), tuple(problems))

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens only logs and meta files of images, settings, and the tables of htc.

        The catalog has further columns `timestamp`, `camera`, `height`, `width` where they are known, the plain
        values of the image's meta file, those of the camera's log (`Camera_CamID`), and what the meta table of
        htc adds. Values kept per label (`situs`, `angle`) are null where the labels of an image differ in them.
        """
        root, subjects = listing.root, _subjects(listing.root) or ""
        settings = _settings(root)
        problems = list(listing.problems)
        masks = annotations_in(listing, f"{_intermediates(root, subjects)}/segmentations", problems)
        folders = list(_image_folders(listing, subjects, problems))
        for overlap in _overlaps(root, subjects):
            folders += _overlap_folders(listing, overlap, subjects, problems)
        scan = scan_recordings(
            listing, folders, _name, lambda folder: settings, problems, masks, self.with_identifiers
        )
        tables = f"{_intermediates(root, subjects)}/tables"
        return join_meta_table(scan, listing, tables, with_identifiers=self.with_identifiers)

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take the labels from `dataset_settings.json`, else from the names of the annotation files."""
        settings = _settings(listing.root)
        labels = settings.labels()
        note = f"labels, their order and what is not annotated are taken from {SETTINGS_FILE}"
        if labels is None:
            names = scan.annotations["label"].drop_nulls().unique().sort().to_list()
            labels = LabelMapping.of(names) if names else None
            note = f"there is no {SETTINGS_FILE}: labels are taken from the names of the annotation files"
        counts = image_counts(scan.annotations, labels.names if labels else ())
        return Proposal(labels, counts=counts, notes=(note,), preferred=settings.default_annotations)


def _name(fields: Mapping[str, Any]) -> str:
    overlap = f"#{fields['overlap']}" if fields.get("overlap") else ""
    return f"{fields['subject']}#{fields['timestamp']}{overlap}"


def _subjects(root: Path) -> str | None:
    """The folder `subjects` relative to the root."""
    return next((folder for folder in ("data/subjects", "subjects") if (root / folder).is_dir()), None)


def _intermediates(root: Path, subjects: str) -> str:
    """The folder `intermediates` relative to the root: beside `data`, also for a subset inside of `data`."""
    places = ("intermediates", "../intermediates", "../../intermediates")[0 if subjects.startswith("data/") else 1 :]
    return next((place for place in places if (root / place).is_dir()), places[0])


def _overlaps(root: Path, subjects: str) -> list[str]:
    """Folders `overlap…/subjects` beside the folder `subjects`."""
    data = (root / subjects).parent
    found = sorted(folder for folder in data.glob("overlap*/subjects") if folder.is_dir())
    return [folder.relative_to(root).as_posix() for folder in found]


def _settings(root: Path) -> DatasetSettings:
    """Read `dataset_settings.json` beside the folder `subjects`; empty if there is none."""
    path = (root / (_subjects(root) or "")).with_name(SETTINGS_FILE)
    return DatasetSettings.load(path) if path.is_file() else DatasetSettings()


def _image_folders(listing: Listing, subjects: str, problems: list[Problem]) -> Iterator[Folder]:
    """Each `<subject>/<timestamp>` folder with the files below it."""
    start, depth = f"{subjects}/", subjects.count("/") + 1
    folders: dict[str, dict[str, int]] = {}
    for path in listing.folders:
        level = path.count("/") - depth if path.startswith(start) else -1
        if level in (0, 1) and is_hidden(path):
            problems.append(Problem(path, "is a hidden folder; it is left out", harmless=True))
        elif level == 1:
            folders[path] = {}
    home, inside = "", {}
    for path, size in listing.files.items():
        if home and path.startswith(home):  # sorted: the files of a folder follow each other
            inside[path[len(home) :]] = size
        elif path.startswith(start):
            parts = path.split("/", depth + 2)
            folder = path[: -len(parts[-1]) - 1]
            if len(parts) < depth + 3:
                problems.append(Problem(path, "is a file where a folder is expected; it is left out", harmless=True))
            elif folder in folders:
                home, inside = f"{folder}/", folders[folder]
                inside[parts[-1]] = size
    for path, files in folders.items():
        _, subject, timestamp = path.rsplit("/", 2)
        yield Folder(path, files, timestamp, {"subject": subject})


def _overlap_folders(listing: Listing, overlap: str, subjects: str, problems: list[Problem]) -> Iterator[Folder]:
    """The folders below `overlap…/subjects`, with the place of their cubes in this or another data set."""
    name = overlap.split("/")[-2]
    places = [listing.root / subjects, *(place.path / "data" / "subjects" for place in known_datasets())]
    for folder in _image_folders(listing, overlap, problems):
        inside = f"{folder.fields['subject']}/{folder.timestamp}/{folder.cube}"
        cube = next((place / inside for place in places if (place / inside).is_file()), None)
        if cube is None:
            problems.append(Problem(folder.path, f"has no cube {inside} in any known data set; it is left out"))
            continue
        path = Path(os.path.relpath(cube, listing.root)) if cube.is_relative_to(listing.root) else cube
        fields = {**folder.fields, "overlap": name}
        yield Folder(folder.path, folder.files, folder.timestamp, fields, path.as_posix())
