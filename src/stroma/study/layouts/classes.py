"""The layout of class folders: the folder of a picture is its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stroma.core.errors import ConfigError
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
from stroma.study.layouts.masks import IMAGE_FOLDERS, MASK_FOLDERS, SPLIT_FOLDERS, image_row
from stroma.study.listing import Listing, is_hidden, list_files
from stroma.study.patterns import IMAGE_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES, Pattern, suffix_of, without_suffix

_MOST_CLASSES = 200
_PLAIN = "{class}/{id}"
_DIVIDED = "{split}/{class}/{id}"


@dataclass(frozen=True)
class ClassFolders:
    """Pictures in one folder a class.

    Args:
        images: Pattern of the pictures' paths without suffix: `{class}/{id}`, or `{split}/{class}/{id}` with
            folders train, val and test above.
    """

    images: str = _PLAIN

    @cached_property
    def _pattern(self) -> Pattern:
        pattern = Pattern(self.images)
        if "class" not in pattern.fields:
            raise ConfigError(f"the pattern '{self.images}' lacks {{class}}", where="layout.images")
        return pattern

    @classmethod
    def recognise(cls, listing: Listing) -> Recognition | None:
        """Recognise a tree whose pictures all lie in folders: at least two, with two pictures on average."""
        pictures = [
            path
            for path in listing.files
            if suffix_of(path) in PICTURE_SUFFIXES | TIFF_SUFFIXES and not is_hidden(path)
        ]
        tops = {path.split("/")[0].lower() for path in pictures}
        divided = bool(tops) and tops <= set(SPLIT_FOLDERS)
        level = 1 if divided else 0
        classes = Counter(path.split("/")[level] for path in pictures if path.count("/") > level)
        if {name.lower() for name in classes} & {*IMAGE_FOLDERS, *MASK_FOLDERS}:
            return None
        if any(part.lower() in MASK_FOLDERS for path in pictures for part in path.split("/")[level + 1 : -1]):
            return None
        enough = 2 <= len(classes) <= min(_MOST_CLASSES, len(pictures) // 2)
        if not enough or sum(classes.values()) < len(pictures):
            return None
        names = sorted(classes)
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        reason = f"{len(pictures)} pictures in {len(names)} folders ({shown}), which are taken for classes"
        return Recognition("classes", reason, {"images": _DIVIDED if divided else _PLAIN})

    def listing(self, root: Path) -> Listing:
        """List everything below the root."""
        return list_files(root)

    def scan(self, listing: Listing) -> Scan:
        """Make the tables; opens the headers of the pictures.

        The catalog has further columns `label`, `split` (where the pattern has one), `height`, `width`, `mpp`.
        Ids are paths below the root, so pictures of one name in two classes do not clash.
        """
        problems = list(listing.problems)
        rows, annotations, others = [], [], []
        for path, fields in self._files(listing):
            if fields is None:
                others.append(path)
                continue
            row = image_row(listing.root, identifier(without_suffix(path)), fields.get("split"), path, problems)
            if row:
                rows.append({**row, "label": fields["class"]})
                annotations.append(
                    {
                        "image_id": row["image_id"],
                        "layer": "label",
                        "annotator": "",
                        "kind": "image",
                        "label": fields["class"],
                    }
                )
        problems += other_files(others)
        return Scan(
            catalog_table(rows, where=listing.root),
            annotation_table(annotations),
            tuple(sorted(problems, key=lambda problem: problem.path)),
        )

    def _files(self, listing: Listing) -> Iterator[tuple[str, dict[str, str] | None]]:
        """Each file with what its path says, None where it is no picture of a class."""
        for path in listing.files:
            if is_hidden(path):
                continue
            fits = suffix_of(path) in IMAGE_SUFFIXES
            yield path, next(self._pattern.matches(identifier(without_suffix(path))), None) if fits else None

    def propose(self, listing: Listing, scan: Scan) -> Proposal:
        """Take the labels from the folder names, in the order of the alphabet."""
        names = scan.annotations["label"].unique().sort().to_list()
        labels = LabelMapping.of(names) if names else None
        split = split_column(scan)
        notes = [
            "a folder's name is the label of its images; if it is the subject: --layout slides --subject-level 1"
        ]
        notes += [f"the folders {', '.join(scan.catalog['split'].unique().sort())} are the splits"] if split else []
        return Proposal(labels, None, split, image_counts(scan.annotations, names), notes)
