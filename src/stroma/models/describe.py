"""What is known about the weights of one file: the network they belong to, its input and its answers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from stroma.core.component import Component
from stroma.core.config import build
from stroma.core.errors import InvalidData
from stroma.core.files import read_json
from stroma.core.provenance import check_format
from stroma.models.card import WEIGHTS_FORMAT, PublishedModel, WeightsCard
from stroma.models.htc_run import HtcRun, get
from stroma.models.recognise import Recognised
from stroma.models.wavelengths import RGB_NM
from stroma.sampling.preparation import Preparation

Output = Literal["map", "class", "features"]
Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class Description:
    """What a network is and expects.

    Attributes:
        model: The component that builds it.
        channels: Channels of its input.
        classes: Number of its classes; 0 for feature vectors.
        class_names: Names in the order of its outputs; empty where not known.
        output: `map` (logits per pixel), `class` (logits per sample) or `features`.
        activation: What turns logits into probabilities.
        wavelengths_nm: One per channel, where known.
        prepare: From stored values to its input; none where not known.
        modality: `hsi`, `rgb`, `tpi`, `hsi-pair`, `table` or empty.
        granularity: The samples it was trained on.
        published: The card of the catalogue, for published weights.
        licence: Of weights, or of those they were trained from, that may not be used commercially.
    """

    model: Component
    channels: int
    classes: int
    class_names: tuple[str, ...] = ()
    output: Output = "map"
    activation: Activation = "softmax"
    wavelengths_nm: tuple[float, ...] | None = None
    prepare: Preparation | None = None
    modality: str = ""
    granularity: Component = Component(name="image")
    published: PublishedModel | None = None
    licence: str | None = None

    @property
    def sums_to_one(self) -> bool:
        """Whether spectra are normalised to the sum 1."""
        return self.prepare is not None and any(step.name == "l1" for step in self.prepare.steps)

    def with_table(self, columns: int) -> Self:
        """The same for a table of this width, which configurations do not tell."""
        if self.model.name == "table":
            return replace(self, channels=columns)
        model = Component.model_validate({"name": self.model.name, **self.model.parameters, "columns": columns})
        return replace(self, model=model)

    @classmethod
    def of_published(cls, card: PublishedModel) -> Self:
        """From the catalogue."""
        return cls(
            model=card.model,
            channels=card.channels,
            classes=card.classes,
            class_names=card.class_names,
            output=card.output,
            activation=card.activation,
            wavelengths_nm=card.wavelengths_nm or (RGB_NM if card.modality == "rgb" else None),
            prepare=card.prepare,
            modality=card.modality,
            granularity=card.granularity,
            published=card,
            licence=_non_commercial(card),
        )

    @classmethod
    def of_htc(cls, run: HtcRun, published: PublishedModel | None = None) -> Self:
        """From the configuration of a run of htc."""
        names = run.class_names
        known_channels = {100: "hsi", 200: "hsi-pair", 3: "rgb", 4: "tpi"}
        modality = "table" if run.is_table else known_channels.get(run.channels, "")
        if get(run.config, "input/channel_selection"):
            modality = "hsi"
        return cls(
            model=run.model,
            channels=run.channels,
            classes=len(names),
            class_names=names,
            output="class" if run.per_sample else "map",
            activation=run.activation,
            wavelengths_nm=run.wavelengths_nm,
            prepare=Preparation.model_validate({"steps": run.preparation}),
            modality=modality,
            granularity=published.granularity if published else run.granularity,
            published=published,
            licence=_non_commercial(published),
        )

    @classmethod
    def of_component(cls, found: Recognised) -> Self:
        """From a component and shapes; nothing is known about its preparation and classes."""
        name = found.model.name
        per_pixel = name in ("unet", "segmentation", "unext101")
        output: Output = "map" if per_pixel else "class" if found.classes else "features"
        sigmoid = name == "unext101" or (per_pixel and found.classes == 1)
        activation: Activation = "none" if output == "features" else "sigmoid" if sigmoid else "softmax"
        wavelengths = RGB_NM if found.channels == 3 else None
        return cls(found.model, found.channels, found.classes, (), output, activation, wavelengths)

    @classmethod
    def of_weights_card(cls, path: Path) -> Self:
        """From the `weights.json` beside imported weights.

        Raises:
            InvalidData, NewerFormat, ConfigError: it is no such card, too new, or damaged.
        """
        content: Any = read_json(path)
        if not isinstance(content, dict):
            raise InvalidData("is not a card of weights", where=path)
        check_format(str(content.get("format", "")), WEIGHTS_FORMAT, where=path)
        card = build(WeightsCard, content, where=path)
        names = {entry.name for entry in fields(cls)} - {"licence"}
        return cls(**{name: getattr(card, name) for name in names}, licence=_non_commercial(card.published))

    @classmethod
    def of_card(cls, path: Path) -> Self:
        """From the `card.json` beside weights of Stroma's own.

        Raises:
            InvalidData: it is no model card.
        """
        content: Any = read_json(path)
        try:
            labels = tuple(content["labels"]["names"])
            outputs = content["outputs"]["labels"]
            prepare = Preparation.model_validate(content["prepare"])
            return cls(
                model=Component.model_validate(content["model"]),
                channels=prepare.channels(int(content["channels"])),
                classes=len(labels),
                class_names=labels,
                output="map" if outputs["shape"] == "dense" else "class",
                activation=outputs["activation"],
                wavelengths_nm=prepare.wavelengths(content.get("wavelengths_nm")) or None,
                prepare=prepare,
                modality=str(content.get("modality", "")),
                granularity=Component.model_validate(content["granularity"]),
                licence=content.get("licence"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"is not a model card ({error!r})", where=path) from error


def _non_commercial(card: PublishedModel | None) -> str | None:
    return card.licence if card is not None and card.non_commercial else None
