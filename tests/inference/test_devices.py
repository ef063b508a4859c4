"""A predictor gives the same on a GPU as on the CPU, in float32 and with memory errors explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import stroma.inference.predictor as predictors
from stroma.core.component import Component
from stroma.core.errors import StromaError
from stroma.images.array import ArrayImage
from stroma.inference.predictor import Member, Predictor
from stroma.runs.card import ModelCard
from stroma.sampling.preparation import Preparation
from stroma.study.labels import LabelMapping


class Doubling(nn.Module):
    """A dense network of two classes with a buffer, which has to move, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor([2.0, -2.0]).view(1, 2, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        result: torch.Tensor = image[:, :2] * self.factor
        return result


def predictor(device: str, network: nn.Module, **granularity: Any) -> Predictor:
    card = ModelCard(
        model=Component(name="unet"),
        channels=3,
        prepare=Preparation(),
        granularity=Component(**granularity),
        labels=LabelMapping.of(("one", "other")),
    )
    return Predictor([Member(network, card.prepare)] * 2, card, device=device, batch_size=3)


def test_windows_and_superpixels_of_an_image(device: str) -> None:
    image = ArrayImage(np.random.default_rng(0).random((70, 90, 3), dtype=np.float32))
    for granularity in ({"name": "patch", "size_px": 32}, {"name": "image"}):
        found = predictor(device, Doubling(), **granularity).predict_labels(image)
        np.testing.assert_array_equal(found, image.array[:, :, 0] < -image.array[:, :, 1])
    averaged = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    maps = [
        np.concatenate(
            [rows for _, rows in predictor(place, averaged, name="superpixel", segments=20).predict_strips(image)]
        )
        for place in ("cpu", device)
    ]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)


class Hungry(nn.Module):
    """Uses up the memory with more than one sample."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        if len(image) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return image[:, :2]


def test_too_large_a_batch_says_how_to_go_on() -> None:
    image = ArrayImage(np.zeros((64, 64, 3), np.float32))
    with pytest.raises(StromaError, match="cpu has too little memory for 3 samples at once. Use a smaller --batch"):
        predictor("cpu", Hungry(), name="patch", size_px=32).predict_labels(image)


def test_predictions_in_float32_take_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    full = predictors.full_float32
    monkeypatch.setattr(predictors, "full_float32", lambda place: (seen.append(str(place)), full(place))[1])
    image = ArrayImage(np.zeros((40, 40, 3), np.float32))
    predictor("cpu", Doubling(), name="patch", size_px=32).predict_labels(image)
    assert set(seen) == {"cpu"}
