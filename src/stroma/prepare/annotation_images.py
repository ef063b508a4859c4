"""The images that annotation files belong to: sizes, pixel sizes, scan bounds, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stroma.core.errors import InvalidData
from stroma.images.open import open_image
from stroma.prepare.inputs import Source, find_inputs
from stroma.regions.xml_annotations import SlideFrame
from stroma.study.layouts.drawn import scan_corner, slide_frame


@dataclass(frozen=True)
class ImageFacts:
    """What annotations need to know about their image.

    Attributes:
        image_id: Its id.
        subject_id: Whose it is.
        size: (height, width) of level 0 in pixels.
        mpp: Size of a level-0 pixel in µm, or None.
        scan_corner: (x, y) of the scanned area in level-0 pixels; (0, 0) for most files.
        frame: What NDP.view's positions are counted from; None where the file does not tell.
    """

    image_id: str
    subject_id: str
    size: tuple[int, int]
    mpp: float | None
    scan_corner: tuple[int, int]
    frame: SlideFrame | None


class Images:
    """Images by id, opened when they are asked for.

    Args:
        inputs: Files, folders, patterns or studies; none is allowed.

    Attributes:
        subjects_known: Whether studies tell whose all images are.
    """

    def __init__(self, inputs: Sequence[Path] = ()) -> None:
        found = find_inputs(inputs) if inputs else None
        self._sources: dict[str, Source] = {source.image_id: source for source in (found.sources if found else ())}
        self.subjects_known = found is not None and found.subjects_known
        self._facts: dict[str, ImageFacts] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self._sources)

    def match(self, key: str) -> str | None:
        """The id of the image that a file called `key` belongs to.

        That is the image of this id, else the only one whose id ends with it after a `/` or `#`.

        Raises:
            InvalidData: there are images, but none or several of that name.
        """
        if key in self._sources or not self._sources:
            return key if key in self._sources else None
        ends = [name for name in self._sources if name.endswith((f"/{key}", f"#{key}"))]
        if len(ends) == 1:
            return ends[0]
        what = f"{len(ends)} images match" if ends else "no image has"
        raise InvalidData(
            f"{what} the name '{key}'", next_step="Name annotation files like their images, or give other --images"
        )

    def source(self, image_id: str) -> tuple[Path, dict[str, Any]]:
        """The file of an image, and what is passed on to `open_image`."""
        source = self._sources[image_id]
        return source.path, dict(source.options)

    def facts(self, image_id: str) -> ImageFacts:
        """Open an image and read its header."""
        if image_id not in self._facts:
            source = self._sources[image_id]
            with open_image(source.path, **source.options) as image:
                self._facts[image_id] = ImageFacts(
                    image_id,
                    source.subject_id,
                    (image.shape[0], image.shape[1]),
                    image.mpp,
                    scan_corner(image),
                    slide_frame(image),
                )
        return self._facts[image_id]
