"""The layout of images with mask files: in two folders, or told apart by a suffix of their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stroma.core.errors import InvalidData, StromaError
from stroma.core.text import plural
from stroma.images.envi import DATA_SUFFIXES
from stroma.images.open import open_image
from stroma.study.labels import LabelMapping
from stroma.study.layouts.layout import (
    Proposal,
    Recognition,
    Scan,
    annotation_table,
    catalog_table,
    identifier,
    image_counts,
    other_files,
    split_column,
)
from stroma.study.layouts.mask_kinds import KINDS, examine_masks
from stroma.study.listing import Listing, Problem, is_hidden, list_files
from stroma.study.patterns import CUBE_SUFFIXES, IMAGE_SUFFIXES, Pattern, suffix_of, without_suffix

MASK_SUFFIXES = IMAGE_SUFFIXES | {".npy", ".gif"}
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "tiles", "patches", "slides", "wsi", "wsis", "photos")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "segmentations",
    "ground_truth",
    "gt",
)
_MASK_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "-mask", "-labels")
_BESIDE = (
    *(("{id}", f"{{id}}{ending}") for ending in _MASK_ENDINGS),
    *((f"{{id}}_{image}", f"{{id}}_{mask}") for image in ("image", "img") for mask in ("mask", "label", "seg")),
    *((f"{{id}}/{image}", f"{{id}}/{mask}") for image in ("image", "img") for mask in ("mask", "label", "seg")),
    *((f"{image}{{id}}", f"{mask}{{id}}") for image in ("image", "img") for mask in ("mask", "label", "seg")),
)
SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "test", "testing")

Key = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """Which files are images, and which are masks of them.

    Attributes:
        images: (split, id) → paths; more than one path is a contradiction.
        masks: (split, id), class, annotator, path; in the order of the listing.
        orphans: Files named like masks of images that are not there.
        others: All other files.
    """

    images: dict[Key, list[str]] = field(default_factory=dict)
    masks: list[tuple[Key, str, str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImageMaskPairs:
    """Images with mask files.

    Args:
        images: Pattern of the images' paths without suffix, such as `images/{id}`, `{split}/images/{id}` or
            `{folder}/images/{id}`, whose ids are `<folder>/<id>`.
        masks: Pattern of the masks, such as `masks/{id}`, `{id}_mask`, `masks/{class}/{id}` (one mask a label)
            or `masks/{annotator}/{id}`.
        kind: What pixel values mean: `mask-index` (a class), `mask-palette` (a class, stored with colours),
            `mask-rgb` (a colour is a class), `mask-instance` (an object, 0 is background), `mask-binary` (one
            mask a label, non-zero inside).
    """

    images: str = "images/{id}"
    masks: str = "masks/{id}"
    kind: Literal["mask-index", "mask-palette", "mask-rgb", "mask-instance", "mask-binary"] = "mask-index"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidData(f"'{self.kind}' is no kind of mask", next_step=f"Known: {', '.join(KINDS)}")

    @cached_property
    def _patterns(self) -> tuple[Pattern, Pattern]:
        return Pattern(self.images), Pattern(self.masks)

    @classmethod
    def recognise(cls, listing: Listing, patterns: Iterable[tuple[str, str]] | None = None) -> Recognition | None:
        """Find the pair of patterns that fits most masks, and read a sample of them for their kind.

        Args:
            listing: The folder.
            patterns: Patterns (images, masks) to try instead of the usual names.
        """
        best: tuple[int, int] = (0, 0)
        found: tuple[str, str, Pairs] | None = None
        suffixes = MASK_SUFFIXES | CUBE_SUFFIXES
        stems = [identifier(without_suffix(path)) for path in listing.files if suffix_of(path) in suffixes]
        for images, masks in patterns or _candidates(listing):
            if not Pattern(masks).fits_any(stems):
                continue
            pairs = pair_files(listing, Pattern(images), Pattern(masks))
            with_mask = len({key for key, *_ in pairs.masks})
            if 2 * with_mask >= len(pairs.images) and (len(pairs.masks), with_mask) > best:
                best, found = (len(pairs.masks), with_mask), (images, masks, pairs)
            if len(pairs.masks) + len(pairs.images) == len(stems) and with_mask == len(pairs.images):
                break  # nothing is left over
        if found is None:
            return None
        images, masks, pairs = found
        paths = [listing.root / path for *_, path in pairs.masks]
        kind = "mask-binary" if "{class}" in masks else examine_masks(paths, most=20).kind
        reason = f"{plural(len(pairs.images), 'image')} '{images}' and {plural(len(pairs.masks), 'mask')} '{masks}'"
        return Recognition("masks", reason, {"images": images, "masks": masks, "kind": kind})

    def listing(self, root: Path) -> Listing:
        """List everything below the root."""
        return list_files(root)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens the headers of images and masks, to compare their sizes.

        The catalog has further columns `split` (where the pattern has one), `height`, `width`, `mpp`.
        """
        pairs = pair_files(listing, *self._patterns)
        problems = [*listing.problems, *other_files(pairs.others)]
        problems += [
            Problem(path, "is named like a mask, but its image is missing; it is left out") for path in pairs.orphans
        ]
        rows = [row for row in (image_row(listing.root, *i, problems) for i in _images(pairs)) if row]
        sizes = {row["image_id"]: (row["height"], row["width"]) for row in rows}
        annotations = [row for row in _annotations(pairs, self.kind) if row["image_id"] in sizes]
        kept = [row for row in annotations if _fits(listing.root / row["path"], row, sizes, problems)]
        annotated = {row["image_id"] for row in annotations}
        problems += [Problem(row["path"], "has no mask") for row in rows if row["image_id"] not in annotated]
        return Scan(
            catalog_table(rows, where=listing.root),
            annotation_table(kept),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take labels from the names of classes, else from the values in a sample of the masks."""
        split = split_column(scan)
        if "class" in self._patterns[1].fields:
            classes = scan.annotations["label"].unique().sort().to_list()
            names = ["background", *(name for name in classes if name != "background")]
            note = "pixels outside all masks of an image count as 'background'; write 'outside: null' if they do not"
            counts = image_counts(scan.annotations, classes)
            return Proposal(LabelMapping.of(names), "background", split, counts, (note,))
        sample = examine_masks([listing.root / path for path in scan.annotations["path"]], kind=self.kind)
        return Proposal(sample.labels, None, split, sample.counts, sample.notes)


def pair_files(listing: Listing, images: Pattern, masks: Pattern) -> Pairs:
    """Sort the files of a listing into images, masks and others by two patterns."""
    stems = {path: identifier(without_suffix(path)) for path in listing.files if not is_hidden(path)}
    named: dict[Key, list[str]] = {}
    for path, stem in stems.items():
        if suffix_of(path) in IMAGE_SUFFIXES | CUBE_SUFFIXES:
            for fields in images.matches(stem):
                named.setdefault(_key(fields), []).append(path)
                break
    for key, paths in named.items():
        pictures = [path for path in paths if suffix_of(path) in IMAGE_SUFFIXES]
        named[key] = pictures or paths  # points or features of a picture are often stored beside it
    pairs = Pairs()
    used = set()
    for path, stem in stems.items():
        if suffix_of(path) not in MASK_SUFFIXES:
            continue
        for fields in masks.matches(stem):
            key = _key(fields)
            if key in named and path not in named[key]:
                pairs.masks.append((key, fields.get("class", ""), fields.get("annotator", ""), path))
                used.add(path)
                break
    for key, paths in named.items():
        kept = [path for path in paths if path not in used]
        if kept:
            pairs.images[key] = kept
    used |= {path for paths in pairs.images.values() for path in paths}
    used |= _data_of_headers(used, listing.files)
    for path, stem in stems.items():
        if path not in used:
            is_mask = suffix_of(path) in MASK_SUFFIXES and next(masks.matches(stem), None) is not None
            (pairs.orphans if is_mask else pairs.others).append(path)
    return pairs


def _data_of_headers(headers: Iterable[str], files: Iterable[str]) -> set[str]:
    """The data files of ENVI headers: `cube.raw` of `cube.hdr` or of `cube.raw.hdr`."""
    stems = {without_suffix(path) for path in headers if suffix_of(path) == ".hdr"}
    return {
        path
        for path in (files if stems else ())
        if path in stems or (suffix_of(path) in DATA_SUFFIXES and without_suffix(path) in stems)
    }


def _key(fields: Mapping[str, str]) -> Key:
    folder = fields.get("folder")
    return fields.get("split", ""), f"{folder}/{fields['id']}" if folder else fields["id"]


def image_row(
    root: Path, image_id: str, split: str | None, path: str, problems: list[Problem]
) -> dict[str, Any] | None:
    """The catalog row of an image, or None when its header cannot be read."""
    try:
        with open_image(root / path) as image:
            height, width, _ = image.shape
            mpp = image.mpp
    except StromaError as error:
        problems.append(Problem(path, f"{error.what}; it is left out"))
        return None
    row: dict[str, Any] = {"image_id": image_id, "path": path, "height": height, "width": width, "mpp": mpp}
    return row if split is None else {**row, "split": split}


def _images(pairs: Pairs) -> Iterator[tuple[str, str | None, str]]:
    """(image id, split, path) of each image, also of those that share an id."""
    for (split, name), paths in pairs.images.items():
        for path in paths:
            yield (f"{split}/{name}" if split else name), split or None, path


def _annotations(pairs: Pairs, kind: str) -> Iterator[dict[str, Any]]:
    for (split, name), label, annotator, path in pairs.masks:
        yield {
            "image_id": f"{split}/{name}" if split else name,
            "layer": "mask",
            "annotator": annotator,
            "kind": kind,
            "label": label or None,
            "path": path,
        }


def _fits(path: Path, row: dict[str, Any], sizes: dict[str, tuple[int, int]], problems: list[Problem]) -> bool:
    """Whether a mask has the size of its image, as far as its header tells."""
    try:
        with open_image(path) as mask:
            size = mask.shape[:2]
    except StromaError:  # of a kind that only `read_mask` reads, which checks the size when it is read
        return True
    wanted = sizes[row["image_id"]]
    if size == wanted:
        return True
    found = f"is {size[0]} × {size[1]} (height × width), its image is {wanted[0]} × {wanted[1]}"
    problems.append(Problem(row["path"], f"{found}; the mask is left out"))
    return False


def _candidates(listing: Listing) -> Iterator[tuple[str, str]]:
    """Pairs of patterns that the folder names allow, the plainest first."""
    inside: dict[str, list[str]] = {}
    for folder in listing.folders:
        if "{" not in folder and "}" not in folder:
            parent, _, name = identifier(folder).rpartition("/")
            inside.setdefault(parent, []).append(name)
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for parent, names in inside.items():
        for images in (name for name in names if name.lower() in IMAGE_FOLDERS):
            for masks in (name for name in names if name.lower() in MASK_FOLDERS):
                below = inside.get(f"{parent}/{images}" if parent else images, [])
                found.setdefault((images, masks), {}).setdefault(_with_split(parent), []).extend(below)
    for (images, masks), parents in found.items():
        for parent, below in _joined(parents).items():
            yield from _in_folders(parent, images, masks, below)
    yield from _BESIDE


def _joined(parents: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Many folders, such as those of subjects, as one pattern; what lies in the folders of images of each."""
    if len(parents) < 2:
        return dict(parents)
    common = os.path.commonprefix([parent.split("/") for parent in parents])
    joined = "/".join([*common, "{folder}"])
    below = [name for names in parents.values() for name in names]
    own = "/".join(common)
    return {joined: below, **({own: parents[own]} if own in parents else {})}


def _in_folders(parent: str, images: str, masks: str, inside: Sequence[str]) -> Iterator[tuple[str, str]]:
    prefix = f"{parent}/" if parent else ""
    split = "{split}/" if inside and all(name.lower() in SPLIT_FOLDERS for name in inside) else ""
    left, right = f"{prefix}{images}/{split}", f"{prefix}{masks}/{split}"
    yield f"{left}{{id}}", f"{right}{{id}}"
    for ending in _MASK_ENDINGS:
        yield f"{left}{{id}}", f"{right}{{id}}{ending}"
    yield f"{left}{{id}}", f"{right}{{class}}/{{id}}"
    yield f"{left}{{id}}", f"{right}{{id}}_{{class}}"
    yield f"{left}{{id}}", f"{right}{{id}}/{{class}}"


def _with_split(parent: str) -> str:
    """The parent folder, with `{split}` in place of a last part such as `train`."""
    above, slash, name = parent.rpartition("/")
    return f"{above}{slash}{{split}}" if name.lower() in SPLIT_FOLDERS else parent
