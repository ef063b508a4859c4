"""Superpixels of many images at once, on the device that holds them. The steps are those of `stroma.regions.slic`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stroma.core.device import full_float32
from stroma.core.errors import InvalidData
from stroma.regions.components import join_small
from stroma.regions.superpixels import (
    COMPONENTS,
    Grid,
    SlicOptions,
    default_compactness,
)


def slic_batch(images: Tensor, options: SlicOptions | None = None) -> Tensor:
    """Divide images into connected superpixels; see `stroma.regions.slic`, from which it differs by rounding.

    Small areas are joined to their neighbours by the CPU, image by image.

    Args:
        images: (B, C, H, W) real numbers on any device; three channels are RGB and compared in L*a*b*. Values that
            are not finite count as 0.
        options: How many, how compact. Smoothing (`sigma_px`) is not done here.

    Returns:
        (B, H, W) int32 on the same device, each image numbered from 0.

    Raises:
        InvalidData: `images` has another shape or type, or `sigma_px` is wanted.
    """
    options = options or SlicOptions()
    if images.ndim != 4 or 0 in images.shape or images.is_complex() or images.dtype == torch.bool:
        raise InvalidData(
            f"superpixels need (images, channels, height, width) of numbers, not {tuple(images.shape)} {images.dtype}"
        )
    if options.sigma_px > 0:
        raise InvalidData("smoothing is not done on a batch", next_step="Use stroma.regions.slic, image by image")
    height, width = images.shape[2:]
    grid = Grid.of(height, width, options.segments)
    result = torch.zeros((len(images), height, width), dtype=torch.int32)
    at_once = 1 if images.device.type == "cpu" else 8  # bounds the memory to a few copies of so many images
    for start in range(0, len(images) if grid.count > 1 else 0, at_once):
        part = slice(start, start + at_once)
        with torch.no_grad(), full_float32(images.device):  # distances are small differences of large products
            labels = _cluster(images[part], grid, options).cpu().numpy()
        for index, one in enumerate(labels, start):
            result[index] = torch.from_numpy(join_small(one, minimum_px=max(1, height * width // (2 * grid.count))))
    return result.to(images.device)


def _cluster(images: Tensor, grid: Grid, options: SlicOptions) -> Tensor:
    """Number of the nearest centre of each pixel, (B, H, W) int64."""
    batch, channels, height, width = images.shape
    features, span = _colour_features(images)
    compactness = span * (options.compactness or default_compactness(channels))  # (B,)
    reduced = _principal(features) if channels > COMPONENTS + 2 else features
    position = _position(grid).to(images.device)
    spaced = torch.cat([reduced / compactness[:, None, None], position.expand(batch, -1, -1)], dim=2)
    rows = ((torch.arange(grid.rows) + 0.5) * height / grid.rows).long()
    columns = ((torch.arange(grid.columns) + 0.5) * width / grid.columns).long()
    centres = spaced[:, (rows[:, None] * width + columns).flatten().to(images.device)]
    exact = channels > COMPONENTS + 2
    on_half, on_all = grid.steps()
    if on_half:
        coarse = _Cells(grid, 2, images.device)
        values = coarse.gathered(spaced)
        for _ in range(on_half):
            centres = coarse.means(values, coarse.nearest(values, centres), centres)
    fine = _Cells(grid, 1, images.device)
    values = fine.gathered(spaced)
    for _ in range(on_all):
        centres = fine.means(values, fine.nearest(values, centres), centres)
    chosen = fine.nearest(values, centres)
    if exact:  # one step with all channels
        values = fine.gathered(torch.cat([features / compactness[:, None, None], position.expand(batch, -1, -1)], 2))
        centres = fine.means(values, chosen, values.new_zeros(batch, grid.count, values.shape[3] - 1))
        chosen = fine.nearest(values, centres)
    return fine.labels(chosen, height, width)


def _colour_features(images: Tensor) -> tuple[Tensor, Tensor]:
    """Channels as SLIC compares them, (B, H·W, C) float32, and the difference that counts as 1, (B,)."""
    values = torch.nan_to_num(images.float(), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.amin(dim=(1, 2, 3)), values.amax(dim=(1, 2, 3))
    span = torch.where(high > low, high - low, torch.ones_like(low))
    each = (slice(None), None, None, None)
    if images.shape[1] == 3:
        from kornia.color import rgb_to_lab

        values, span = rgb_to_lab((values - low[each]) / span[each]), torch.ones_like(span)
    else:  # products of large numbers would swallow small differences
        values = values - torch.where(low.abs() > span, low, torch.zeros_like(low))[each]
    return values.flatten(2).transpose(1, 2).contiguous(), span


def _principal(features: Tensor) -> Tensor:
    """The first principal components of the channels, (B, H·W, 8)."""
    sample = features[:, :: max(1, features.shape[1] // 8_192)]
    mean = sample.mean(dim=1, keepdim=True)
    covariance = (sample - mean).transpose(1, 2) @ (sample - mean)
    _, vectors = torch.linalg.eigh(covariance.cpu())  # not every device has it
    chosen = vectors.flip(2)[:, :, :COMPONENTS].to(features.device)
    projected: Tensor = features @ chosen - mean @ chosen
    return projected


def _position(grid: Grid) -> Tensor:
    """(H·W, 2) row and column in sides of a superpixel."""
    rows, columns = torch.arange(grid.height) / grid.side_px, torch.arange(grid.width) / grid.side_px
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2).flatten(0, 1)


class _Cells:
    """Pixels gathered by cell, so that their distances to nine centres are one batched matrix product."""

    def __init__(self, grid: Grid, step: int, device: torch.device) -> None:
        neighbours = grid.neighbours()
        self.pixels = torch.from_numpy(grid.pixels(step)).to(device)
        self.neighbours = torch.from_numpy(neighbours).to(device)
        # each centre is looked at by nine (cell, neighbour) pairs: gathering them needs no atomic sums
        looking = np.argsort(neighbours.ravel(), kind="stable").reshape(grid.count, len(neighbours[0]))
        self.looking = torch.from_numpy(looking).to(device)

    def gathered(self, spaced: Tensor) -> Tensor:
        """(B, cells, P, F + 1) pixels by cell with a column of ones; all 0 where a cell has no pixel."""
        values = spaced[:, self.pixels.clamp(min=0)]
        values = torch.cat([values, torch.ones_like(values[..., :1])], dim=3)
        return values.masked_fill_((self.pixels < 0)[None, :, :, None], 0.0)

    def nearest(self, values: Tensor, centres: Tensor) -> Tensor:
        """(B, cells, P) which of the nine centres is nearest."""
        around = centres[:, self.neighbours]
        weights = torch.cat([-2 * around, (around**2).sum(dim=3, keepdim=True)], dim=3)
        return (values @ weights.transpose(2, 3)).argmin(dim=3)

    def means(self, values: Tensor, chosen: Tensor, centres: Tensor) -> Tensor:
        """Centres at the mean of their pixels, (B, cells, F); one without pixels stays."""
        nine = torch.arange(9, device=chosen.device)
        members = (chosen[:, :, None, :] == nine[None, None, :, None]).to(values.dtype)
        total = (members @ values).flatten(1, 2)[:, self.looking].sum(dim=2)
        count = total[..., -1:]
        return torch.where(count > 0, total[..., :-1] / count.clamp(min=1), centres)

    def labels(self, chosen: Tensor, height: int, width: int) -> Tensor:
        """(B, H, W) number of the centre of each pixel."""
        number = self.neighbours.expand(len(chosen), -1, -1).gather(2, chosen)
        inside = self.pixels >= 0
        result = torch.empty((len(chosen), height * width), dtype=torch.int64, device=chosen.device)
        result[:, self.pixels[inside]] = number[:, inside]
        return result.reshape(len(chosen), height, width)
