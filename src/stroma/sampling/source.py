"""From (study, image_id, modality) to the Image that samples are read from."""

from __future__ import annotations

from pathlib import Path

from stroma.images.array import ArrayImage
from stroma.images.image import Image
from stroma.sampling.stores import Stores
from stroma.study.study import Study


def open_input(study: Study, image_id: str, modality: str, stores: Stores | None = None) -> Image:
    """Open what a model sees of an image.

    Args:
        study: The study.
        image_id: One of its images.
        modality: `image` for the stored file, `rgb` for its RGB rendering.
        stores: Read from these instead; see `choose_stores`. Their float16 values are the nearest to the float32
            ones: they differ by at most 2⁻¹¹ of each value (raw16; L1 above 6.1e-5), and 3e-8 below.

    Returns:
        The image; `Preparation.after(image.prepared)` is what is left to do.
    """
    if stores is not None:
        return stores.open(image_id)
    if modality == "rgb":
        return ArrayImage(study.rgb(image_id), path=Path(f"{image_id} (rgb)"))
    return study.open(image_id)
