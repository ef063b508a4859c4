"""The model card: everything needed to use trained weights correctly, beside the weights as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stroma.core.component import Component
from stroma.core.config import Section, build, to_plain
from stroma.core.errors import InvalidData
from stroma.core.files import read_json, write_json
from stroma.core.provenance import check_format
from stroma.images.image import Image
from stroma.sampling.preparation import Preparation
from stroma.study.labels import LabelMapping

CARD_FORMAT = "card/1"


class ModelCard(Section):
    """What a network expects and answers.

    Attributes:
        format: `card/1`.
        model: The component that builds it.
        channels: Number of input channels.
        wavelengths_nm: Their wavelengths, for hyperspectral input.
        modality: `image` or `rgb`.
        mpp: Resolution of the training images in µm, where they had one.
        prepare: The complete preparation (fitted values included).
        granularity: The samples it was trained on.
        labels: Its classes, in the order of its outputs.
        outputs: Kind of the output `labels`: one logit per class and pixel.
        licence: Of imported weights that may not be used commercially; it goes on to what is made with them.
        weights_sha256: Hash of the weights file.
    """

    format: str = CARD_FORMAT
    model: Component
    channels: int = Field(ge=1)
    wavelengths_nm: tuple[float, ...] | None = None
    modality: Literal["image", "rgb"] = "image"
    mpp: float | None = None
    prepare: Preparation
    granularity: Component
    labels: LabelMapping
    outputs: dict[str, Any] = {"labels": {"kind": "logit", "activation": "softmax", "shape": "dense"}}
    precision: str = "float32"
    licence: str | None = None
    weights_sha256: str = ""

    def check_image(self, image: Image) -> None:
        """Check that an image is what the network expects.

        Raises:
            InvalidData: another number of channels, other wavelengths (more than 1 nm apart), or a resolution
                more than 20 % off.
        """
        if len(image.channels) != self.channels:
            raise InvalidData(
                f"has {len(image.channels)} channels, the model was trained on {self.channels}", where=image.path
            )
        if self.wavelengths_nm is not None and image.wavelengths_nm is not None:
            apart = float(np.abs(np.asarray(self.wavelengths_nm) - image.wavelengths_nm).max())
            if apart > 1:
                raise InvalidData(
                    f"has wavelengths up to {apart:.1f} nm away from those the model was trained on",
                    where=image.path,
                )
        if self.mpp is not None and image.mpp is not None and not 0.8 <= image.mpp / self.mpp <= 1.25:
            raise InvalidData(
                f"has {image.mpp:g} µm per pixel, the model was trained at {self.mpp:g}", where=image.path
            )

    def save(self, path: Path) -> Path:
        """Write the card as JSON."""
        return write_json(path, to_plain(self))

    @classmethod
    def load(cls, path: Path) -> ModelCard:
        """Read a card.

        Raises:
            MissingFile, InvalidData, NewerFormat, ConfigError: absent, no card, too new, or damaged.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise InvalidData("is not a model card", where=path)
        check_format(str(content.get("format", "")), CARD_FORMAT, where=path)
        return build(cls, content, where=path)
