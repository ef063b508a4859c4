"""The card of a published model: where it comes from, what it may be used for, what it expects and answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stroma.core.component import Component
from stroma.core.config import Section
from stroma.sampling.preparation import Preparation


class PublishedFile(Section):
    """A file to fetch.

    Attributes:
        name: Its name in the weights folder.
        url: Where it is published; none where only a person can get it.
        size: Bytes, or none where the publisher does not say.
        size_estimate: Bytes computed from the number of parameters, for messages.
        sha256: Hash of the file, where published.
        folder_hash: Hash of the unpacked run folder as htc defines it, where published.
    """

    name: str
    url: str | None = None
    size: int | None = None
    size_estimate: int | None = None
    sha256: str | None = None
    folder_hash: str | None = None

    @property
    def size_text(self) -> str:
        """`358 MB`, or `about 358 MB` for an estimate."""
        if self.size is not None:
            return f"{self.size / 1e6:,.0f} MB"
        return f"about {self.size_estimate / 1e6:,.0f} MB" if self.size_estimate else "of unknown size"


class PublishedModel(Section):
    """What is known about published weights, with its source.

    Attributes:
        name: As given to `stroma.load_model`.
        system: The project it comes from.
        title: One line.
        model: The component that builds the network.
        channels: Channels of its input.
        classes: Number of its classes; 0 for feature vectors.
        class_names: Names in the order of the outputs, as far as known.
        class_order: Whether that order is documented, inferred without a check (`unverified`), or unknown.
        output: `map` (logits per pixel), `class` (logits per image) or `features` (one vector per image).
        activation: What turns logits into probabilities.
        threshold: Probability from which a class that a sigmoid finds is present.
        features: Length of the feature vector, where the network gives one.
        modality: `hsi`, `rgb`, `tpi` (tissue parameter images), `hsi-pair` or `table`.
        channel_order: Order of the channels.
        wavelengths_nm: One per channel, for spectra.
        prepare: From stored values to the input of the network.
        input_px: (height, width) of the images it was trained on; other sizes are taken too.
        mpp: Resolution it was trained at in µm per pixel, where known.
        granularity: The samples it was trained on.
        folds: Number of networks in it, which are averaged.
        file: The file to fetch.
        licence: Of the weights.
        non_commercial: Whether the licence forbids commercial use: it has to be accepted once.
        access: `open`, `gated` (an account has to be granted access) or `manual` (to be fetched by hand).
        access_note: How to get it where access is not open.
        source: Where this card's facts can be checked.
        cite: The publication.
        notes: What a user has to know.
    """

    name: str
    system: Literal["htc", "deepcmorph", "histoencoder", "glomeruli", "encoders"]
    title: str
    model: Component
    channels: int = Field(ge=1)
    classes: int = Field(ge=0)
    class_names: tuple[str, ...] = ()
    class_order: Literal["documented", "unverified", "unknown"] = "unknown"
    output: Literal["map", "class", "features"]
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    threshold: float = 0.5
    features: int | None = None
    modality: Literal["hsi", "rgb", "tpi", "hsi-pair", "table"]
    channel_order: str = ""
    wavelengths_nm: tuple[float, ...] | None = None
    prepare: Preparation = Preparation()
    input_px: tuple[int, int] | None = None
    mpp: float | None = None
    granularity: Component = Component(name="image")
    folds: int = 1
    file: PublishedFile
    licence: str
    non_commercial: bool = False
    access: Literal["open", "gated", "manual"] = "open"
    access_note: str = ""
    source: str
    cite: str
    notes: tuple[str, ...] = ()


WEIGHTS_FORMAT = "weights/1"


class WeightsCard(Section):
    """What is known about imported weights: `weights.json` beside `weights.safetensors`.

    Attributes:
        format: `weights/1`.
        model: The component that builds the network.
        channels, classes, class_names, output, activation, wavelengths_nm, prepare, modality, granularity: As in
            `PublishedModel`; `prepare` is none and `class_names` is empty where not known.
        published: The card of the catalogue, for published weights.
        file: Name and SHA-256 of the file that was imported.
        keys: How many of its keys were taken, adapted and skipped.
        weights_sha256: Hash of `weights.safetensors`.
    """

    format: str = WEIGHTS_FORMAT
    model: Component
    channels: int = Field(ge=1)
    classes: int = Field(ge=0)
    class_names: tuple[str, ...] = ()
    output: Literal["map", "class", "features"]
    activation: Literal["softmax", "sigmoid", "none"]
    wavelengths_nm: tuple[float, ...] | None = None
    prepare: Preparation | None = None
    modality: str = ""
    granularity: Component = Component(name="image")
    published: PublishedModel | None = None
    file: dict[str, str] = Field(default_factory=dict)
    keys: dict[str, int] = Field(default_factory=dict)
    weights_sha256: str = ""
