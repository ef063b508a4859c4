"""Several networks as one: the mean of their probabilities, given as logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from stroma.core.errors import UsageError


class Ensemble(nn.Module):
    """Averages the probabilities of its members.

    The result is again logits: softmax (or sigmoid) of it is the mean of the members' softmax (or sigmoid), so an
    ensemble can stand wherever a single network stands.

    Args:
        members: The networks, which take the same input and give logits of the same classes in dimension 1.
        activation: What turns their logits into probabilities.
    """

    def __init__(self, members: Sequence[nn.Module], activation: Literal["softmax", "sigmoid", "none"]) -> None:
        super().__init__()
        if activation == "none":
            raise UsageError(
                f"{len(members)} networks that give feature vectors cannot be averaged",
                next_step="Load one of them: name its file",
            )
        self.members = nn.ModuleList(members)
        self.activation = activation

    def forward(self, image: Tensor, table: Tensor | None = None) -> Tensor:
        """Logits of the mean probabilities, of the shape of one member's logits."""
        inputs = (image,) if table is None else (image, table)
        logits = torch.stack([member(*inputs) for member in self.members])
        shift = math.log(len(self.members))
        if self.activation == "softmax":
            return logits.log_softmax(dim=2).logsumexp(dim=0) - shift
        present, absent = (functional.logsigmoid(sign * logits).logsumexp(dim=0) for sign in (1, -1))
        return present - absent
