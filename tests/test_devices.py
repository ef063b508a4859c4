"""What runs on the CPU runs on a GPU, with the same numbers up to rounding.

Needs little but torch, so that it runs on machines that have no more (`benchmarks/on_gpu.sh`).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from stroma.augment import registry as augmentations  # noqa: E402
from stroma.core.errors import StromaError  # noqa: E402
from stroma.losses.dice import DiceCrossEntropy  # noqa: E402
from stroma.models.encoders import NetworkEncoder  # noqa: E402
from stroma.models.precision import at_precision  # noqa: E402
from stroma.regions import SlicOptions, slic_batch  # noqa: E402
from stroma.slides.stain import REFERENCE_STAINS  # noqa: E402
from stroma.slides.stain_torch import fit_macenko_batch, fit_vahadane_batch, normalise_batch  # noqa: E402
from tests.models.test_every_model import SMALL, build  # noqa: E402
from tests.slides.test_stain_torch import batch_of, pictures  # noqa: E402


def test_the_pretended_device_is_as_strict_as_a_real_one(device: str) -> None:
    there = torch.ones(3, device=device)
    assert there.sum().item() == 3
    with pytest.raises(RuntimeError, match="device"):
        there + torch.ones(3)
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()


@pytest.mark.parametrize("channels", [3, 12])
def test_superpixels(device: str, channels: int) -> None:
    """More images than a GPU takes at once. The scenes are plain, so that rounding moves few borders."""
    options = SlicOptions(50, 10.0 if channels == 3 else 0.1)
    torch.manual_seed(0)
    areas = torch.rand(9, channels, 2, 2).repeat_interleave(24, 2).repeat_interleave(32, 3)
    images = areas + 0.01 * torch.randn_like(areas)
    expected, found = slic_batch(images, options), slic_batch(images.to(device), options)
    assert found.device.type == device
    apart = [one[0].flatten()[::5] for one in (expected, found.cpu())]
    together = [one[:, None] == one[None] for one in apart]
    assert (together[0] == together[1]).float().mean() > 0.995


@pytest.mark.parametrize("fit", [fit_macenko_batch, fit_vahadane_batch])
def test_stains(device: str, fit: Any) -> None:
    images = batch_of(pictures())
    expected, found = fit(images), fit(images.to(device))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-4)
        np.testing.assert_allclose(one.max_concentrations, other.max_concentrations, atol=1e-3)
    many = images.repeat(30, 1, 1, 1)
    restained = normalise_batch(many.to(device), list(expected) * 30, REFERENCE_STAINS)
    assert restained.device.type == device
    difference = restained.cpu().int() - normalise_batch(many, list(expected) * 30, REFERENCE_STAINS).int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 1e-3


@pytest.mark.parametrize("name", augmentations.names())
def test_augmentations_stay_on_the_device(device: str, name: str) -> None:
    """Random numbers differ between devices, so only places, types and sizes are the same."""
    batch = {
        "image": torch.rand(2, 5, 16, 20),
        "labels": torch.randint(0, 3, (2, 16, 20)),
        "valid": torch.rand(2, 16, 20) > 0.5,
    }
    found = augmentations.get(name)()({key: value.to(device) for key, value in batch.items()})
    for key, value in batch.items():
        assert (found[key].device.type, found[key].dtype, found[key].shape) == (device, value.dtype, value.shape)


def test_the_loss_of_a_batch(device: str) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 9, 9), torch.randint(0, 4, (2, 9, 9))
    loss = DiceCrossEntropy(label_smoothing=0.1)
    for valid in (labels != 1, torch.zeros_like(labels, dtype=torch.bool)):
        found = loss(logits.to(device), labels.to(device), valid.to(device))
        torch.testing.assert_close(found.cpu(), loss(logits, labels, valid))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_every_network(device: str, name: str, precision: str) -> None:
    network = at_precision(build(name), precision)
    image = torch.rand(2, 40, 33, 40)
    inputs = {"table": (image[:, :, 0, 0],), "image_table": (image, torch.rand(2, 6))}.get(name, (image,))
    with torch.no_grad():
        expected = network(*inputs)
        found = copy.deepcopy(network).to(device)(*(x.to(device) for x in inputs))
    assert found.device.type == device
    difference = float((found.cpu() - expected).norm() / expected.norm())
    assert difference < (1e-4 if precision == "float32" else 0.03)


DATA = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.2, 0.2, 0.2),
    "interpolation": "bicubic",
    "input_size": (3, 32, 32),
    "fixed": False,
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_encoders(device: str, precision: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    tiles = list(np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8))
    found, expected = (
        NetworkEncoder("tiny", network, {}, DATA, input_px=24, device=place, precision=precision)(tiles)
        for place in (device, "cpu")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3 if precision == "float32" else 0.05, atol=1e-3)


class Hungry(nn.Module):
    """Uses up the memory with more than one sample."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """One vector a sample."""
        if len(image) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return image[:, :2]


def test_too_large_a_batch_says_how_to_go_on() -> None:
    encoder = NetworkEncoder("tiny", nn.Sequential(Hungry(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), {}, DATA)
    with pytest.raises(StromaError, match="cpu has too little memory for 2 tiles at once with 'tiny'"):
        encoder([np.zeros((32, 32, 3), np.uint8)] * 2)
