"""Stains of batches: the same as those of the NumPy functions, picture by picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stroma.core.errors import InvalidData, UsageError
from stroma.slides.stain import REFERENCE_STAINS, Stains, normalise
from stroma.slides.stain_fit import fit_stains
from stroma.slides.stain_torch import fit_macenko_batch, fit_vahadane_batch, normalise_batch

TRUTH = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])
TRUTH /= np.linalg.norm(TRUTH, axis=1, keepdims=True)


def pictures(count: int = 3, height: int = 50, width: int = 70) -> NDArray[np.uint8]:
    """(B, H, W, 3) of haematoxylin and eosin, each picture darker than the one before, a fifth of it glass."""
    generator = np.random.default_rng(0)
    amounts = generator.gamma(1.5, 0.4, (count, height, width, 2)) * np.linspace(0.8, 1.6, count)[:, None, None, None]
    amounts[:, :, : width // 5] = 0
    noise = generator.normal(0, 2, (count, height, width, 3))
    return np.asarray(np.clip(np.rint(255 * np.exp(-amounts @ TRUTH) + noise), 0, 255), dtype=np.uint8)


def batch_of(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_macenko_of_a_batch_is_that_of_each_picture() -> None:
    images = pictures()
    for white in (255.0, 240):
        for found, image in zip(fit_macenko_batch(batch_of(images), white=white), images, strict=True):
            expected = fit_stains(image, white=white)
            np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-4)
            np.testing.assert_allclose(found.max_concentrations, expected.max_concentrations, atol=1e-4)
            assert found.white == white


@pytest.mark.parametrize("sparsity", [0.0, 0.1])
def test_vahadane_of_a_batch_is_that_of_each_picture(sparsity: float) -> None:
    """Pictures of different numbers of stained pixels are solved together."""
    images = pictures()
    images[0, :, :40] = 255
    for found, image in zip(fit_vahadane_batch(batch_of(images), sparsity=sparsity), images, strict=True):
        expected = fit_stains(image, "vahadane", sparsity=sparsity)
        np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-5)
        np.testing.assert_allclose(found.max_concentrations, expected.max_concentrations, atol=1e-4)
        assert found.non_negative


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_normalising_a_batch_is_normalising_each_picture(method: str) -> None:
    images = pictures()
    sources = [fit_stains(image, method) for image in images]  # type: ignore[arg-type]
    target = Stains(TRUTH, np.array([1.2, 1.6]), white=245.0)
    found = normalise_batch(batch_of(images), sources, target)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 3, 50, 70))
    for given, image, source in zip(found.permute(0, 2, 3, 1).numpy(), images, sources, strict=True):
        difference = np.abs(given.astype(int) - normalise(image, source, target))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_sources_of_both_methods_can_be_mixed_and_one_source_serves_all() -> None:
    images = pictures(2)
    sources = [fit_stains(images[0]), fit_stains(images[1], "vahadane")]
    found = normalise_batch(batch_of(images), sources).permute(0, 2, 3, 1).numpy()
    for i in range(2):
        assert np.abs(found[i].astype(int) - normalise(images[i], sources[i])).max() <= 1
    shared = normalise_batch(batch_of(images), sources[0]).permute(0, 2, 3, 1).numpy()
    assert np.abs(shared[1].astype(int) - normalise(images[1], sources[0])).max() <= 1


def test_memory_order_does_not_matter_and_the_input_is_not_changed() -> None:
    batch = batch_of(pictures())
    before = batch.clone()
    contiguous = normalise_batch(batch.contiguous(), REFERENCE_STAINS)
    assert torch.equal(normalise_batch(batch, REFERENCE_STAINS), contiguous)
    assert torch.equal(normalise_batch(batch[:, :, ::2], REFERENCE_STAINS), contiguous[:, :, ::2])
    assert torch.equal(batch, before)


def test_an_empty_batch_stays_empty() -> None:
    empty = torch.zeros((0, 3, 4, 4), dtype=torch.uint8)
    assert normalise_batch(empty, REFERENCE_STAINS).shape == (0, 3, 4, 4)
    assert fit_macenko_batch(empty) == []


def test_a_white_and_a_gray_picture_are_named() -> None:
    images = pictures()
    images[1] = 255
    with pytest.raises(InvalidData, match="picture 1 of the batch: 0 of 3,500 pixels are stained"):
        fit_macenko_batch(batch_of(images))
    images[1] = np.random.default_rng(0).integers(20, 200, (50, 70, 1))
    with pytest.raises(InvalidData, match="picture 1 of the batch: the tissue has one colour"):
        fit_macenko_batch(batch_of(images))


def test_vahadane_names_a_white_picture_too() -> None:
    images = pictures(2)
    images[1] = 255
    with pytest.raises(InvalidData, match="picture 1 of the batch"):
        fit_vahadane_batch(batch_of(images))


def test_what_is_no_batch_is_refused() -> None:
    batch = batch_of(pictures())
    for wrong in (batch[0], batch.float(), batch[:, :2]):
        with pytest.raises(UsageError, match="pictures"):
            normalise_batch(wrong, REFERENCE_STAINS)
        with pytest.raises(UsageError, match="pictures"):
            fit_macenko_batch(wrong)
    with pytest.raises(UsageError, match="2 stains do not belong to 3 pictures"):
        normalise_batch(batch, [REFERENCE_STAINS] * 2)
