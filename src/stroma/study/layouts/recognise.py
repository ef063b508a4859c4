"""Which layout a folder has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from stroma.core.errors import InvalidData, MissingFile, UsageError
from stroma.core.text import plural
from stroma.study.htc.settings import SETTINGS_FILE
from stroma.study.layouts.classes import ClassFolders
from stroma.study.layouts.drawn import find_drawn
from stroma.study.layouts.heiporspectral import HeiPorSpectral
from stroma.study.layouts.hubmap import HubmapFolder
from stroma.study.layouts.layout import Recognition
from stroma.study.layouts.masks import ImageMaskPairs, pair_files
from stroma.study.layouts.references import ImageReferences
from stroma.study.layouts.slides import SlideFolder, slide_files
from stroma.study.layouts.tiles import TileFolders
from stroma.study.layouts.tivita import TivitaFolders
from stroma.study.listing import Listing, is_hidden, list_files
from stroma.study.patterns import Pattern, suffix_of

_ByFiles = type[HubmapFolder] | type[TileFolders] | type[ImageMaskPairs] | type[ClassFolders] | type[SlideFolder]
_BY_FILES: dict[str, _ByFiles] = {
    "hubmap": HubmapFolder,
    "tiles": TileFolders,
    "masks": ImageMaskPairs,
    "classes": ClassFolders,
    "slides": SlideFolder,
}
_PATTERNS = "Write paths below the folder without suffix, such as --images 'images/{id}' --masks 'masks/{id}_mask'"
LAYOUTS = ("heiporspectral", "tivita", "references", *_BY_FILES)


def recognise(
    root: Path, layout: str | None = None, *, images: str | None = None, masks: str | None = None
) -> Recognition:
    """Find the layout of a folder.

    A table of run lengths that names images, and the tables of HistoPrep, leave no doubt. Files that are images with
    masks, tiles named by their coordinates, or pictures in class folders are not counted as slides as well; every
    other case of two fitting layouts is left to the user.

    Args:
        root: The folder.
        layout: The layout that the user says it is: only its parameters are found.
        images: Pattern of the images, of a user whose folders have other names (layouts masks and classes).
        masks: Pattern of the masks.

    Raises:
        MissingFile: there is no such folder.
        UsageError: several layouts fit, or the patterns fit no file.
        InvalidData: none fits; the message says what is there instead.
    """
    if not root.is_dir():
        raise MissingFile("there is no such folder", where=root)
    if layout is not None and layout not in LAYOUTS:
        return Recognition(layout, "as given")
    if images is not None or masks is not None:
        return _by_patterns(list_files(root), layout, images, masks)
    references = ImageReferences.recognise(root) if layout in (None, "references") else None
    if references:
        return references
    if layout in (None, "heiporspectral"):
        surgery = HeiPorSpectral.recognise(root)
        if surgery:
            return surgery
    listing = list_files(root)
    if layout in (None, "tivita"):
        cubes = TivitaFolders.recognise(root, listing)
        if cubes and layout is None:
            _check_whole(root, cubes)
        if cubes:
            return cubes
    found: dict[str, Recognition | None] = {}
    for name, kind in _BY_FILES.items():
        if layout in (None, name):
            one = found[name] = kind.recognise(listing)
            if one is not None and (name == "hubmap" or one.parameters.get("histoprep")):
                return one
    if found.get("tiles") and found.get("masks"):
        found["tiles"] = None
    fitting = [one for one in (found.get("tiles"),) if one] or [one for one in found.values() if one]
    if len(fitting) > 1:
        fitting = [o for o in fitting if o.name != "slides" or _has_other_slides(listing, found.get("masks"))]
    if len(fitting) > 1:
        ways = "; ".join(f"--layout {one.name}: {one.reason}" for one in fitting)
        raise UsageError(f"can be read in {len(fitting)} ways", where=root, next_step=f"Choose one ({ways})")
    if not fitting:
        raise _unknown(listing, layout)
    return fitting[0]


def _check_whole(root: Path, found: Recognition) -> None:
    """A part of a data set is read with its whole: its images would have other names otherwise.

    Raises:
        InvalidData: `root` lies inside a data set.
    """
    for folder in root.resolve().parents:
        if (folder / SETTINGS_FILE).is_file() or folder.name == "subjects" or root.resolve().name == "subjects":
            raise InvalidData(
                f"holds {found.reason.partition(',')[0]}, but not as data/subjects/<subject>/<timestamp>/: "
                "it seems to be a part of a data set",
                where=root,
                next_step="Name the folder above 'subjects', or say --layout tivita",
            )


def _has_other_slides(listing: Listing, masks: Recognition | None) -> bool:
    """Whether there are slides that are neither images with masks nor masks."""
    slides = slide_files(listing)
    if masks is None:
        return bool(slides)
    pairs = pair_files(listing, Pattern(masks.parameters["images"]), Pattern(masks.parameters["masks"]))
    return bool(set(slides) & set(pairs.others))


def _by_patterns(listing: Listing, layout: str | None, images: str | None, masks: str | None) -> Recognition:
    if masks is not None and layout in (None, "masks"):
        given = (images or "images/{id}", masks)
        found = ImageMaskPairs.recognise(listing, [given])
        if found is None:
            raise UsageError(
                f"no masks '{given[1]}' fit images '{given[0]}'", where=listing.root, next_step=_PATTERNS
            )
        return found
    if images is not None and layout == "classes":
        return Recognition("classes", f"the pattern '{images}'", {"images": images})
    raise UsageError(
        "--images goes with --masks, or with --layout classes", next_step="Other layouts have no patterns"
    )


def _unknown(listing: Listing, layout: str | None) -> InvalidData:
    files = [path for path in listing.files if not is_hidden(path)]
    if not files:
        return InvalidData("holds no files", where=listing.root, next_step="Name the folder with your images")
    drawn = sorted(find_drawn(listing, []).orphans)
    if drawn and not layout:
        return InvalidData(
            f"holds {plural(len(drawn), 'annotation file')} ({drawn[0]}) and no image",
            where=listing.root,
            next_step="Name the folder that holds the images too; or count them: stroma annotations summary "
            f"'{listing.root / drawn[0]}'",
        )
    counted = Counter(suffix_of(path) or "no suffix" for path in files).most_common(6)
    shown = ", ".join(f"{count} × {suffix}" for suffix, count in counted)
    what = f"does not have the layout '{layout}'" if layout else "has no layout that Stroma knows"
    return InvalidData(
        f"{what} (found: {shown})",
        where=listing.root,
        next_step=(
            "Known are data/subjects/<subject>/<timestamp>/ (heiporspectral), folders with Tivita cubes (tivita), "
            "images with masks (--images and --masks give their places), class folders (classes), slides or "
            "pictures (slides), tiles of slides (tiles), a table of run lengths (hubmap); choose with --layout"
        ),
    )
