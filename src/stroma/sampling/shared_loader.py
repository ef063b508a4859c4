"""A data loader whose workers write batches into memory that the training process already holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from stroma.core.errors import UsageError
from stroma.sampling.patches import Batch, EpochSampler, TrainingPatches

_HELD = 3  # batches that are safe from being written over: Lightning asks for the next one before it uses one
_SHARED = Path("/dev/shm")


def training_loader(dataset: TrainingPatches, *, batch_size: int, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Batches of an epoch in order; the values do not depend on the number of workers.

    With workers, batches of equal size come through memory that is shared once: nothing is copied or allocated per
    batch, and a batch is written over after the third that follows it.

    Args:
        dataset: The samples.
        batch_size: Samples per batch.
        workers: Loader processes; 0 reads in this one.
        pin_memory: Copy batches into page-locked memory (only without shared memory).

    Raises:
        UsageError: the machine's shared memory is too small.
    """
    if workers and dataset.size is not None:
        return SharedLoader(dataset, batch_size=batch_size, workers=workers)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset)),
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )


class SharedLoader(DataLoader[Any]):
    """Workers fill slots of shared memory and send their numbers.

    Batch `k` of an epoch takes slot `k` modulo the number of slots. At most `workers · prefetch` batches are under
    way, so that many slots and three more never meet.
    """

    def __init__(self, dataset: TrainingPatches, *, batch_size: int, workers: int) -> None:
        if dataset.size is None:
            raise UsageError("samples of several sizes do not fit into shared memory")
        prefetch = 2 if dataset.size_px is not None else 1
        one = dataset.empty(batch_size, *dataset.size)
        count = workers * prefetch + _HELD
        _check_space(count * sum(tensor.nbytes for tensor in one.values()))
        self.slots = [one, *(dataset.empty(batch_size, *dataset.size) for _ in range(count - 1))]
        for tensor in (tensor for slot in self.slots for tensor in slot.values()):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        super().__init__(
            _Filling(dataset, self.slots),
            batch_sampler=_SlotSampler(EpochSampler(len(dataset)), batch_size, count),
            collate_fn=_as_it_is,
            num_workers=workers,
            multiprocessing_context="spawn",
            persistent_workers=True,
            prefetch_factor=prefetch,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # it wraps the loader's own iterator
        """Batches, each valid until the third that follows."""
        for slot, count in super().__iter__():
            yield {name: tensor[:count] for name, tensor in self.slots[slot].items()}


@dataclass(frozen=True)
class _Keys:
    """Samples of a batch, and the slot it goes to."""

    slot: int
    keys: tuple[tuple[int, int], ...]


class _SlotSampler(Sampler[Any]):
    """Deals the samples of an epoch into batches and slots."""

    def __init__(self, sampler: EpochSampler, batch_size: int, slots: int) -> None:
        self.sampler, self.batch_size, self.slots = sampler, batch_size, slots

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[_Keys]:
        keys = list(self.sampler)
        for number in range(len(self)):
            part = keys[number * self.batch_size : (number + 1) * self.batch_size]
            yield _Keys(number % self.slots, tuple(part))


class _Filling(Dataset[Any]):
    """The dataset as workers see it: it fills slots."""

    def __init__(self, dataset: TrainingPatches, slots: Sequence[Batch]) -> None:
        self.dataset, self.slots = dataset, slots

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: _Keys) -> tuple[int, int]:
        self.dataset.fill(self.slots[batch.slot], batch.keys)
        return batch.slot, len(batch.keys)


def _as_it_is(batch: Any) -> Any:
    return batch


def _check_space(wanted: int) -> None:
    """Compare with the shared memory of the machine, whose end the system answers by killing the process."""
    if not _SHARED.is_dir():
        return
    free = shutil.disk_usage(_SHARED).free
    if wanted > free:
        raise UsageError(
            f"the batches of the loader processes need {wanted / 2**20:,.0f} MiB of shared memory, "
            f"{free / 2**20:,.0f} MiB are free in {_SHARED}",
            next_step="Use --set execution.workers=0, a smaller batch, or more shared memory (docker: --shm-size)",
        )
