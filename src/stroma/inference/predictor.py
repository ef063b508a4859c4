"""`Predictor`: one or many trained weights applied to Images, strip by strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.device import resolve_device, resolve_precision
from stroma.core.errors import InvalidData, UsageError
from stroma.images.image import Image
from stroma.runs.card import ModelCard
from stroma.runs.run import Run
from stroma.runs.weights import load_network
from stroma.sampling import registry as granularities
from stroma.sampling.granularity import Granularity, read_samples
from stroma.sampling.preparation import Preparation

T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """A network in eval mode on its device, and how its input is prepared."""

    network: nn.Module
    preparation: Preparation


class Predictor:
    """Applies an ensemble: the mean of its members' class probabilities.

    Args:
        members: The networks.
        card: What they have in common: labels, channels, granularity.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto` (float32), `float32` or `bfloat16`.
        batch_size: Samples per forward pass.
    """

    def __init__(
        self,
        members: Sequence[Member],
        card: ModelCard,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 8,
    ) -> None:
        if not members:
            raise UsageError("a predictor needs at least one trained network")
        self.device = torch.device(resolve_device(device))
        self.precision = resolve_precision(precision, self.device.type, exact=True)
        self.members = [Member(_placed(m.network, self.device), m.preparation) for m in members]
        self.card, self.batch_size = card, batch_size
        self.granularity: Granularity = card.granularity.make(granularities)

    @classmethod
    def from_run(cls, run: Run, folds: Sequence[str] = (), **options: object) -> Predictor:
        """Load folds of a run (default: all) as an ensemble.

        Raises:
            UsageError: a fold is unknown, or none is trained.
            InvalidData: the folds have different labels or channels.
        """
        names = list(folds) or run.folds
        if not names:
            raise UsageError(
                "has no trained fold", where=run.folder, next_step="Finish its training: stroma train CONFIG -o RUN"
            )
        cards = [run.card(name) for name in names]
        for name, card in zip(names, cards, strict=True):
            if (card.labels, card.channels, card.granularity) != (
                cards[0].labels,
                cards[0].channels,
                cards[0].granularity,
            ):
                raise InvalidData(f"fold '{name}' has other labels, channels or samples than '{names[0]}'")
        loaded = [load_network(run.fold_folder(name)) for name in names]
        members = [Member(network, card.prepare) for network, card in loaded]
        return cls(members, cards[0], **options)  # type: ignore[arg-type]

    def predict_strips(self, image: Image, image_id: str = "") -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Predict an image from top to bottom.

        Args:
            image: The image; checked against the model card.
            image_id: For the addresses.

        Yields:
            `(y, probabilities)`, probabilities (rows, W, K) float32 summing to 1 over the classes. Memory is that
            of a row of windows, not of the image (granularity `image`: of the image).
        """
        self.card.check_image(image)
        addresses = self.granularity.list(image, image_id)
        height, width, _ = image.shape
        samples = read_samples(image, addresses)
        outputs = (
            output for batch in chunks(samples, self.batch_size) for output in self._forward(batch, image.prepared)
        )
        return self.granularity.stitch(addresses, outputs, width, height)

    def predict_labels(self, image: Image, image_id: str = "") -> NDArray[np.uint8]:
        """Predict an image as (H, W) uint8 class indices: the most probable class of each pixel."""
        labels = np.empty(image.shape[:2], dtype=np.uint8)
        for y, probabilities in self.predict_strips(image, image_id):
            labels[y : y + len(probabilities)] = probabilities.argmax(axis=2)
        return labels

    @torch.inference_mode()
    def _forward(self, samples: list[NDArray[np.generic]], done: tuple[Component, ...]) -> NDArray[np.float32]:
        """Mean class probabilities (B, h, w, K) of samples of one size whose pixels went through the steps `done`."""
        total: torch.Tensor | None = None
        prepared: tuple[Preparation, torch.Tensor] | None = None
        for member in self.members:
            if prepared is None or prepared[0] != member.preparation:
                left = member.preparation.after(done)
                batch = np.stack([left.apply(sample) for sample in samples])
                prepared = member.preparation, torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
            with (
                stage("forward"),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                probabilities = member.network(prepared[1]).float().softmax(dim=1)
            total = probabilities if total is None else total + probabilities
        if total is None:
            raise UsageError("a predictor needs at least one trained network")
        mean = (total / len(self.members)).permute(0, 2, 3, 1)
        result: NDArray[np.float32] = mean.cpu().numpy()
        return result


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items in order."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
