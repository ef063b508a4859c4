"""Training further from weights: blocks, freezing, learning rates that fall towards the input, new heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from stroma.core.errors import UsageError
from stroma.models.heads import head_names, last_layer

_STEM = re.compile(r"^(.*\.)?(cls_token|reg_token|pos_embed|patch_embed)(\.|$)")
_NUMBERED = re.compile(r"^(.*?\.\d+)(?=\.|$)")
_CALLED = re.compile(r"^((?:.*\.)?[a-z]+\d+)(?:_norm)?\.")


def parameter_layers(model: nn.Module) -> dict[str, int]:
    """Name of every parameter → its layer, 0 for the stem, then one for each block, the last for norms and heads.

    A block is everything below the first number in a parameter's name (`blocks.3`, `encoder.layer2.0`), in the order
    in which the network holds them; in networks without such numbers a layer with its normalisation (`conv1`, `fc2`).
    Heads, and what follows the last block, are the last layer.

    Args:
        model: Any network.
    """
    names = [name for name, _ in model.named_parameters()]
    heads = tuple(f"{head}." for head in head_names(model))
    inner = [name for name in names if not _STEM.match(name) and not (heads and name.startswith(heads))]
    blocks = _blocks(inner, _NUMBERED) or _blocks(inner, _CALLED)
    order = list(dict.fromkeys(blocks.values()))
    last_block = max((i for i, name in enumerate(names) if name in blocks), default=-1)
    layers, current = {}, 0
    for position, name in enumerate(names):
        if name.startswith(heads) and heads:
            layers[name] = len(order) + 1
        elif name in blocks:
            current = order.index(blocks[name]) + 1
            layers[name] = current
        elif _STEM.match(name):
            layers[name] = 0
        else:
            layers[name] = len(order) + 1 if position > last_block else current
    return layers


def _blocks(names: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Name of a parameter → its block, where the pattern finds one."""
    return {name: match.group(1) for name in names if (match := pattern.match(name))}


def freeze_blocks(model: nn.Module, trainable: int = 0, *, last_mlp: bool = True) -> list[str]:
    """Freeze all but the last blocks and the head.

    Frozen modules also keep their statistics and drop nothing while the rest trains, which `requires_grad` alone does
    not do.

    Args:
        model: Any network; what was frozen before is thawed first.
        trainable: Number of blocks, from the end, that stay trainable.
        last_mlp: Keep the `mlp` of the last block trainable, where it has one, even with `trainable` 0, as
            HistoEncoder does.

    Returns:
        Names of the parameters that stay trainable.
    """
    layers = parameter_layers(model)
    heads = tuple(f"{head}." for head in head_names(model))
    count = max(layers.values(), default=0) - 1
    first = count - trainable + 1
    kept = []
    for name, parameter in model.named_parameters():
        is_head = bool(heads) and name.startswith(heads)
        in_mlp = last_mlp and layers[name] == count and ".mlp." in name
        everything = trainable >= count
        parameter.requires_grad_(is_head or in_mlp or everything or first <= layers[name] <= count)
        if parameter.requires_grad:
            kept.append(name)
    for module in model.modules():
        _hold(module, frozen=False)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            for inner in module.modules():
                _hold(inner, frozen=True)
    return kept


def _hold(module: nn.Module, *, frozen: bool) -> None:
    hooks = module._forward_pre_hooks
    for key in [key for key, hook in hooks.items() if hook is _stay_in_eval]:
        del hooks[key]
    if frozen:
        module.register_forward_pre_hook(_stay_in_eval)


def _stay_in_eval(module: nn.Module, _: Any) -> None:
    module.training = False


def parameter_groups(
    model: nn.Module, *, lr: float = 1e-3, weight_decay: float = 0.05, lr_decay: float = 0.75
) -> list[dict[str, Any]]:
    """Groups for an optimizer, with a learning rate that falls from the head to the stem.

    Layer i of N has the rate lr · lr_decay^(N - i) (Clark et al., ELECTRA, 2020; as in HistoEncoder). Vectors and the
    class token are not decayed.

    Args:
        model: Any network; only parameters that require gradients are in the groups.
        lr: Rate of the last layer.
        weight_decay: Of the decayed groups.
        lr_decay: Factor from one layer to the one before, over 0 and up to 1; 1 puts all into layer 0.

    Returns:
        Groups with `params`, `lr`, `lr_scale`, `weight_decay` and `name` (`params_3_no_decay`), by layer.

    Raises:
        UsageError: `lr_decay` is out of its range.
    """
    if not 0 < lr_decay <= 1:
        raise UsageError(f"lr_decay is {lr_decay}", next_step="Give a factor over 0 and up to 1")
    layers = parameter_layers(model)
    last = max(layers.values(), default=0)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = 0 if lr_decay == 1 else layers[name]
        decayed = parameter.ndim > 1 and name.rpartition(".")[2] != "cls_token"
        key = f"params_{layer}_{'decay' if decayed else 'no_decay'}"
        scale = lr_decay ** (last - layer)
        group = groups.setdefault(
            key,
            {
                "name": key,
                "params": [],
                "lr": lr * scale,
                "lr_scale": scale,
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of the last layer; every group keeps its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def set_weight_decay(optimizer: torch.optim.Optimizer, weight_decay: float) -> None:
    """Set the weight decay of the groups that have one."""
    for group in optimizer.param_groups:
        if "no_decay" not in group.get("name", ""):
            group["weight_decay"] = weight_decay


def replace_head(model: nn.Module, classes: int) -> nn.Module:
    """Give a network a new head with random weights, in place.

    Args:
        model: A network of `stroma.models` or timm.
        classes: Number of classes.

    Returns:
        `model`.

    Raises:
        UsageError: the network has no head that could be replaced.
    """
    reset: Any = getattr(model, "reset_classifier", None)
    if reset is not None:
        reset(classes)
        return model
    names = head_names(model)
    if not names:
        raise UsageError(f"{type(model).__name__} does not tell which of its layers is the head")
    for head in names:
        name, layer = last_layer(model, head)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, _like(layer, classes))
    if hasattr(model, "head") and isinstance(model.head, str):
        model.head = names[0]  # type: ignore[assignment]
    return model


def _like(layer: nn.Linear | nn.Conv2d, classes: int) -> nn.Module:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, classes, bias=bias)
    size: Mapping[str, Any] = {"kernel_size": layer.kernel_size, "padding": layer.padding}
    return nn.Conv2d(layer.in_channels, classes, bias=bias, **size)
