"""A data loader whose workers write batches into memory that the training process already holds."""

from __future__ import annotations

import shutil
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stroma.core.errors import UsageError
from stroma.sampling.patches import Batch, EpochSampler, TrainingPatches

_HELD = 3  # batches that are safe from being written over: Lightning asks for the next one before it uses one
_SHARED = Path("/dev/shm")
_PORTABLE = 1  # cudaHostRegisterPortable: for all GPUs


def training_loader(dataset: TrainingPatches, *, batch_size: int, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Batches of an epoch in order; the values do not depend on the number of workers.

    With workers, batches of equal size come through memory that is shared once: nothing is copied or allocated per
    batch, and a batch is written over after the third that follows it; see `SharedLoader`.

    Args:
        dataset: The samples.
        batch_size: Samples per batch.
        workers: Loader processes; 0 reads in this one.
        pin_memory: Give batches in page-locked memory, from which CUDA copies while it computes.

    Raises:
        UsageError: the machine's shared memory is too small.
    """
    if workers and dataset.size is not None:
        return SharedLoader(dataset, batch_size=batch_size, workers=workers, for_cuda=pin_memory)
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

    CUDA copies while this process goes on (`.to("cuda", non_blocking=True)`, as Lightning does it), so a slot may be
    given to a worker while it is still read. With `for_cuda` the loader waits before that happens; a batch has to be
    sent to the GPU before the second that follows it is asked for.

    Args:
        dataset: The samples, all of one size.
        batch_size: Samples per batch.
        workers: Loader processes.
        for_cuda: Whether batches are copied to the current CUDA device: page-locks the slots.
    """

    def __init__(self, dataset: TrainingPatches, *, batch_size: int, workers: int, for_cuda: bool = False) -> None:
        if dataset.size is None:
            raise UsageError("samples of several sizes do not fit into shared memory")
        prefetch = 2 if dataset.size_px is not None else 1
        one = dataset.empty(batch_size, *dataset.size)
        count = workers * prefetch + _HELD
        _check_space(count * sum(tensor.nbytes for tensor in one.values()))
        self.slots = [one, *(dataset.empty(batch_size, *dataset.size) for _ in range(count - 1))]
        for tensor in (tensor for slot in self.slots for tensor in slot.values()):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        self.for_cuda, self._locked = for_cuda, False
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
        """Batches of an epoch, each valid until the third that follows."""
        if self.for_cuda and not self._locked:  # not before: by now the training has chosen its GPU
            self._locked = True
            weakref.finalize(self, page_unlock, page_lock([x for slot in self.slots for x in slot.values()]))
        for slot, count in self._when_sent(super().__iter__) if self.for_cuda else super().__iter__():
            yield {name: tensor[:count] for name, tensor in self.slots[slot].items()}

    @staticmethod
    def _when_sent(begin: Callable[[], Iterator[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
        """What the loader gives, each asked for when the slot that this frees has been copied.

        Asking for batch `k` frees the slot of batch `k - 3`, which was sent before `k - 1` was asked for.
        """
        stream = torch.cuda.current_stream()
        stream.synchronize()  # the workers begin with slots that the end of the last epoch used
        batches, sent = begin(), stream.record_event()
        while True:
            sent.synchronize()
            sent = stream.record_event()
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch


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


def page_lock(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Page-lock memory in place, which workers share; where the system refuses, copies are slower, not wrong.

    Returns:
        The tensors that are locked.
    """
    if sys.platform != "linux":
        return []
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    locked: list[torch.Tensor] = []
    for tensor in tensors:
        memory = tensor.untyped_storage()
        if int(runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes(), _PORTABLE)):
            _forget_error()
            break
        locked.append(tensor)
    return locked


def page_unlock(tensors: Sequence[torch.Tensor]) -> None:
    """Undo `page_lock`, before the memory is given back and its address is used again."""
    for tensor in tensors:
        torch.cuda.cudart().cudaHostUnregister(tensor.untyped_storage().data_ptr())  # type: ignore[no-untyped-call]


def _forget_error() -> None:
    """Let CUDA report a refusal that is dealt with, which the next operation would raise otherwise."""
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError:
        return


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
