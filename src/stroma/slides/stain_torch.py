"""Stains of many pictures at once, on the device that holds them. Values are those of `stroma.slides.stain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stroma.core.device import full_float32
from stroma.core.errors import InvalidData, UsageError
from stroma.slides.stain import REFERENCE_STAINS, Stains, optical_density
from stroma.slides.stain_fit import (
    CONVERGED,
    ITERATIONS,
    MAX_PIXELS,
    TOP_QUANTILE,
    check_two_colours,
    haematoxylin_first,
    plane_of,
    stains_of,
    vectors_at,
)

_AT_ONCE = 64
"""Pictures that a GPU restains at once: enough to fill it, and a bound on its memory (12 MB each of 512 × 512)."""


def normalise_batch(images: Tensor, sources: Stains | Sequence[Stains], target: Stains = REFERENCE_STAINS) -> Tensor:
    """Give pictures the stains of another; see `stroma.slides.stain.normalise`, from which it differs by rounding.

    Args:
        images: (B, 3, H, W) uint8 on any device.
        sources: Stains of all pictures, for example of the slide they are tiles of, or of each.
        target: Stains to give them.

    Returns:
        (B, 3, H, W) uint8 on the same device.

    Raises:
        UsageError: `images` has another shape or type, or there are not as many sources.
    """
    _check(images)
    each = [sources] * len(images) if isinstance(sources, Stains) else list(sources)
    if len(each) != len(images):
        raise UsageError(f"{len(each)} stains do not belong to {len(images)} pictures")
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    size = 1 if images.device.type == "cpu" else _AT_ONCE  # a picture fits into the cache of a CPU
    with full_float32(images.device):
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            result[part] = _restain(images[part], each[part], target)
    return result


def fit_macenko_batch(
    images: Tensor, *, min_density: float = 0.15, percentile: float = 1.0, white: float = 255.0
) -> list[Stains]:
    """The stains of each picture after Macenko et al. 2009; see `stroma.slides.stain_fit.fit_stains`.

    Args:
        images: (B, 3, H, W) uint8 on any device.
        min_density: Smallest optical density of a pixel that counts, in every channel.
        percentile: Of the angles, below and above which they are outliers.
        white: Value of a pixel without any stain.

    Raises:
        InvalidData: a picture, whose number is given, shows less than two stains.
        UsageError: `images` has another shape or type.
    """
    _check(images)
    stains = []
    for index, picture in enumerate(images):
        with _named(index), full_float32(images.device):
            stains.append(_fit(_density(picture.flatten(1), white), min_density, percentile, white))
    return stains


def fit_vahadane_batch(
    images: Tensor, *, min_density: float = 0.15, sparsity: float = 0.1, white: float = 255.0
) -> list[Stains]:
    """The stains of each picture after Vahadane et al. 2016; see `stroma.slides.stain_fit.fit_stains`.

    All pictures are solved together, in float64 where the device has it.

    Args:
        images: (B, 3, H, W) uint8 on any device.
        min_density: Smallest optical density of a pixel that counts, in every channel.
        sparsity: Penalty on concentrations.
        white: Value of a pixel without any stain.

    Raises:
        InvalidData: a picture, whose number is given, shows less than two stains.
        UsageError: `images` has another shape or type.
    """
    _check(images)
    real = torch.float32 if images.device.type == "mps" else torch.float64
    samples, stains = [], []
    with full_float32(images.device):
        densities = _density(images.flatten(2), white).transpose(1, 2)
        for index, density in enumerate(densities):
            stained = density[(density >= min_density).all(dim=1)].to(real)
            with _named(index):
                check_two_colours(_array(stained.T @ stained), len(stained), len(density))
            samples.append(stained[:: -(-len(stained) // MAX_PIXELS)])
        matrices = _vahadane(torch.nn.utils.rnn.pad_sequence(samples, batch_first=True), sparsity)
        for index, density in enumerate(densities):
            with _named(index):
                matrix = haematoxylin_first(matrices[index])
                amounts = _unmix(density.T[None], [Stains(matrix, np.ones(2), white, non_negative=True)])[0]
                largest = np.array([_upper_quantile(row, TOP_QUANTILE) for row in amounts])
                stains.append(stains_of(matrix, largest, white, non_negative=True))
    return stains


@contextmanager
def _named(index: int) -> Iterator[None]:
    try:
        yield
    except InvalidData as error:
        raise InvalidData(error.what, where=f"picture {index} of the batch", next_step=error.next_step) from error


def _vahadane(samples: Tensor, sparsity: float) -> NDArray[np.float64]:
    """(B, 2, 3) stains of densities (B, N, 3), which are filled up with zeros: these have no concentrations."""
    start = REFERENCE_STAINS.matrix / np.linalg.norm(REFERENCE_STAINS.matrix, axis=1, keepdims=True)
    stains = torch.tensor(start, dtype=samples.dtype, device=samples.device).expand(len(samples), 2, 3).clone()
    moving = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
    for _ in range(ITERATIONS):
        before = stains.clone()
        wanted = samples @ stains.transpose(1, 2) - sparsity
        cosine = (stains[:, 0] * stains[:, 1]).sum(dim=1)[:, None, None]
        both = (wanted - cosine * wanted.flip(2)) / (1 - cosine**2).clamp(min=1e-12)
        alone = torch.where(wanted >= wanted.flip(2), wanted.clamp(min=0), 0)
        amounts = torch.where(both.amin(dim=2, keepdim=True) >= 0, both, alone)
        weights, sums = amounts.transpose(1, 2) @ amounts, amounts.transpose(1, 2) @ samples
        for j in range(2):
            rest = (weights[:, j : j + 1] @ stains)[:, 0]
            step = (sums[:, j] - rest) / weights[:, j, j, None].clamp(min=1e-12)
            stains[:, j] = torch.nn.functional.normalize((stains[:, j] + step).clamp(min=0), dim=1, eps=1e-12)
        stains = torch.where(moving[:, None, None], stains, before)
        moving &= (stains - before).abs().amax(dim=(1, 2)) >= CONVERGED
        if not bool(moving.any()):
            break
    return _array(stains)


def _restain(images: Tensor, sources: list[Stains], target: Stains) -> Tensor:
    factors = np.stack([target.max_concentrations / source.max_concentrations for source in sources])
    exponents = _tensor(-np.swapaxes(factors[:, :, None] * target.matrix, 1, 2), images)
    white = _tensor(np.array([source.white for source in sources]), images)
    light = torch.bmm(exponents, _unmix(_density(images.flatten(2), white[:, None, None]), sources)).exp_()
    return light.mul_(target.white).round_().clamp_(max=255).to(torch.uint8).view(images.shape)


def _unmix(density: Tensor, sources: list[Stains]) -> Tensor:
    """Concentrations (B, 2, N) of densities (B, 3, N); see `stroma.slides.stain.unmix`."""
    free = torch.bmm(_tensor(np.stack([np.linalg.pinv(s.matrix).T for s in sources]), density), density)
    bounded = torch.tensor([source.non_negative for source in sources], device=density.device)[:, None, None]
    if not any(source.non_negative for source in sources):
        return free
    wanted = torch.bmm(_tensor(np.stack([source.matrix for source in sources]), density), density)
    alone = torch.where(wanted >= wanted.flip(1), wanted.clamp(min=0), 0)
    return torch.where(bounded & (free.amin(1, keepdim=True) < 0), alone, free)


def _density(values: Tensor, white: Tensor | float) -> Tensor:
    """As `optical_density`, looked up since logarithms cost more."""
    table = torch.from_numpy(optical_density(np.arange(256, dtype=np.uint8), white=1.0)).to(values.device)
    density = table.index_select(0, values.reshape(-1).int()).view(values.shape)
    return density.add_(white.log() if isinstance(white, Tensor) else float(np.log(white)))


def _fit(density: Tensor, min_density: float, percentile: float, white: float) -> Stains:
    """The stains of one picture from its densities (3, N)."""
    stained = density[:, (density >= min_density).all(dim=0)]
    count = stained.shape[1]
    second = _array(stained @ stained.T)
    check_two_colours(second, count, density.shape[1])
    mean = _array(stained.mean(dim=1))
    centred = stained - stained.mean(dim=1, keepdim=True)
    plane = plane_of(_array(centred @ centred.T) / (count - 1), mean)
    along, across = _tensor(plane.T, density) @ stained
    angles = torch.atan2(across, along)
    ends = np.array([-_upper_quantile(-angles, 1 - percentile / 100), _upper_quantile(angles, 1 - percentile / 100)])
    matrix = haematoxylin_first(vectors_at(ends, plane))
    amounts = _tensor(np.asarray(np.linalg.pinv(matrix), dtype=np.float64).T, density) @ density
    return stains_of(matrix, np.array([_upper_quantile(row, TOP_QUANTILE) for row in amounts]), white)


def _upper_quantile(values: Tensor, quantile: float) -> float:
    """As NumPy interpolates it, from the values above only: they are few."""
    position = quantile * (len(values) - 1)
    lower = int(position)
    top = torch.topk(values, len(values) - lower, sorted=False).values
    nearest = torch.topk(top, min(2, len(top)), largest=False).values.tolist()
    return float(nearest[0] + (position - lower) * (nearest[-1] - nearest[0]))


def _tensor(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(like.device)


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.cpu().numpy().astype(np.float64)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise UsageError(
            f"stains are those of (B, 3, H, W) uint8 pictures, not of {tuple(images.shape)} {images.dtype}"
        )
