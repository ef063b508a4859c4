"""From what a user typed (files, folders, patterns, studies) to the images a verb works on, each with its id."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData, MissingFile, UnreadableImage, UsageError
from stroma.core.files import id_to_name
from stroma.images import registry
from stroma.images.dicom_series import dicom_slide_series
from stroma.images.ome_zarr import OmeZarrImage
from stroma.images.open import READERS, missing
from stroma.images.zarr_cube import ZarrImage
from stroma.study.config import STUDY_FILE
from stroma.study.datasets import find_described
from stroma.study.layouts.layout import identifier
from stroma.study.layouts.slides import companions
from stroma.study.listing import is_hidden, list_files
from stroma.study.patterns import without_suffix
from stroma.study.study import open_study

_CUBE_READERS = ("tivita", "envi", "hdf5", "matlab", "numpy", "zarr")
_PICTURES_OF_RESULTS = {"thumbnails", "tissue", "pictures", "outliers"}
_NO_STUDY = "Describe the images with 'stroma init FOLDER' and name its study.yaml"


@dataclass(frozen=True)
class Source:
    """One image to work on.

    Attributes:
        image_id: Unique among the sources.
        subject_id: Whose it is; its own id when nobody says.
        path: Absolute path of the file.
        options: Passed on to `open_image`, as the study says.
    """

    image_id: str
    subject_id: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.image_id


@dataclass(frozen=True)
class Found:
    """The images that were found.

    Attributes:
        sources: Sorted by image id.
        subjects_known: Whether all of them come from studies that know their subjects.
        notes: What was left out and why, a line each.
    """

    sources: tuple[Source, ...]
    subjects_known: bool
    notes: tuple[str, ...]


def find_inputs(
    inputs: Sequence[Path], *, output: Path | None = None, cubes: bool = False, where: str | None = None
) -> Found:
    """Find the slides and pictures, or the hyperspectral cubes, that `inputs` name.

    A file is taken as it is. In a folder (and what lies below it) and among the matches of a pattern, files
    count by the suffixes of our readers; hidden files, results of Stroma and `output` are left out, and the
    files of one DICOM slide in one folder count once. An image's id is its path below the deepest folder that
    holds all inputs, without suffix. A `study.yaml` brings its own ids and subjects, and so does a data set of htc
    where cubes are looked for.

    Args:
        inputs: Files, folders, patterns (`*`, `?`, `[…]`, `**`), or `study.yaml` files.
        output: The verb's own output folder.
        cubes: Look for hyperspectral cubes instead of slides and pictures.
        where: Only the images of studies that fulfil this condition: see `stroma.study.selection`.

    Raises:
        MissingFile: a path does not exist, a pattern matches nothing, a folder holds no image.
        InvalidData: two images have the same id; both paths are named.
        UsageError: the inputs lie on different drives, or `where` is given and an input is no study.
    """
    files: dict[Path, None] = {}
    roots: list[Path] = []
    notes: list[str] = []
    studies: list[Source] = []
    subjects_known: list[bool] = []
    for entry in inputs:
        study = _study_of(entry, cubes, where)
        if study is not None:
            found, known = _of_study(study, where)
            if study not in (entry, entry / STUDY_FILE):
                notes.append(f"{entry} is a data set of htc: its ids and subjects are taken")
            studies += found
            subjects_known.append(known)
            continue
        if where is not None:
            raise UsageError("is no study, to which --where could apply", where=entry, next_step=_NO_STUDY)
        root, matches = _expand(entry, output, notes, _suffixes(cubes))
        roots.append(root)
        files.update(dict.fromkeys(matches))
    plain = _with_ids(files, roots)
    sources = sorted([*studies, *plain], key=lambda source: source.image_id)
    _check_unique(sources)
    return Found(tuple(sources), bool(sources) and not plain and all(subjects_known), tuple(notes))


def _study_of(entry: Path, cubes: bool, where: str | None) -> Path | None:
    """The description that an input is: `study.yaml`, for cubes also a data set of htc by its folder or name.

    With a condition, the folder of a `study.yaml` is that study, too.
    """
    if entry.suffix.lower() in {".yaml", ".yml"} and entry.is_file():
        return entry
    if where is not None and (entry / STUDY_FILE).is_file():
        return entry / STUDY_FILE
    return find_described(entry) if cubes or where is not None else None


def _of_study(path: Path, where: str | None) -> tuple[list[Source], bool]:
    study = open_study(path, where)
    rows = study.catalog.select("image_id", "subject_id").iter_rows()
    sources = [
        Source(image, subject, _absolute(study.image_path(image)), study.open_options(image))
        for image, subject in rows
    ]
    return sources, study.subject_known


def _expand(entry: Path, output: Path | None, notes: list[str], suffixes: tuple[str, ...]) -> tuple[Path, list[Path]]:
    """The folder that ids count from, and the files one input stands for."""
    path = _absolute(entry)
    if path.is_dir() and not ZarrImage.accepts(path):
        found = _in_folder(path, output, notes, suffixes)
        if not found:
            what = "hyperspectral cube" if suffixes == _suffixes(cubes=True) else "slide or picture"
            raise MissingFile(f"holds no {what}", where=entry, next_step=_readable(suffixes))
        return path, found
    if path.exists():
        return path.parent, [path]
    if not glob.has_magic(str(entry)):
        raise missing(entry)
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    folders = [match for match in matches if match.is_dir() and not ZarrImage.accepts(match)]
    found = [file for match in folders for file in _in_folder(match, output, notes, suffixes)]
    found += _images_among([match for match in matches if match not in folders], suffixes)
    if not found:
        raise MissingFile(
            f"matches {len(matches)} files, none of them a slide or picture" if matches else "matches no file",
            where=entry,
            next_step=_readable(suffixes),
        )
    first = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:first]), found


def _in_folder(folder: Path, output: Path | None, notes: list[str], suffixes: tuple[str, ...]) -> list[Path]:
    if output is not None and _absolute(output) == folder:
        raise UsageError("is both an input and the output", where=folder, next_step="Choose another --output")
    listing = list_files(folder)
    notes += [f"left out: {folder / problem.path} {problem.message}" for problem in listing.problems]
    if (folder / STUDY_FILE).is_file():
        notes.append(f"not used: {folder / STUDY_FILE}; name the file itself to take its ids and subjects")
    paths = [path for path in (*listing.files, *listing.folders) if not is_hidden(path)]
    if (folder / "sources.parquet").is_file():  # results: of those only slides that were converted are images
        paths = [path for path in paths if path.partition("/")[0] not in _PICTURES_OF_RESULTS]
    candidates = [folder / path for path in paths]
    if output is not None and folder in _absolute(output).parents:
        candidates = [path for path in candidates if _absolute(output) not in path.parents]
    return _images_among(candidates, suffixes)


def _images_among(paths: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Those that end as a reader wants it and belong to no other slide, and of a DICOM slide the first file."""
    kept: list[Path] = []
    series: set[tuple[Path, str]] = set()
    candidates = [path for path in paths if path.name.lower().endswith(suffixes) and _is_file_or_zarr(path)]
    parts = companions(path.as_posix() for path in candidates)
    for path in candidates:
        if parts.hold(path.as_posix()):
            continue
        if path.suffix.lower() == ".dcm":
            identity = (path.parent, _series(path))
            if not identity[1] or identity in series:
                continue
            series.add(identity)
        kept.append(path)
    return kept


