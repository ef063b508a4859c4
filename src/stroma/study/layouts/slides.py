"""The layout of a folder of slides or pictures, nested as they are, with annotation files beside them or without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import PIL.Image

from stroma.core.errors import UnreadableImage
from stroma.core.text import plural
from stroma.images.dicom_series import dicom_slide_series
from stroma.study.layouts.collections import collection_rows, find_collections
from stroma.study.layouts.drawn import DrawnFiles, drawn_rows, find_drawn, propose_drawn, with_classes
from stroma.study.layouts.layout import (
    Proposal,
    Recognition,
    Scan,
    annotation_table,
    catalog_table,
    identifier,
    other_files,
    split_column,
)
from stroma.study.layouts.masks import image_row
from stroma.study.listing import Listing, Problem, is_hidden, list_files
from stroma.study.patterns import IMAGE_SUFFIXES, PICTURE_SUFFIXES, SLIDE_SUFFIXES, suffix_of, without_suffix

_SEVERAL_FILES = frozenset({".mrxs", ".vms", ".vmu"})
_AFTER_VMS = "(_.- "
_LOOKED_AT, _LOOKED_PX, _FEW_VALUES = 12, 50_000_000, 16
_OPENERS = 4  # opening a slide waits for the disk or the network most of the time


@dataclass(frozen=True)
class SlideFolder:
    """A folder of slides, at any depth.

    Args:
        pictures: Whether PNG, JPEG and BMP files count too; beside slides they are usually thumbnails.
        annotations: Whether annotation files are read: those that are called like images (GeoJSON, XML, contour
            tables), and those that name them (COCO, tables of boxes or points).
        qupath_bounds: Whether GeoJSON counts from the corner of the scanned area, as QuPath does.
        unclassified: Class of objects that have neither a class nor a name; without it they mark nothing.
    """

    pictures: bool = False
    annotations: bool = False
    qupath_bounds: bool = False
    unclassified: str | None = None

    @classmethod
    def recognise(cls, listing: Listing) -> Recognition | None:
        """Recognise a tree with slides, else one with pictures; with annotation files if any is called like one."""
        slides = slide_files(listing, pictures=False)
        files = slides or slide_files(listing, pictures=True)
        if not files:
            return None
        drawn = find_drawn(listing, files)
        reason = plural(len(files), "slide" if slides else "picture")
        parameters: dict[str, Any] = {} if slides else {"pictures": True}
        if drawn.of:
            reason += f", {len(drawn.of)} with annotation files"
        collections = [path for path in find_collections(listing) if path not in drawn.paths]
        if collections:
            reason += f", and {plural(len(collections), 'file')} with objects of many images"
        if collections or drawn.paths:  # those that fit no image are told as problems
            parameters["annotations"] = True
        return Recognition("slides", reason, parameters)

    def listing(self, root: Path) -> Listing:
        """List everything below the root."""
        return list_files(root)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens the header of each slide, since names do not tell what can be read.

        The catalog has further columns `height`, `width`, `mpp`. The DICOM files of one slide are one image,
        named after the first of them.
        """
        problems = list(listing.problems)
        files = slide_files(listing, pictures=self.pictures)
        parts = companions(files)
        rest = set(files)
        drawn = find_drawn(listing, files) if self.annotations else DrawnFiles({}, {})
        together = [p for p in find_collections(listing) if p not in drawn.paths] if self.annotations else []
        others = [
            p for p in listing.files if p not in rest and p not in together and not is_hidden(p) and not parts.hold(p)
        ]
        problems += other_files([path for path in others if path not in drawn.paths])
        problems += [Problem(path, text) for path, text in drawn.orphans.items()]
        with ThreadPoolExecutor(_OPENERS) as pool:
            found = list(pool.map(lambda path: _open(listing.root, path), _one_per_series(listing.root, files)))
        rows = []
        for row, failed in found:
            rows += [row] if row else []
            problems += failed
        marks = []
        for row in rows:
            of_image = drawn.of.get(row["path"], ())
            bounds = self.qupath_bounds
            marks += drawn_rows(listing.root, row["image_id"], row["path"], of_image, problems, qupath_bounds=bounds)
        named = len(together) > 1 or bool(together and drawn.of)
        marks += collection_rows(listing, rows, together, problems, named=named)
        return Scan(
            catalog_table(rows, where=listing.root),
            annotation_table(with_classes(marks, self.unclassified)),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Slides alone have no labels; with annotation files, the classes of the drawn objects are the labels."""
        proposal = propose_drawn(scan.annotations) if len(scan.annotations) else Proposal()
        masks = _like_masks(listing.root, scan.catalog["path"].to_list()) if self.pictures else ()
        return replace(proposal, split_column=split_column(scan), notes=(*proposal.notes, *masks))


def _like_masks(root: Path, paths: Sequence[str]) -> list[str]:
    """A note when most of a sample of pictures hold few grey values, as masks do."""
    sample = [path for path in paths[:: -(-len(paths) // _LOOKED_AT)] if suffix_of(path) == ".png"]
    seen = 0
    for path in sample:
        with suppress(OSError, SyntaxError, ValueError), PIL.Image.open(root / path) as picture:
            small = picture.mode in ("1", "L", "P") and picture.width * picture.height <= _LOOKED_PX
            seen += small and len(picture.getcolors(256) or range(256)) <= _FEW_VALUES
    note = f"{seen} of {plural(len(sample), 'picture')} looked at are like masks: where are their images?"
    return [note] if 2 * seen > len(sample) else []


def _open(root: Path, path: str) -> tuple[dict[str, Any] | None, list[Problem]]:
    problems: list[Problem] = []
    row = image_row(root, identifier(without_suffix(path)), None, path, problems)
    return row, problems


def slide_files(listing: Listing, *, pictures: bool = False) -> list[str]:
    """Files with the suffix of a slide, without those that belong to another slide."""
    wanted = IMAGE_SUFFIXES if pictures else IMAGE_SUFFIXES - PICTURE_SUFFIXES
    files = [path for path in listing.files if suffix_of(path) in wanted and not is_hidden(path)]
    parts = companions(files)
    return [path for path in files if not parts.hold(path)]


def companions(files: Iterable[str]) -> Companions:
    """What belongs to slides of several files among `files`, given with `/`."""
    paths = [path for path in files if suffix_of(path) in _SEVERAL_FILES]
    return Companions(
        tuple(f"{without_suffix(path)}/" for path in paths if suffix_of(path) == ".mrxs"),
        tuple(
            f"{without_suffix(path)}{character}"
            for path in paths
            if suffix_of(path) != ".mrxs"
            for character in _AFTER_VMS
        ),
    )


@dataclass(frozen=True)
class Companions:
    """Beginnings of the paths of files that belong to a slide beside them.

    Attributes:
        folders: `x/` of `x.mrxs`.
        stems: `x(`, `x_`, `x.` and so on of `x.vms`: `x(1,0).jpg`, `x_macro.jpg`, `x.opt` are parts of it, while
            `x2.svs` and `x-2.svs` are not.
    """

    folders: tuple[str, ...]
    stems: tuple[str, ...]

    def hold(self, path: str) -> bool:
        """Whether `path` is one of them."""
        if suffix_of(path) in _SEVERAL_FILES:
            return False
        is_part = suffix_of(path) not in SLIDE_SUFFIXES
        return path.startswith(self.folders) or (is_part and path.startswith(self.stems))


def _one_per_series(root: Path, files: Sequence[str]) -> Iterator[str]:
    """The files, of the DICOM files of one slide only the first."""
    seen: set[tuple[str, str]] = set()
    for path in files:
        if suffix_of(path) == ".dcm":
            series = _series(root / path)
            key = (PurePosixPath(path).parent.as_posix(), series)
            if series and key in seen:
                continue
            seen.add(key)
        yield path


def _series(path: Path) -> str:
    try:
        return dicom_slide_series(path)
    except UnreadableImage:
        return ""
