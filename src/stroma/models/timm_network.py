"""Any network of timm, as classifier or as encoder, and where its weights are published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import timm
from timm.layers import GluMlp, Mlp, SwiGLU, SwiGLUPacked
from timm.models import PretrainedCfg
from torch import nn

from stroma.core.component import Component
from stroma.core.errors import ConfigError, InvalidData, UsageError, nearest
from stroma.models import hub
from stroma.models.weights_folder import weights_folder

HUB = "hf-hub:"
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Names of weight files on the Hugging Face Hub, the preferred one first."""


def timm_network(
    *,
    channels: int = 3,
    classes: int = 0,
    encoder: str = "resnet18",
    options: Mapping[str, Any] | None = None,
    weights_dir: Path | None = None,
) -> nn.Module:
    """A network of timm with random weights, (B, C, H, W) → logits (B, K), or vectors (B, D) for 0 classes.

    Args:
        channels: Channels of the image.
        classes: Number of classes.
        encoder: A name of timm (`vit_small_patch16_224`), or `hf-hub:owner/name` for a description on the Hub.
        options: Further parameters of the network, for example `{"dynamic_img_size": True}`; layers by their name.
        weights_dir: Where the description of a network on the Hub may lie; see `weights_folder`.

    Raises:
        ConfigError: timm has no such network, or it does not take these options.
        MissingFile: the description on the Hub cannot be fetched.
        InvalidData: the description on the Hub is none.
    """
    architecture, arguments = _describe(encoder, weights_folder(weights_dir))
    given = {**arguments, **_layers(options or {}), "num_classes": classes, "in_chans": channels}
    try:
        network: nn.Module = timm.create_model(architecture, pretrained=False, **given)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the encoder '{encoder}' cannot be made ({reason})") from error
    return network


def _layers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which the class of a layer stands for its name, `mlp_layer: SwiGLUPacked`."""
    named = options.get("mlp_layer")
    if not isinstance(named, str):
        return dict(options)
    known = {"Mlp": Mlp, "GluMlp": GluMlp, "SwiGLU": SwiGLU, "SwiGLUPacked": SwiGLUPacked}
    if named not in known:
        raise ConfigError(f"there is no mlp_layer '{named}'", next_step=nearest(named, known))
    return {**options, "mlp_layer": known[named]}


def without_hub(component: Component, folder: Path) -> Component:
    """A component that names a network on the Hub, as one that describes it itself, so that it can be built anywhere.

    Args:
        component: `{name: timm, encoder: hf-hub:owner/name}`; others are given back.
        folder: The weights folder.

    Raises:
        MissingFile, InvalidData: as in `timm_network`.
    """
    encoder = str(component.parameters.get("encoder", ""))
    if component.name != "timm" or not encoder.startswith(HUB):
        return component
    architecture, arguments = _describe(encoder, folder)
    options = {**arguments, **component.parameters.get("options", {})}
    options.pop("pretrained_cfg")
    return Component.model_validate({"name": "timm", "encoder": architecture, "options": options})


def is_timm(name: str) -> bool:
    """Whether timm has a network of this name, or it is one on the Hub."""
    return name.startswith(HUB) or timm.is_model(name.partition(".")[0])


def fetch_timm_weights(encoder: str, network: nn.Module, *, folder: Path, without: str) -> Path:
    """The file of the pretrained weights of a network, from this computer or downloaded.

    Args:
        encoder: As in `timm_network`.
        network: From `timm_network`.
        folder: The weights folder.
        without: What the user can do without the file, for the message.

    Raises:
        UsageError: no weights are published for this name.
        MissingFile: they cannot be fetched.
    """
    config: Any = getattr(network, "pretrained_cfg", {})
    repository = encoder.removeprefix(HUB) if encoder.startswith(HUB) else config.get("hf_hub_id")
    if not repository:
        tags = ", ".join(timm.list_pretrained(f"{encoder.partition('.')[0]}.*")) or "none"
        raise UsageError(
            f"timm offers no pretrained weights for '{encoder}' on the Hugging Face Hub",
            next_step=f"Known: {tags}. Or give a file with --weights FILE",
        )
    given = config.get("hf_hub_filename")
    names = [str(given)] if given else list(WEIGHT_NAMES)
    size = sum(4 * parameter.numel() for parameter in network.parameters())
    what = f"the pretrained weights of '{encoder}' ({' or '.join(names)}, about {size / 1e6:,.0f} MB)"
    return hub.fetch(str(repository), names, what=what, next_step=without, folder=folder)


def _describe(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Architecture with tag, and its arguments for timm."""
    scheme, colon, repository = name.partition(":")
    if not colon:
        architecture = name.partition(".")[0]
        if not timm.is_model(architecture):
            hint = nearest(architecture, ["colour-texture", *timm.list_models()])
            hint = hint if hint.startswith("Did") else "Give colour-texture, a timm network or hf-hub:owner/name"
            raise ConfigError(f"there is no encoder '{name}'", next_step=hint)
        return name, {}
    if scheme != "hf-hub":
        raise ConfigError(f"there is no encoder '{name}'", next_step=f"Did you mean 'hf-hub:{repository}'?")
    what = f"the description of the encoder '{name}' (config.json, about 1 kB)"
    path = hub.fetch(repository, ["config.json"], what=what, next_step="Connect to the network once", folder=folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        description = content.get("pretrained_cfg", content)
        known = {field.name for field in fields(PretrainedCfg)}
        config = {key: value for key, value in description.items() if key in known}
        return content["architecture"], {"pretrained_cfg": config, **content.get("model_args", {})}
    except (ValueError, KeyError, AttributeError) as error:
        raise InvalidData(f"describes no timm network ({error!r})", where=f"{repository} on the Hub") from error
