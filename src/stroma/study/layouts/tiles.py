"""The layout of tiles cut from slides: the folders that HistoPrep writes, or pictures named by their coordinates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stroma.core.errors import StromaError
from stroma.core.text import plural
from stroma.study.labels import IGNORE, LabelMapping
from stroma.study.layouts.layout import (
    Proposal,
    Recognition,
    Scan,
    annotation_table,
    catalog_table,
    identifier,
    image_counts,
    other_files,
)
from stroma.study.layouts.masks import MASK_FOLDERS, image_row
from stroma.study.listing import Listing, Problem, is_hidden, list_files
from stroma.study.matching import read_any_table
from stroma.study.patterns import PICTURE_SUFFIXES, TIFF_SUFFIXES, suffix_of, without_suffix

_TABLES = ("metadata.parquet", "metadata.csv")
_KINDS = ("tiles", "spots")
_PLAIN_FOLDERS = frozenset({*_KINDS, "images", "image", "imgs", "img", "patches"})
_FIELDS = r"x[=_]?(?P<x>-?\d+)[_,. -]+y[=_]?(?P<y>-?\d+)(?:[_,. -]+w[=_]?(?P<w>\d+)[_,. -]+h[=_]?(?P<h>\d+))?"
_PLACE = re.compile(rf"(?:^|(?P<slide>.+?)[_. -]*)[\[(]?(?:d=[\d.]+,)?(?<![a-zA-Z]){_FIELDS}[\])]?$", re.IGNORECASE)
_WORDS = frozenset({"tile", "patch", "crop", "image", "img", "region", "roi"})
_ENOUGH = 0.9
_NAMED = 5


@dataclass(frozen=True)
class TilePlace:
    """Where a tile lies, from its name.

    Attributes:
        slide: Name of the slide; empty where the name does not say.
        x: Left edge in level-0 pixels.
        y: Top edge.
        w: Width, or None where the name does not say.
        h: Height.
    """

    slide: str
    x: int
    y: int
    w: int | None = None
    h: int | None = None


def place_of(stem: str) -> TilePlace | None:
    """Read a name such as `x0_y224_w224_h224`, `slide_x0_y224`, `slide [x=0,y=224,w=224,h=224]` (QuPath).

    Returns:
        None for a name without coordinates.
    """
    found = _PLACE.search(stem)
    if found is None:
        return None
    numbers = {name: int(text) for name, text in found.groupdict().items() if name != "slide" and text is not None}
    slide = found["slide"] or ""
    return TilePlace("" if slide.lower() in _WORDS else slide, **numbers)


@dataclass(frozen=True)
class _Tiles:
    """What a folder holds.

    Attributes:
        rows: Catalog rows without size.
        masks: Image id → mask.
        problems: What does not fit.
        used: All files that are part of it.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    masks: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class TileFolders:
    """Tiles of slides as pictures: one row a tile, with the slide and the coordinates in the catalog.

    Args:
        histoprep: Whether each folder is one of HistoPrep (`metadata.parquet` and `tiles/`), whose table says which
            tiles there are; else pictures are found by their names.
        masks: Whether the tissue masks of HistoPrep (`masks/`) are annotations.
    """

    histoprep: bool = False
    masks: bool = False

    @classmethod
    def recognise(cls, listing: Listing) -> Recognition | None:
        """Recognise folders of HistoPrep, else pictures of which nearly all are named by their coordinates.

        Pictures named `<slide>_x0_y0` in folders of other names are not: those folders may be classes.
        """
        folders = [folder for folder, _ in _histoprep_tables(listing)]
        if folders:
            count = sum(len(listing_of) for listing_of in _pictures_by_folder(listing, folders).values())
            masks = any(_inside(folder, "masks") in listing.folders for folder in folders)
            reason = f"{plural(len(folders), 'folder')} of HistoPrep with {plural(count, 'tile')}"
            return Recognition("tiles", reason, {"histoprep": True, **({"masks": True} if masks else {})})
        pictures = [path for path in listing.files if _is_picture(path) and not is_hidden(path)]
        places = [(path, place) for path in pictures if (place := place_of(_stem(path))) is not None]
        if not places or len(places) < _ENOUGH * len(pictures):
            return None
        if any(place.slide and not _folder_fits(path, place.slide) for path, place in places):
            return None
        slides = {_slide(path, place, listing) for path, place in places}
        reason = f"{plural(len(places), 'tile')} of {plural(len(slides), 'slide')}, named by their coordinates"
        return Recognition("tiles", reason, {})

    def listing(self, root: Path) -> Listing:
        """List everything below the root."""
        return list_files(root)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens the header of the first tile of each slide and size.

        The catalog has further columns `slide`, `x`, `y`, `w`, `h` (level-0 pixels), `height`, `width`, `mpp`.
        """
        tiles = _from_tables(listing) if self.histoprep else _from_names(listing)
        problems = [*listing.problems, *tiles.problems]
        sizes: dict[tuple[Any, ...], dict[str, Any]] = {}
        rows = []
        for row in tiles.rows:
            key = (row["slide"], row["w"], row["h"])
            if key not in sizes:
                first = image_row(listing.root, row["image_id"], None, row["path"], problems)
                if first is None:
                    continue
                sizes[key] = {name: first[name] for name in ("height", "width", "mpp")}
            rows.append({**row, **sizes[key]})
        known = {row["image_id"] for row in rows}
        marks = [
            {"image_id": name, "layer": "tissue", "annotator": "", "kind": "mask-index", "label": None, "path": path}
            for name, path in tiles.masks.items()
            if self.masks and name in known
        ]
        left = [path for path in listing.files if path not in tiles.used and not is_hidden(path)]
        problems += other_files(left)
        return Scan(
            catalog_table(rows, where=listing.root),
            annotation_table(marks),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Tissue masks have two classes; tiles alone have none."""
        if not len(scan.annotations):
            return Proposal()
        labels = LabelMapping.of(("background", "tissue"), ignore=(IGNORE,))
        counts = image_counts(scan.annotations, ())
        return Proposal(labels, counts=counts, notes=["the masks hold tissue as HistoPrep found it"])


