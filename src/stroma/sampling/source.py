"""From (study, image_id, modality) to the Image that samples are read from."""

from __future__ import annotations

from pathlib import Path

from stroma.images.array import ArrayImage
from stroma.images.image import Image
from stroma.study.study import Study


def open_input(study: Study, image_id: str, modality: str) -> Image:
    """Open what a model sees of an image.

    Args:
        study: The study.
        image_id: One of its images.
        modality: `image` for the stored file, `rgb` for its RGB rendering.
    """
    if modality == "rgb":
        return ArrayImage(study.rgb(image_id), path=Path(f"{image_id} (rgb)"))
    return study.open(image_id)
