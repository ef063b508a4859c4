"""Cards of models that others trained: what the catalogue and weight files tell, as `stroma predict` needs it."""

from __future__ import annotations

from collections.abc import Sequence

from stroma.core.component import Component
from stroma.core.errors import ConfigError, UsageError
from stroma.models.describe import Description
from stroma.runs.card import ModelCard
from stroma.sampling.preparation import Preparation
from stroma.study.labels import LabelMapping

ENCODER = ("gives feature vectors, not classes", "Use it as an encoder: stroma embed TILES -o OUT --encoder NAME")
"""Why an encoder cannot be predicted with, and what to do instead."""
_SPECTRAL = ("spectrum_cnn", "spectrum_mlp")


def card_of(
    description: Description,
    *,
    class_names: Sequence[str] = (),
    prepare: Preparation | None = None,
    weights_sha256: str = "",
    where: str = "",
) -> ModelCard:
    """The card of a network that Stroma did not train.

    Args:
        description: What is known about it.
        class_names: Names of its classes, in the order of its outputs, instead of those that are known.
        prepare: From stored values to its input, instead of what is known.
        weights_sha256: Hash of its weights, where they lie beside the card.
        where: Its name, for messages.

    Raises:
        UsageError: it gives no classes, takes more than an image, or nothing is known about its normalisation.
        ConfigError: another number of class names.
    """
    reason = why_not_predictable(description)
    if reason:
        raise UsageError(reason[0], where=where or None, next_step=reason[1])
    steps = prepare if prepare is not None else description.prepare
    if steps is None:
        raise UsageError(
            "how its input was normalised is not known",
            where=where or None,
            next_step="Say it: --prepare '[l1]' for spectra, '[divide]' for pictures in 0 to 1, '[]' for no change",
        )
    names = tuple(class_names) or description.class_names
    if names and len(names) != description.classes:
        raise ConfigError(
            f"{len(names)} class names were given for {description.classes} classes", where=where or None
        )
    published = description.published
    dense = is_dense(description)
    labels = names or tuple(f"class_{index}" for index in range(description.classes))
    exclusive = description.activation == "softmax"
    thresholds = {} if exclusive or published is None else dict.fromkeys(labels, published.threshold)
    return ModelCard(
        model=description.model,
        channels=description.channels,
        wavelengths_nm=description.wavelengths_nm if description.modality == "hsi" else None,
        mpp=published.mpp if published else None,
        prepare=steps,
        granularity=_granularity(description),
        labels=LabelMapping.of(labels, exclusive=exclusive, thresholds=thresholds),
        outputs={
            "labels": {
                "kind": "logit",
                "activation": description.activation,
                "shape": "dense" if dense else "sample",
            }
        },
        input_px=published.input_px if published and not dense else None,
        licence=description.licence,
        notes=_notes(description, bool(class_names)),
        weights_sha256=weights_sha256,
    )


def why_not_predictable(description: Description) -> tuple[str, str] | None:
    """Why `stroma predict` cannot apply a network, and what to do instead; none where it can."""
    if description.output == "features":
        return ENCODER
    if description.model.name in ("table", "image_table"):
        return (
            "takes a clinical table, which images do not hold",
            "Call it in Python: stroma.load_model(NAME)(image, table)",
        )
    if description.modality == "hsi-pair":
        return (
            "takes two cubes after one another as its 200 channels",
            "Call it in Python: stroma.load_model(NAME)(cubes), each cube normalised by itself",
        )
    if description.output == "map" and description.activation == "sigmoid" and description.classes > 1:
        return (
            f"gives {description.classes} maps of classes that may overlap, which one map of classes cannot hold",
            "Call it in Python: stroma.load_model(NAME)(image).sigmoid()",
        )
    return None


def is_dense(description: Description) -> bool:
    """Whether a network answers for every pixel when it is applied to an image."""
    granularity = description.granularity.name
    if description.output == "map" or granularity == "superpixel":
        return True
    return description.model.name in _SPECTRAL and granularity != "spectrum"


def _granularity(description: Description) -> Component:
    """Spectral networks take whole cubes pixel by pixel; of others the samples of training."""
    if description.granularity.name == "pixel":
        return Component(name="image")
    return description.granularity


def _notes(description: Description, named: bool) -> tuple[str, ...]:
    published = description.published
    if published is None or named:
        return ()
    told = {
        "unverified": "the order of its classes is inferred and not verified",
        "unknown": "the order of its classes is not published: they are numbered",
        "documented": "",
    }[published.class_order]
    return (told,) if told else ()