def _histoprep_tables(listing: Listing) -> list[tuple[str, str]]:
    """(folder, table) of each folder that HistoPrep finished: with a table, and a folder of tiles or spots."""
    folders = set(listing.folders)
    found: dict[str, str] = {}
    for path in listing.files:
        folder, _, name = path.rpartition("/")
        if name in _TABLES and any(_inside(folder, kind) in folders for kind in _KINDS):
            found.setdefault(folder, path)
    return list(found.items())


def _pictures_by_folder(listing: Listing, folders: list[str]) -> dict[str, list[str]]:
    wanted = {_inside(folder, kind): folder for folder in folders for kind in _KINDS}
    found: dict[str, list[str]] = {folder: [] for folder in folders}
    for path in listing.files:
        above = path.rpartition("/")[0]
        if above in wanted and _is_picture(path) and not is_hidden(path):
            found[wanted[above]].append(path)
    return found


def _from_tables(listing: Listing) -> _Tiles:
    tiles = _Tiles()
    tables = dict(_histoprep_tables(listing))
    by_folder: dict[str, list[str]] = {}
    for path in listing.files:
        by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    for folder, pictures in _pictures_by_folder(listing, list(tables)).items():
        tiles.used.update((tables[folder], *filter(_describes, by_folder[folder])))
        try:
            stored = _stored(listing, tables[folder])
        except StromaError as error:
            tiles.problems.append(Problem(tables[folder], f"{error.what}; its tiles are left out"))
            tiles.used.update(pictures)
            continue
        slide = identifier(folder.rpartition("/")[2] or listing.root.resolve().name)
        masks = {_stem(path): path for path in by_folder.get(_inside(folder, "masks"), ())}
        for path in pictures:
            row = stored.pop(path.rpartition("/")[2], None)
            tiles.used.add(path)
            if row is None:
                tiles.problems.append(Problem(path, f"is not in {tables[folder]}; it is left out"))
                continue
            image_id = identifier(_inside(folder, _stem(path)))
            tiles.rows.append({"image_id": image_id, "path": path, "slide": slide, **row})
            if _stem(path) in masks:
                tiles.masks[image_id] = masks[_stem(path)]
        tiles.used.update(masks.values())
        missing = list(stored)
        tiles.problems.extend(
            Problem(tables[folder], f"lists '{name}', which is not there") for name in missing[:_NAMED]
        )
        if len(missing) > _NAMED:
            text = f"lists {len(missing) - _NAMED:,} more tiles that are not there"
            tiles.problems.append(Problem(tables[folder], text))
    return tiles


def _stored(listing: Listing, path: str) -> dict[str, Mapping[str, Any]]:
    """File name → coordinates, from the table of a folder; absolute paths of another machine do not matter."""
    table = read_any_table(listing.root / path)
    if "path" not in table.columns:  # HistoPrep's table of a slide without tiles has no columns
        return {}
    names = [str(stored).replace("\\", "/").rpartition("/")[2] for stored in table["path"]]
    columns = [name for name in ("x", "y", "w", "h") if name in table.columns]
    empty = dict.fromkeys(("x", "y", "w", "h"))
    rows = table.select(columns).iter_rows(named=True)
    return {name: {**empty, **row} for name, row in zip(names, rows, strict=True)}


def _describes(path: str) -> bool:
    """Whether a file in a folder of HistoPrep describes it."""
    name = path.rpartition("/")[2]
    return name == "properties.json" or name.startswith("thumbnail")


def _from_names(listing: Listing) -> _Tiles:
    tiles = _Tiles()
    for path in listing.files:
        place = place_of(_stem(path)) if _is_picture(path) and not is_hidden(path) else None
        if place is None:
            continue
        tiles.used.add(path)
        if any(part.lower() in MASK_FOLDERS for part in path.split("/")[:-1]):
            tiles.problems.append(Problem(path, "lies in a folder of masks; it is left out"))
            continue
        row = {"x": place.x, "y": place.y, "w": place.w, "h": place.h}
        image_id = identifier(without_suffix(path))
        tiles.rows.append({"image_id": image_id, "path": path, "slide": _slide(path, place, listing), **row})
    return tiles


def _slide(path: str, place: TilePlace, listing: Listing) -> str:
    """The slide of a tile: in its name, else the innermost folder that is not called like `tiles`."""
    if place.slide:
        return identifier(place.slide)
    folders = [part for part in path.split("/")[:-1] if part.lower() not in _PLAIN_FOLDERS]
    return identifier(folders[-1] if folders else listing.root.resolve().name)


def _folder_fits(path: str, slide: str) -> bool:
    folders = [part for part in path.split("/")[:-1] if part.lower() not in _PLAIN_FOLDERS]
    return not folders or identifier(folders[-1]) == identifier(slide)


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _stem(path: str) -> str:
    return PurePosixPath(without_suffix(path)).name


def _is_picture(path: str) -> bool:
    return suffix_of(path) in PICTURE_SUFFIXES | TIFF_SUFFIXES
