"""The weights of a fold: safetensors beside a model card that holds their hash."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from stroma.core.errors import InvalidData, MissingFile
from stroma.core.files import sha256
from stroma.models.build import build_model
from stroma.runs.card import ModelCard

WEIGHTS_NAME, CARD_NAME = "weights.safetensors", "card.json"


def load_network(folder: Path) -> tuple[nn.Module, ModelCard]:
    """Build the network of a fold with its weights, in eval mode on the CPU.

    Args:
        folder: Holds `weights.safetensors` and `card.json`.

    Raises:
        MissingFile: one of them is missing.
        InvalidData: the weights are damaged, are not those of the card, or do not fit the network.
    """
    card = ModelCard.load(folder / CARD_NAME)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise MissingFile("there are no weights", where=path)
    if card.weights_sha256 and sha256(path) != card.weights_sha256:
        raise InvalidData(
            "holds other weights than its card says (the SHA-256 differs)",
            where=path,
            next_step="Copy the fold's folder again from where it was trained",
        )
    network = build_model(card.model, channels=card.prepare.channels(card.channels), classes=len(card.labels))
    try:
        network.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise InvalidData(f"is not a readable safetensors file ({error})", where=path) from error
    except RuntimeError as error:
        raise InvalidData(f"does not fit the model '{card.model.name}' of its card ({error})", where=path) from error
    return network.eval(), card
