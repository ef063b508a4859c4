"""`Predictor`: one or many trained weights applied to Images: maps strip by strip, or one answer an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stroma.core.clock import stage
from stroma.core.component import Component
from stroma.core.device import enough_memory, full_float32, resolve_device
from stroma.core.errors import InvalidData, UsageError
from stroma.images.image import Image
from stroma.inference.superpixels import SuperpixelSamples, cut_out
from stroma.models.deepcmorph import DeepCMorph, NucleiMaps
from stroma.models.precision import AtPrecision, at_precision, inference_precision
from stroma.runs.card import ModelCard
from stroma.runs.run import Run
from stroma.runs.weights import load_network
from stroma.sampling import registry as granularities
from stroma.sampling.granularity import Granularity, read_samples
from stroma.sampling.preparation import Preparation

T = TypeVar("T")
LARGEST_SAMPLE_PX = 4096 * 4096
"""Pixels of the largest image that is classified as a whole."""


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
        precision: `float32`, which gives the network's own numbers, `bfloat16`, or `auto`: bfloat16 on processors
            that compute in it.
        batch_size: Samples per forward pass.
    """

    def __init__(
        self,
        members: Sequence[Member],
        card: ModelCard,
        *,
        device: str = "auto",
        precision: str = "float32",
        batch_size: int = 8,
    ) -> None:
        if not members:
            raise UsageError("a predictor needs at least one trained network")
        self.device = torch.device(resolve_device(device))
        self.precision = inference_precision(precision, str(self.device))
        self.members = [Member(self._placed(m.network), m.preparation) for m in members]
        self.card, self.batch_size = card, batch_size

    def _placed(self, network: nn.Module) -> nn.Module:
        """The network itself in float32, so that answers are its own bit by bit; a copy laid out for speed else."""
        with enough_memory(self.device, "the network", next_step="Use --device cpu"):
            if self.precision == "float32":
                return network.to(self.device).eval()
            return at_precision(network, self.precision).to(self.device)

    @contextmanager
    def _forward(self, samples: int) -> Iterator[None]:
        """Around what networks compute: timed, in float32 where that was asked for, and memory errors explained."""
        if samples > 1:
            smaller = enough_memory(self.device, f"{samples} samples at once", next_step="Use a smaller --batch-size")
        else:
            smaller = enough_memory(self.device, "a sample", next_step="Use --device cpu")
        with stage("forward"), smaller, full_float32(self.device):
            yield

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

    def warnings(self, image: Image) -> tuple[str, ...]:
        """Check an image against the card, and its values against the preparation.

        Returns:
            What could not be checked, and values of another range than the model was trained on.

        Raises:
            InvalidData: other channels, wavelengths or resolution, or pictures whose values end far from where the
                preparation expects them (0 to 1 where 0 to 255 is divided by 255).
        """
        found = self.card.check_image(image)
        height, width, _ = image.shape
        side = min(256, height, width)
        with stage("read"):
            centre = image.read((width - side) // 2, (height - side) // 2, side, side)
        return (*found, *range_warnings(self.members[0].preparation.after(image.prepared), centre, str(image.path)))

    def predict_strips(self, image: Image, image_id: str = "") -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Predict an image from top to bottom.

        Args:
            image: The image; checked against the model card.
            image_id: For the addresses.

        Yields:
            `(y, probabilities)`, probabilities (rows, W, K) float32, summing to 1 over the classes where they are
            exclusive. Memory is that of a row of windows, not of the image (granularities `image` and `superpixel`:
            of the image).

        Raises:
            UsageError: the model gives one answer an image.
        """
        self.card.check_image(image)
        if not self.card.dense:
            raise UsageError("this model classifies images as a whole, it gives no maps", where=image.path)
        if self.card.granularity.name == "superpixel":
            return iter([(0, self._superpixels(image))])
        granularity: Granularity = self.card.granularity.make(granularities)
        addresses = granularity.list(image, image_id)
        height, width, _ = image.shape
        samples = read_samples(image, addresses)
        outputs = (
            output for batch in chunks(samples, self.batch_size) for output in self._dense(batch, image.prepared)
        )
        return granularity.stitch(addresses, outputs, width, height)

    def predict_labels(self, image: Image, image_id: str = "") -> NDArray[np.uint8]:
        """Predict an image as (H, W) uint8 indices of `card.written_labels`.

        The most probable class of each pixel; for a class by itself, whether its probability reaches its threshold.
        """
        labels = np.empty(image.shape[:2], dtype=np.uint8)
        alone = len(self.card.labels) == 1
        threshold = self.card.labels.thresholds.get(self.card.labels.names[0], 0.5)
        for y, probabilities in self.predict_strips(image, image_id):
            found = probabilities[:, :, 0] >= threshold if alone else probabilities.argmax(axis=2)
            labels[y : y + len(probabilities)] = found
        return labels

    @torch.inference_mode()
    def predict_classes(self, image: Image) -> NDArray[np.float32]:
        """Class probabilities (K,) of an image as a whole, for models that give one answer an image.

        Networks on spectra (granularity `spectrum`) take the median of the image's prepared spectra; black pixels,
        whose spectra are zero, do not count.

        Raises:
            UsageError: the model gives maps.
            InvalidData: the image is too large to be one sample.
        """
        self.card.check_image(image)
        if self.card.dense:
            raise UsageError("this model gives maps; use predict_labels", where=image.path)
        height, width, _ = image.shape
        if height * width > LARGEST_SAMPLE_PX:
            raise InvalidData(
                f"has {height:,} × {width:,} pixels, too many to be classified as one sample",
                where=image.path,
                next_step="Cut tiles (stroma tile IMAGE -o TILES --save-images) and predict TILES/images",
            )
        sample = image.read()
        reduce = _median_spectrum if self.card.granularity.name == "spectrum" else _as_batch

        def prepared(preparation: Preparation) -> Tensor:
            return reduce(preparation.after(image.prepared).apply(sample))

        result: NDArray[np.float32] = self._mean(prepared)[0].cpu().numpy()
        return result

    @torch.inference_mode()
    def predict_nuclei(self, image: Image) -> NDArray[np.float32]:
        """Nuclei maps (H, W, 8) of an image by DeepCMorph: nuclei, then their seven kinds, each 0 to 1 by itself."""
        self.card.check_image(image)
        sample, total = image.read(), np.zeros((*image.shape[:2], 8), np.float32)
        for member in self.members:
            batch = _as_batch(member.preparation.after(image.prepared).apply(sample))
            with self._forward(1):
                maps = nuclei_maps(member.network, batch.to(self.device))
            total += torch.cat([maps.nuclei, maps.classes], dim=1)[0].permute(1, 2, 0).float().cpu().numpy()
        return total / np.float32(len(self.members))

    @torch.inference_mode()
    def _dense(self, samples: list[NDArray[np.generic]], done: tuple[Component, ...]) -> NDArray[np.float32]:
        """Mean class probabilities (B, h, w, K) of samples of one size whose pixels went through the steps `done`."""

        def prepared(preparation: Preparation) -> Tensor:
            left = preparation.after(done)
            batch = np.stack([left.apply(sample) for sample in samples])
            return torch.from_numpy(batch).permute(0, 3, 1, 2)

        result: NDArray[np.float32] = self._mean(prepared).permute(0, 2, 3, 1).cpu().numpy()
        return result

    @torch.inference_mode()
    def _superpixels(self, image: Image) -> NDArray[np.float32]:
        """Class probabilities (H, W, K) that are the same all over a superpixel."""
        how = SuperpixelSamples.of(self.card.granularity)
        stored = image.read()
        regions = how.regions(image, stored)

        def resized(crop: NDArray[np.float32]) -> Tensor:
            size = (how.size_px, how.size_px)
            return functional.interpolate(_as_batch(crop), size, mode="bilinear", align_corners=False)

        crops: dict[str, Tensor] = {}

        def prepared(preparation: Preparation, first: int) -> Tensor:
            key = preparation.model_dump_json()
            if key not in crops:
                pixels = preparation.after(image.prepared).apply(stored)
                crops[key] = torch.cat([resized(crop) for crop in cut_out(pixels, regions)])
            return crops[key][first : first + self.batch_size]

        starts = range(0, int(regions.max()) + 1, self.batch_size)
        parts = [self._mean(partial(prepared, first=first)).cpu() for first in starts]
        table: NDArray[np.float32] = torch.cat(parts).numpy()
        return table[regions]

    def _mean(self, batch_of: Callable[[Preparation], Tensor]) -> Tensor:
        """Mean of the members' class probabilities (B, K, …); members with equal preparations share a batch.

        Args:
            batch_of: Gives the batch of a preparation on the CPU.
        """
        total: Tensor | None = None
        prepared: tuple[Preparation, Tensor] | None = None
        for member in self.members:
            if prepared is None or prepared[0] != member.preparation:
                batch = batch_of(member.preparation)
                with self._forward(len(batch)):
                    prepared = member.preparation, batch.to(self.device).contiguous()
            with self._forward(len(prepared[1])):
                logits: Tensor = member.network(prepared[1])
                probabilities = logits.sigmoid() if self.card.activation == "sigmoid" else logits.softmax(dim=1)
            total = probabilities if total is None else total + probabilities
        if total is None:
            raise UsageError("a predictor needs at least one trained network")
        return total / len(self.members)


def nuclei_maps(network: nn.Module, image: Tensor) -> NucleiMaps:
    """The maps of a DeepCMorph, also where it is laid out for speed."""
    inner = network.network if isinstance(network, AtPrecision) else network
    if not isinstance(inner, DeepCMorph):
        raise UsageError(f"{type(inner).__name__} gives no nuclei maps", next_step="Use DeepCMorph")
    return inner.nuclei(image.to(next(inner.parameters()).dtype))


def _as_batch(pixels: NDArray[np.float32]) -> Tensor:
    """(H, W, C) → (1, C, H, W)."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def _median_spectrum(pixels: NDArray[np.float32]) -> Tensor:
    """(H, W, C) → (1, C): the median of the spectra that are not zero."""
    spectra = pixels.reshape(-1, pixels.shape[-1])
    lit = spectra[(spectra != 0).any(axis=1)]
    return torch.from_numpy(np.median(lit if len(lit) else spectra, axis=0).astype(np.float32))[None]


def range_warnings(preparation: Preparation, pixels: NDArray[np.generic], where: str) -> list[str]:
    """Compare stored values with what the first preparation step expects.

    Args:
        preparation: What is left to be done with them.
        pixels: A part of the image.
        where: Its name.

    Returns:
        Warnings.

    Raises:
        InvalidData: values far above, or floating values far below, what is divided.
    """
    first = preparation.steps[0] if preparation.steps else None
    largest = float(np.nan_to_num(pixels.astype(np.float32)).max(initial=0))
    if first is not None and first.name == "divide":
        by = float(first.parameters.get("by", 255))
        fractions = np.issubdtype(pixels.dtype, np.floating) and 0 < largest <= by / 100
        if largest > 1.1 * by or fractions:
            raise InvalidData(
                f"has values up to {largest:g}, and the model divides by {by:g}",
                where=where,
                next_step=f"Give values of 0 to {by:g}",
            )
    if first is None and largest > 2:
        return [f"values reach {largest:g}, and the model takes them as they are, without normalisation"]
    return []


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items in order."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
