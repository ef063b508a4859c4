"""The network behind an encoder's name, with its weights and what identifies its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import nn

from stroma.core.errors import UsageError
from stroma.core.files import sha256
from stroma.models.block_features import feature_network
from stroma.models.build import build_model
from stroma.models.card import PublishedModel
from stroma.models.catalogue import find, is_published
from stroma.models.describe import Description
from stroma.models.load import load_member
from stroma.models.locate import Member, locate, published_members
from stroma.models.timm_network import fetch_timm_weights, is_timm, timm_network
from stroma.models.timm_weights import load_timm_weights
from stroma.models.weights_file import read_weights
from stroma.models.weights_folder import weights_folder
from stroma.sampling.preparation import Preparation

PRETRAINED, RANDOM = "pretrained", "random"
_WITHOUT = (
    "Connect to the network once, give a weight file with --weights FILE, use --weights random --seed 0 for random"
    " features (they only test the path), or --encoder colour-texture"
)


@dataclass(frozen=True)
class EncoderNetwork:
    """A network that gives one vector per tile.

    Attributes:
        network: (B, 3, H, W) → (B, D).
        identity: What its features depend on, as plain values.
        data: `mean`, `std`, `interpolation`, `input_size`, `fixed` (whether it takes one size only) and, where known,
            `mpp`.
    """

    network: nn.Module
    identity: Mapping[str, Any]
    data: Mapping[str, Any]


def encoder_network(
    name: str,
    *,
    weights: str = PRETRAINED,
    seed: int = 0,
    num_blocks: int = 1,
    avg_pool: bool = False,
    weights_dir: Path | None = None,
    accept_licence: bool = False,
) -> EncoderNetwork:
    """Build the network of an encoder; parameters and errors as in `load_encoder`."""
    card = _published_encoder(name)
    if card is None and not is_timm(name) and Path(name).exists():
        network, identity, data = _of_path(Path(name), weights)
    elif card is not None:
        network, identity = _published(card, weights, seed, weights_dir, accept_licence)
        data = {
            **_mean_std(card.prepare, Path(card.name)),
            "interpolation": "bicubic",
            "input_size": (3, *(card.input_px or (224, 224))),
        }
        data |= {"fixed": _takes_one_size(network), "mpp": card.mpp}
    else:
        network, identity = _of_timm(name, weights, seed, weights_folder(weights_dir))
        config: Any = getattr(network, "pretrained_cfg", {})
        data = {**resolve_model_data_config(network), "fixed": bool(config.get("fixed_input_size"))}
    blocks = {} if num_blocks == 1 and not avg_pool else {"num_blocks": num_blocks, "avg_pool": avg_pool}
    features = feature_network(network, num_blocks=num_blocks, avg_pool=avg_pool)
    return EncoderNetwork(features, {**identity, **blocks}, data)


def _of_path(path: Path, weights: str) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """The encoder in a file, a folder of one file, or a folder of `stroma models import`."""
    if weights != PRETRAINED:
        raise UsageError("a file or folder holds weights already", where=path, next_step="Leave out --weights")
    members = locate(path)
    if len(members) > 1:
        names = ", ".join(member.path.name for member in members[:4])
        raise UsageError(f"holds {len(members)} networks ({names}); features are those of one", where=path)
    network, description, _ = load_member(members[0])
    if description.channels != 3:
        raise UsageError(f"takes {description.channels} channels, and tiles have 3", where=path)
    without_classes: Any = getattr(network, "reset_classifier", None)
    if description.output == "class" and without_classes is not None:
        without_classes(0)
    elif description.output != "features" and description.model.name != "deepcmorph":
        raise UsageError("gives classes, not feature vectors", where=path, next_step="Apply it: stroma predict")
    statistics = _mean_std(description.prepare, path)
    published = description.published
    licence = {"licence": description.licence} if description.licence else {}
    identity = {
        "name": published.name if published else description.model.name,
        "weights": "file",
        "weights_sha256": sha256(members[0].path),
        **licence,
    }
    side = published.input_px if published and published.input_px else (224, 224)
    mpp = published.mpp if published else None
    return (
        network,
        identity,
        {
            **statistics,
            "interpolation": "bicubic",
            "input_size": (3, *side),
            "fixed": _takes_one_size(network),
            "mpp": mpp,
        },
    )


def _takes_one_size(network: nn.Module) -> bool:
    """Whether a vision transformer takes images of one size only, so that tiles have to be resized to it."""
    return bool(getattr(getattr(network, "patch_embed", None), "strict_img_size", False))


def _mean_std(prepare: Preparation | None, where: Path) -> dict[str, Any]:
    """Mean and standard deviation of a preparation of 8-bit pictures: `divide`, then `mean_std` or nothing.

    Raises:
        UsageError: nothing is known, or it holds other steps.
    """
    names = None if prepare is None else [step.name for step in prepare.steps]
    if prepare is None or names not in (["divide"], ["divide", "mean_std"]):
        known = (
            "is not known" if names is None else f"is {' → '.join(names) or 'nothing'}, which tiles of 8 bit are not"
        )
        raise UsageError(
            f"how its tiles are normalised {known}",
            where=where,
            next_step="Name the encoder, and the file as its weights: --encoder NAME --weights FILE",
        )
    return prepare.steps[1].parameters if len(prepare.steps) > 1 else {"mean": [0.0] * 3, "std": [1.0] * 3}


def _published_encoder(name: str) -> PublishedModel | None:
    """The card of a published model that gives features and is not one of timm on the Hub."""
    if not is_published(name):
        return None
    cards = find(name)
    if len(cards) > 1:
        raise UsageError(f"'{name}' stands for {len(cards)} models; features are those of one", next_step="Name one")
    card = cards[0]
    if card.features is None:
        raise UsageError(
            f"'{card.name}' gives classes, not feature vectors",
            next_step="See: stroma models list, and take an encoder",
        )
    return card


def _published(
    card: PublishedModel, weights: str, seed: int, weights_dir: Path | None, accept_licence: bool
) -> tuple[nn.Module, dict[str, Any]]:
    licence = {"licence": card.licence} if card.non_commercial else {}
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_model(card.model, channels=card.channels, classes=card.classes)
        return network, {"name": card.name, "weights": RANDOM, "seed": seed}
    if weights == PRETRAINED:
        member = published_members(card, weights_folder(weights_dir), accept_licence=accept_licence)[0]
    else:
        member = Member(card.name, Path(weights), Description.of_published(card))
    network, _, _ = load_member(member)
    kind = PRETRAINED if weights == PRETRAINED else "file"
    return network, {"name": card.name, "weights": kind, "weights_sha256": sha256(member.path), **licence}


def _of_timm(name: str, weights: str, seed: int, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm_network(encoder=name, weights_dir=folder)
    if weights == RANDOM:
        return network, {"name": name, "weights": RANDOM, "seed": seed}
    path = (
        fetch_timm_weights(name, network, folder=folder, without=_WITHOUT) if weights == PRETRAINED else Path(weights)
    )
    load_timm_weights(network, read_weights(path).state, where=str(path))
    kind = PRETRAINED if weights == PRETRAINED else "file"
    return network, {"name": name, "weights": kind, "weights_sha256": sha256(path)}
