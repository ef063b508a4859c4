"""Tivita recordings in any scheme of folders: sepsis studies, intensive care, a plain tree, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from stroma.core.errors import ConfigError, nearest
from stroma.study.htc.meta_table import join_meta_table
from stroma.study.htc.segmentations import annotations_in
from stroma.study.htc.settings import SETTINGS_FILE, DatasetSettings
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import Proposal, Recognition, Scan, image_counts
from stroma.study.layouts.recordings import CUBE, DRAWN, Folder, scan_recordings
from stroma.study.listing import Listing, Problem, is_hidden, list_files

_FIELD = re.compile(r"\{(\w+)(?:=([^{}]*))?\}")
_ARCHIVE = ".tiv"


@dataclass(frozen=True)
class Scheme:
    """How folders are named.

    Attributes:
        folders: Patterns of folders below the root (or its folder `data`): `{name}` stands for one folder,
            `{name=value}` for the folder `value`. The first that fits counts; none: every folder with a cube.
        image_id: The id, made of the fields of the folders, `{timestamp}` and `{camera_id}`.
        patient_file: Whether the name of the one `*.xml` of an image is its subject; the file is not opened.
    """

    folders: tuple[str, ...] = ()
    image_id: str = "{camera_id}#{timestamp}"
    patient_file: bool = False


SCHEMES: dict[str, Scheme] = {
    "tree": Scheme(),
    "sepsis": Scheme(
        (
            "{study=hand_posture_study}/{health_status=healthy}/{subject}/{location}/{folder}",
            "{study=sepsis_study}/{health_status=healthy}/{subject}/{location}/{folder}",
            "{study=sepsis_study}/{health_status}/{subject}/{timepoint}/{location}/{folder}",
        ),
        "{health_status}#{subject}#{timepoint}#{location}#{timestamp}",
    ),
    "sepsis-icu": Scheme(
        ("{category=subjects}/{date}/{folder}", "{category=calibrations}/{target}/{folder}"),
        "{subject}#{timestamp}",
        patient_file=True,
    ),
}
"""The schemes that are known; `study.yaml` may hold another one."""
SCHEME_OF_CLASS = {"DataPathSepsis": "sepsis", "DataPathSepsisICU": "sepsis-icu", "DataPathTivita": "tree"}
"""Class names in `dataset_settings.json` → scheme."""


@dataclass(frozen=True)
class TivitaFolders:
    """Studies of Tivita recordings whose folders follow a scheme.

    Attributes:
        scheme: `tree` (every folder with a cube; id `<camera>#<timestamp>`), `sepsis`, `sepsis-icu`.
        folders: Patterns of a scheme of the user's own, such as `{subject}/{timepoint}/{folder}`.
        image_id: Ids in that scheme, such as `{subject}#{timepoint}#{timestamp}`.
        with_identifiers: Whether names, birth dates and ids of patients get into the catalog; without it patient
            files (`*.xml`) are not even opened.
    """

    scheme: str = "tree"
    folders: tuple[str, ...] = ()
    image_id: str = ""
    with_identifiers: bool = False

    @classmethod
    def recognise(cls, root: Path, listing: Listing) -> Recognition | None:
        """Recognise a folder that holds cubes; the settings of the data set may name its scheme."""
        cubes = [path for path in listing.files if path.endswith(CUBE) and not is_hidden(path)]
        if not cubes:
            return None
        settings = next((path for path in (SETTINGS_FILE, f"data/{SETTINGS_FILE}") if path in listing.files), None)
        named = DatasetSettings.load(root / settings).path_class if settings else ""
        scheme = SCHEME_OF_CLASS.get(named, "tree")
        found = f"{len(cubes):,} Tivita cubes, the first {cubes[0]}"
        reason = f"{found}, and {SETTINGS_FILE}, which says {named}" if named in SCHEME_OF_CLASS else found
        return Recognition("tivita", reason, {"scheme": scheme} if scheme != "tree" else {})

    def listing(self, root: Path) -> Listing:
        """List everything."""
        return list_files(root, without_size=DRAWN)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; as the layout of HeiPorSPECTRAL does, with a column for each field of the scheme."""
        problems = list(listing.problems)
        scheme = self._scheme()
        masks = annotations_in(listing, "intermediates/segmentations", problems)
        folders = _recordings(listing, scheme, problems)
        loaded: dict[str, DatasetSettings] = {}

        def settings(folder: str) -> DatasetSettings:
            places = (SETTINGS_FILE, *(f"{place}/{SETTINGS_FILE}" for place in _at_and_above(folder)))
            place = max((place for place in places if place in listing.files), key=len, default="")
            if place not in loaded:
                loaded[place] = DatasetSettings.load(listing.root / place) if place else DatasetSettings()
            return loaded[place]

        name, identifiers = partial(_name, scheme.image_id), self.with_identifiers
        scan = scan_recordings(listing, folders, name, settings, problems, masks, identifiers)
        return join_meta_table(scan, listing, "intermediates/tables", with_identifiers=identifiers)

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take the labels from the settings, else from the names of the annotation files."""
        place = next((place for place in (SETTINGS_FILE, f"data/{SETTINGS_FILE}") if place in listing.files), "")
        settings = DatasetSettings.load(listing.root / place) if place else DatasetSettings()
        labels, note = settings.labels(), f"labels are taken from {SETTINGS_FILE}"
        if labels is None:
            names = scan.annotations["label"].drop_nulls().unique().sort().to_list()
            labels = LabelMapping.of(names) if names else None
            note = "labels are the names of the annotation files" if names else "there are no annotations"
        counts = image_counts(scan.annotations, labels.names if labels else ())
        return Proposal(labels, counts=counts, notes=(note,), preferred=settings.default_annotations)

    def _scheme(self) -> Scheme:
        if self.scheme not in SCHEMES:
            raise ConfigError(f"there is no scheme '{self.scheme}'", next_step=nearest(self.scheme, SCHEMES))
        scheme = SCHEMES[self.scheme]
        if not self.folders and not self.image_id:
            return scheme
        own = Scheme(tuple(self.folders) or scheme.folders, self.image_id or scheme.image_id, scheme.patient_file)
        known = {"timestamp", "camera_id", *(match[1] for text in own.folders for match in _FIELD.finditer(text))}
        for match in _FIELD.finditer(own.image_id):
            if match[1] not in known:
                raise ConfigError(
                    f"image_id has the field '{match[1]}', which no folder has", next_step=nearest(match[1], known)
                )
        return own


def _name(template: str, fields: Mapping[str, Any]) -> str:
    """The id; a field that the folder does not have is `None`, as htc writes it."""
    return _FIELD.sub(lambda match: str(fields.get(match[1])), template)


def _at_and_above(folder: str) -> Iterator[str]:
    yield folder
    yield from (parent.as_posix() for parent in PurePosixPath(folder).parents if parent.name)


def _recordings(listing: Listing, scheme: Scheme, problems: list[Problem]) -> Iterator[Folder]:
    """Every folder with a cube that fits the scheme; a folder with several cubes is several recordings."""
    direct: dict[str, list[str]] = {}
    below: dict[str, dict[str, int]] = {}
    for path in listing.files:
        folder, _, name = path.rpartition("/")
        if not is_hidden(path) and name.endswith(CUBE):
            direct.setdefault(folder, []).append(name.removesuffix(CUBE))
    for path, size in listing.files.items():
        folder = path.rpartition("/")[0]
        home = next((place for place in (folder, folder.rpartition("/")[0]) if place in direct), None)
        if home is not None:
            below.setdefault(home, {})[path[len(home) :].lstrip("/")] = size
        elif path.endswith(_ARCHIVE):
            problems.append(Problem(path, "is an archive of the camera without its cube; it is left out"))
        elif path.lower().endswith(CUBE.lower()) and not is_hidden(path):
            problems.append(Problem(path, f"is left out: a cube's name ends in {CUBE}, in this case of letters"))
    for folder, timestamps in direct.items():
        fields = _fields(folder, scheme)
        if fields is None:
            problems.append(Problem(folder or ".", f"is no folder {' or '.join(scheme.folders)}; it is left out"))
            continue
        if scheme.patient_file:
            patients = [name for name in below[folder] if name.endswith(".xml")]
            if len(patients) != 1:
                problems.append(
                    Problem(folder, f"has {len(patients)} files *.xml where one is needed; it is left out")
                )
                continue
            fields = {**fields, "subject": PurePosixPath(patients[0]).stem}
        for timestamp in timestamps:
            own = {name: size for name, size in below[folder].items() if _belongs(name, timestamp, timestamps)}
            yield Folder(folder, own, timestamp, fields)


def _belongs(name: str, timestamp: str, timestamps: list[str]) -> bool:
    """Whether a file is of this recording: alone in its folder, or named like it."""
    return len(timestamps) == 1 or name.rpartition("/")[2].startswith(timestamp)


def _fields(folder: str, scheme: Scheme) -> dict[str, str] | None:
    """The fields of a folder, or None when it does not fit the scheme."""
    parts = folder.removeprefix("data/").split("/")
    if not scheme.folders:
        return {}
    for pattern in scheme.folders:
        wanted = pattern.split("/")
        if len(wanted) == len(parts):
            matched = [_match(text, part) for text, part in zip(wanted, parts, strict=True)]
            if all(match is not None for match in matched):
                return {
                    name: value for match in matched if match for name, value in match.items() if name != "folder"
                }
    return None


def _match(wanted: str, part: str) -> dict[str, str] | None:
    field = _FIELD.fullmatch(wanted)
    if field is None:
        return {} if wanted == part else None
    return {field[1]: part} if field[2] in (None, part) else None
