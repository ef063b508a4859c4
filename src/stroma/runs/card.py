"""The model card: everything needed to use trained weights correctly, beside the weights as JSON."""

from __future__ import annotations

from collections.abc import Iterator
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
        outputs: Kind of the output `labels`: logits, their activation (`softmax`, `sigmoid`), and their shape: one
            per class and pixel (`dense`), or one per class and image (`sample`).
        input_px: (height, width) of the training images, for networks that give one answer an image.
        origin: Name and SHA-256 of the weights that its training started from; none for random ones.
        licence: Of imported weights that may not be used commercially; it goes on to what is made with them.
        notes: What a user has to know when the answers are read, such as an order of classes nobody verified.
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
    input_px: tuple[int, int] | None = None
    origin: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    weights_sha256: str = ""

    @property
    def activation(self) -> str:
        """What turns the logits into probabilities: `softmax` or `sigmoid`."""
        return str(self.outputs["labels"]["activation"])

    @property
    def dense(self) -> bool:
        """Whether it answers for every pixel rather than for the image."""
        return bool(self.outputs["labels"]["shape"] == "dense")

    @property
    def written_labels(self) -> LabelMapping:
        """Labels of the maps that are written: a single class that a sigmoid finds is 1, the background 0."""
        if self.activation == "sigmoid" and len(self.labels) == 1:
            return LabelMapping.of(("background", *self.labels.names))
        return self.labels

    def check_image(self, image: Image) -> tuple[str, ...]:
        """Check that an image is what the network expects.

        Returns:
            Warnings: what the image does not tell and hence could not be checked, and another size.

        Raises:
            InvalidData: another number of channels, other wavelengths (more than 1 nm apart), or a resolution
                more than 20 % off.
        """
        if len(image.channels) != self.channels:
            raise InvalidData(
                f"has {len(image.channels)} channels, the model was trained on {self.channels}",
                where=image.path,
                next_step="Give its RGB picture" if self.channels == 3 else "",
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
                f"has {image.mpp:g} µm per pixel, the model was trained at {self.mpp:g}",
                where=image.path,
                next_step=f"Cut tiles at that resolution: stroma tile … --mpp {self.mpp:g} --save-images",
            )
        return tuple(self._unchecked(image))

    def _unchecked(self, image: Image) -> Iterator[str]:
        """What the image does not tell."""
        if self.wavelengths_nm is not None and image.wavelengths_nm is None:
            yield (
                f"the image does not tell its wavelengths; the model takes {self.wavelengths_nm[0]:g} to "
                f"{self.wavelengths_nm[-1]:g} nm"
            )
        if self.mpp is not None and image.mpp is None:
            yield f"the image does not tell its resolution; the model was trained at {self.mpp:g} µm per pixel"
        if self.input_px is not None:
            ratios = [side / wanted for side, wanted in zip(image.shape, self.input_px, strict=False)]
            if not all(0.5 <= ratio <= 2 for ratio in ratios):
                height, width = self.input_px
                yield (
                    f"the image has {image.shape[0]} × {image.shape[1]} pixels; the model was trained on "
                    f"{height} × {width}"
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
