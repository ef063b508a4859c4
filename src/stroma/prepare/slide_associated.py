"""Pictures that a slide file holds beside the slide: label, macro, thumbnail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openslide import OpenSlide, OpenSlideError

from stroma.core.clock import stage
from stroma.images.guard import foreign_bytes
from stroma.images.image import Image
from stroma.images.slide import SlideImage


def associated_names(image: Image) -> tuple[str, ...]:
    """Names of the pictures beside the slide; empty for files that OpenSlide does not read."""
    if not isinstance(image, SlideImage):
        return ()
    with foreign_bytes(image.path, OpenSlideError), OpenSlide(image.file) as slide:
        return tuple(sorted(slide.associated_images))


def read_associated(image: Image) -> dict[str, NDArray[np.uint8]]:
    """The pictures beside the slide as (H, W, 3) uint8.

    They often show the patient's name and number: call this only when the user asked for identifiers.
    """
    if not isinstance(image, SlideImage):
        return {}
    with stage("read"), foreign_bytes(image.path, OpenSlideError), OpenSlide(image.file) as slide:
        pictures = slide.associated_images
        return {name: np.asarray(pictures[name].convert("RGB")) for name in sorted(pictures)}


def associated_path(folder: Path, stem: str, name: str) -> Path:
    """Where a verb writes such a picture."""
    return folder / "associated" / f"{stem}.{name}.png"
