"""Cards of published models: each can be predicted with, or says what to do instead."""

from collections import Counter

import pytest

from stroma.core.errors import UsageError
from stroma.models.catalogue import catalogue
from stroma.models.describe import Description
from stroma.runs.card import ModelCard
from stroma.runs.components import parse_component, parse_preparation
from stroma.runs.foreign import card_of, why_not_predictable

PREDICTABLE = {
    name: card for name, card in catalogue().items() if not why_not_predictable(Description.of_published(card))
}


def test_what_cannot_be_predicted_with_is_encoders_tables_and_stacked_cubes() -> None:
    others = [card for name, card in catalogue().items() if name not in PREDICTABLE]
    kinds = Counter("encoder" if card.output == "features" else card.modality + card.model.name for card in others)
    encoders = sum(card.system in ("encoders", "histoencoder") for card in catalogue().values())
    assert kinds == {"encoder": encoders, "hsi-pairencoder_classifier": 30, "hsiimage_table": 60}
    for card in others:
        with pytest.raises(UsageError, match=r"stroma embed|Call it in Python"):
            card_of(Description.of_published(card))


def test_cards_of_published_models() -> None:
    for name, published in PREDICTABLE.items():
        card = card_of(Description.of_published(published))
        assert ModelCard.model_validate_json(card.model_dump_json()) == card, name
        assert len(card.labels) == published.classes, name
        assert card.channels == published.channels, name
        assert (card.licence is not None) == published.non_commercial, name
        dense = published.output == "map" or published.granularity.name in ("pixel", "superpixel")
        assert card.dense == dense, name
        assert bool(card.notes) == (published.class_order != "documented"), name
        assert (card.wavelengths_nm is not None) == (published.modality == "hsi"), name


def test_numbered_classes_where_their_order_is_unknown() -> None:
    card = card_of(Description.of_published(catalogue()["deepcmorph/combined"]))
    assert card.labels.names[:2] == ("class_0", "class_1")
    assert card.notes == ("the order of its classes is not published: they are numbered",)
    named = card_of(Description.of_published(catalogue()["deepcmorph/crc"]), class_names=[str(i) for i in range(9)])
    assert named.notes == ()


def test_a_single_sigmoid_class_is_one_of_two_labels_with_its_threshold() -> None:
    card = card_of(Description.of_published(catalogue()["glomeruli"]))
    assert card.labels.thresholds == {"glomerulus": 0.45}
    assert card.written_labels.names == ("background", "glomerulus")
    assert card.activation == "sigmoid"


def test_components_as_typed() -> None:
    assert parse_component("unet").name == "unet"  # type: ignore[union-attr]
    assert parse_component(None) is None
    assert [step.name for step in parse_preparation("[divide, {name: mean_std, mean: [1], std: [2]}]").steps] == [
        "divide",
        "mean_std",
    ]
    assert parse_preparation("[]").steps == ()
    with pytest.raises(UsageError, match="no list of preparation steps"):
        parse_preparation("{a: 1}")
    with pytest.raises(UsageError, match="names no architecture"):
        parse_component("[1, 2]")
