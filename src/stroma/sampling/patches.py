"""The torch dataset of training patches: what sample i of epoch e is depends on the seed alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from stroma.core.clock import stage
from stroma.core.errors import InvalidData
from stroma.images.image import Image
from stroma.images.store import StoreImage
from stroma.sampling.preparation import Preparation
from stroma.sampling.source import open_input
from stroma.sampling.stores import Stores
from stroma.study.labels import IGNORE
from stroma.study.study import Study

_MASKS_HELD = 64


Batch = dict[str, torch.Tensor]


class TrainingPatches(Dataset[Batch]):
    """Random patches with their labels.

    Sample `i` of epoch `e` is a function of (seed, e, i): the same in any number of workers, and after a
    resume. Masks are held for the last 64 images; pixels are read by region.

    Args:
        study: The study; opened again in each worker.
        image_ids: The training images.
        annotator: Whose annotation is learned.
        modality: `image` or `rgb`.
        preparation: The complete preparation.
        size_px: Side of a patch; None takes whole images.
        samples: Samples per epoch.
        balance: `images`: uniform position in a random image; `labels`: centred near a pixel of a label drawn
            uniformly among those of a random image.
        seed: The run's seed.
        stores: Prepared stores to read from instead of the images.
    """

    def __init__(
        self,
        study: Study,
        image_ids: Sequence[str],
        *,
        annotator: str | None,
        modality: str,
        preparation: Preparation,
        size_px: int | None,
        samples: int,
        balance: str,
        seed: int,
        stores: Stores | None = None,
    ) -> None:
        if not image_ids:
            raise InvalidData("there is no image to train on", where=study.path)
        self.study, self.annotator, self.modality, self.stores = study, annotator, modality, stores
        self.image_ids: list[str] = list(image_ids)
        self.preparation, self.size_px, self.balance, self.seed = preparation, size_px, balance, seed
        self.samples = samples if size_px is not None else len(self.image_ids)
        self._masks: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._images: OrderedDict[str, Image] = OrderedDict()

    def __len__(self) -> int:
        return self.samples

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_masks": OrderedDict(), "_images": OrderedDict()}

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """Return sample (epoch, i): `image` (C, h, w), `labels` (h, w) int64 and `valid` (h, w) bool."""
        return {name: tensor[0] for name, tensor in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """Return samples as one batch, as `fill` writes them; smaller ones are padded right and below."""
        shapes = [self.size or self._image(self._order(*key)).shape[:2] for key in keys]
        height, width = max(h for h, _ in shapes), max(w for _, w in shapes)
        return self.fill(self.empty(len(keys), height, width), keys)

    def empty(self, count: int, height: int, width: int) -> Batch:
        """Room for a batch: `image` (B, C, h, w) channels-last, `labels` (B, h, w) int64, `valid` (B, h, w) bool."""
        pixels = torch.empty((count, height, width, self.channels), dtype=self.dtype)
        labels = torch.empty((count, height, width), dtype=torch.int64)
        valid = torch.empty((count, height, width), dtype=torch.bool)
        return {"image": pixels.permute(0, 3, 1, 2), "labels": labels, "valid": valid}

    def fill(self, batch: Batch, keys: Sequence[tuple[int, int]]) -> Batch:
        """Write samples into room for at least as many, and return its first `len(keys)`.

        `image` is float32, or float16 where a store holds just what the network expects. What lies outside an image
        is not annotated.
        """
        batch = {name: tensor[: len(keys)] for name, tensor in batch.items()}
        for index, key in enumerate(keys):
            image_id = self._order(*key)
            image, mask = self._image(image_id), self._mask(image_id)
            epoch, number = key
            x, y, w, h = self._box(mask, np.random.default_rng([self.seed, 2, epoch, number]))
            pixels, labels = batch["image"][index].permute(1, 2, 0).numpy(), batch["labels"][index].numpy()
            self._read(image, x, y, pixels[:h, :w])
            labels[:] = IGNORE
            inner = image.inside(x, y, w, h)
            labels[inner.y - y : inner.y - y + inner.h, inner.x - x : inner.x - x + inner.w] = mask[
                inner.y : inner.y + inner.h, inner.x : inner.x + inner.w
            ]
            pixels[h:], pixels[:h, w:] = 0, 0
            np.not_equal(labels, IGNORE, out=batch["valid"][index].numpy())
        return batch

    def _read(self, image: Image, x: int, y: int, out: NDArray[Any]) -> None:
        left = self.preparation.after(image.prepared)
        h, w = out.shape[:2]
        if isinstance(image, StoreImage) and not left.steps and image.dtype == out.dtype:
            image.read_into(out, x, y)
        else:
            out[:] = left.apply(image.read(x, y, w, h))

    @cached_property
    def channels(self) -> int:
        """Number of channels of a sample."""
        return self.preparation.channels(len(self._image(self.image_ids[0]).channels))

    @cached_property
    def dtype(self) -> torch.dtype:
        """Of `image`."""
        image = self._image(self.image_ids[0])
        complete = not self.preparation.after(image.prepared).steps
        return torch.float16 if image.dtype == np.float16 and complete else torch.float32

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of all samples; None for whole images of several sizes."""
        if self.size_px is not None:
            return self.size_px, self.size_px
        sizes = {self._image(image_id).shape[:2] for image_id in self.image_ids}
        return sizes.pop() if len(sizes) == 1 else None

    def _order(self, epoch: int, index: int) -> str:
        """Every image equally often: pass after pass through a new permutation."""
        passed, position = divmod(index, len(self.image_ids))
        permutation = np.random.default_rng([self.seed, 1, epoch, passed]).permutation(len(self.image_ids))
        return self.image_ids[int(permutation[position])]

    def _box(self, mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[int, int, int, int]:
        height, width = mask.shape
        if self.size_px is None:
            return 0, 0, width, height
        size = self.size_px
        present = np.unique(mask[mask != IGNORE]) if self.balance == "labels" else np.empty(0, np.uint8)
        if len(present):
            inside = np.flatnonzero(mask == rng.choice(present))
            row, column = divmod(int(rng.choice(inside)), width)
            x, y = column - int(rng.integers(size)), row - int(rng.integers(size))
        else:
            x, y = int(rng.integers(max(1, width - size + 1))), int(rng.integers(max(1, height - size + 1)))
        return min(max(0, x), max(0, width - size)), min(max(0, y), max(0, height - size)), size, size

    def _mask(self, image_id: str) -> NDArray[np.uint8]:
        if image_id not in self._masks:
            with stage("read"):
                self._masks[image_id] = self.study.mask(image_id, annotator=self.annotator)
            if len(self._masks) > _MASKS_HELD:
                self._masks.popitem(last=False)
        return self._masks[image_id]

    def _image(self, image_id: str) -> Image:
        if image_id not in self._images:
            self._images[image_id] = open_input(self.study, image_id, self.modality, self.stores)
            if len(self._images) > _MASKS_HELD:
                self._images.popitem(last=False)[1].close()
        return self._images[image_id]


class EpochSampler(Sampler[tuple[int, int]]):
    """Keys (epoch, i) of an epoch in order; Lightning calls `set_epoch`, also after a resume."""

    def __init__(self, samples: int) -> None:
        self.samples, self.epoch = samples, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in range(self.samples))