def _series(path: Path) -> str:
    try:
        return dicom_slide_series(path)
    except UnreadableImage:
        return path.name  # it is kept, so that its failure is recorded


def _is_file_or_zarr(path: Path) -> bool:
    return not path.is_dir() or OmeZarrImage.accepts(path)


def _suffixes(cubes: bool) -> tuple[str, ...]:
    names = _CUBE_READERS if cubes else [name for name in (*READERS, *registry.plugins) if name not in _CUBE_READERS]
    return tuple(sorted({suffix.lower() for name in names for suffix in registry.get(name).suffixes}))


def _readable(suffixes: tuple[str, ...]) -> str:
    return f"Files that end in these are looked for: {' '.join(suffixes)}"


def _with_ids(files: Iterable[Path], roots: Sequence[Path]) -> list[Source]:
    files = list(files)
    if not files:
        return []
    try:
        root = Path(os.path.commonpath(roots))
    except ValueError as error:
        raise UsageError("the inputs lie on different drives", next_step="Run the verb once for each") from error
    ids = [identifier(without_suffix(path.relative_to(root).as_posix())) for path in files]
    return [Source(image_id, image_id, path) for image_id, path in zip(ids, files, strict=True)]


def _check_unique(sources: Sequence[Source]) -> None:
    """Two ids that differ only in case would share files on Windows and macOS, so they are refused too."""
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(id_to_name(source.image_id).casefold(), source)
        if other is not source:
            raise InvalidData(
                f"two images have the id '{source.image_id}': {other.path} and {source.path}",
                next_step="Rename one, or name the files you want with a quoted pattern such as 'slides/**/*.svs'",
            )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - removes '..' without following links
