"""Weights for networks of timm, in the layouts that timm itself can read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from stroma.models.heads import head_names
from stroma.models.keys import KeyReport, load_state, translate
from stroma.models.weights_file import StateDict


def load_timm_weights(
    network: nn.Module, state: Mapping[str, Tensor], *, where: str, new_head: bool = False
) -> KeyReport:
    """Load a file's tensors into a network of timm; a classifier that the network does not have is left out.

    Keys of another layout that timm can translate for this architecture (original releases, other sizes of the
    position embedding) are translated by timm's `checkpoint_filter_fn`.

    Args:
        network: The network.
        state: Of the file.
        where: The file, for messages.
        new_head: Leave the network's classifier as it is.

    Raises:
        InvalidData: keys are left over or missing, or a shape differs; the message lists them.
    """
    layers = head_names(network)
    wanted = network.state_dict()
    without_head = not any(key.startswith(tuple(f"{layer}." for layer in layers)) for key in wanted)
    kept = translate(state, wanted)
    if not _fits(kept, wanted, layers):
        other = _by_timm(network, dict(kept))
        if _fits(other, wanted, layers):
            kept = other
    return load_state(network, kept, where=where, heads=layers, new_head=new_head or without_head)


def _fits(state: StateDict, wanted: StateDict, layers: tuple[str, ...]) -> bool:
    head = tuple(f"{layer}." for layer in layers)
    shapes = [
        {key: value.shape for key, value in table.items() if not key.startswith(head) and "num_batches" not in key}
        for table in (state, wanted)
    ]
    return shapes[0] == shapes[1]


def _by_timm(network: nn.Module, state: StateDict) -> StateDict:
    function: Any = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if function is None:
        return state
    try:
        translated: StateDict = function(state, network)
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError):
        return state
    return translated
