import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stroma.core.component import Component  # noqa: E402
from stroma.core.errors import UsageError  # noqa: E402
from stroma.prepare import PrepareOptions, prepare  # noqa: E402
from stroma.sampling import shared_loader  # noqa: E402
from stroma.sampling.patches import TrainingPatches  # noqa: E402
from stroma.sampling.preparation import Preparation  # noqa: E402
from stroma.sampling.shared_loader import SharedLoader, training_loader  # noqa: E402
from stroma.sampling.stores import Stores  # noqa: E402
from stroma.study import open_study  # noqa: E402
from tests.tiny import cube_study, picture_study  # noqa: E402

L1 = Preparation(steps=(Component(name="l1"),))


def dataset(path, *, size_px, stores=None, preparation=L1, samples=23):
    study = open_study(path)
    return TrainingPatches(
        study,
        study.catalog["image_id"].to_list(),
        annotator=None,
        modality="image",
        preparation=preparation,
        size_px=size_px,
        samples=samples,
        balance="images",
        seed=5,
        stores=stores,
    )


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """A study of cubes and its L1 stores."""
    folder = tmp_path_factory.mktemp("cubes")
    path = cube_study(folder / "study")
    assert prepare(PrepareOptions(study=path, output=folder / "stores", kind="l1")).done == 4
    return path, Stores(folder / "stores", "l1")


def epochs(loader):
    found = []
    for epoch in (0, 1):
        sampler = loader.sampler if not isinstance(loader, SharedLoader) else loader.batch_sampler.sampler
        sampler.set_epoch(epoch)
        found += [{name: tensor.clone() for name, tensor in batch.items()} for batch in loader]
    return found


@pytest.mark.parametrize(("size_px", "stored"), [(8, True), (None, True), (8, False)])
def test_batches_do_not_depend_on_loader_processes(cubes, size_px, stored):
    """Two epochs of more batches than there are slots in shared memory."""
    path, stores = cubes
    samples = dataset(path, size_px=size_px, stores=stores if stored else None)
    alone = epochs(training_loader(samples, batch_size=2, workers=0, pin_memory=False))
    shared = training_loader(samples, batch_size=2, workers=1, pin_memory=False)
    assert isinstance(shared, SharedLoader)
    together = epochs(shared)
    assert len(alone) == len(together) == 2 * -(-len(samples) // 2)
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("image", "labels", "valid"))
        assert one["image"].dtype == (torch.float16 if stored else torch.float32)


def test_three_batches_stay_as_they_are(cubes):
    samples = dataset(cubes[0], size_px=8, stores=cubes[1], samples=40)
    kept, copies = [], []
    for batch in training_loader(samples, batch_size=1, workers=1, pin_memory=False):
        kept, copies = [*kept, batch][-3:], [*copies, batch["image"].clone()][-3:]
        assert all(torch.equal(old["image"], copy) for old, copy in zip(kept, copies, strict=True))


class LateStream:
    """A CUDA stream that copies as late as it may: when somebody waits for it."""

    def __init__(self):
        self.queued, self.done = [], 0

    def copy(self, source, to):
        self.queued.append(lambda: to.append(source.clone()))

    def record_event(self):
        until = len(self.queued)
        return SimpleNamespace(synchronize=lambda: self._work(until))

    def synchronize(self):
        self._work(len(self.queued))

    def _work(self, until):
        while self.done < until:
            self.queued[self.done]()
            self.done += 1


def test_a_batch_is_not_written_over_while_a_gpu_still_copies_it(cubes, monkeypatch):
    """As Lightning at its most eager: it asks for the next batch, then sends the one before. Two epochs."""
    stream, locked = LateStream(), []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(shared_loader, "page_lock", lambda tensors: locked.append(len(tensors)) or [])
    samples = dataset(cubes[0], size_px=8, stores=cubes[1], samples=40)
    loader = training_loader(samples, batch_size=1, workers=1, pin_memory=True)
    copied = []
    for epoch in (0, 1):
        loader.batch_sampler.sampler.set_epoch(epoch)
        before = None
        for batch in loader:
            if before is not None:
                stream.copy(before["image"], copied)
            before = batch
        stream.copy(before["image"], copied)
    stream.synchronize()
    expected = epochs(training_loader(samples, batch_size=1, workers=0, pin_memory=False))
    assert [torch.equal(one, other["image"]) for one, other in zip(copied, expected, strict=True)] == [True] * 80
    assert locked == [3 * len(loader.slots)]


class Runtime:
    """CUDA's functions for page-locking, which refuse after `room` blocks."""

    def __init__(self, room):
        self.room, self.locked = room, {}

    def cudaHostRegister(self, address, size, flags):
        if len(self.locked) == self.room:
            return 2
        self.locked[address] = size
        return 0

    def cudaHostUnregister(self, address):
        del self.locked[address]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is page-locked on Linux only")
@pytest.mark.parametrize("room", [2, 100])
def test_shared_memory_is_page_locked_as_far_as_the_system_allows(monkeypatch, room):
    runtime, forgotten = Runtime(room), []
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(shared_loader, "_forget_error", lambda: forgotten.append(True))
    tensors = [torch.zeros(4, 5) for _ in range(3)]
    locked = shared_loader.page_lock([x.T for x in tensors])
    assert len(locked) == min(room, 3)
    assert runtime.locked == {x.data_ptr(): 80 for x in tensors[:room]}
    assert forgotten == [True] * (room < 3)
    shared_loader.page_unlock(locked)
    assert not runtime.locked


def test_stored_samples_are_the_stored_values_in_channels_last_order(cubes):
    samples = dataset(cubes[0], size_px=None, stores=cubes[1])
    image_id = samples._order(0, 1)
    sample, stored = samples[0, 1], cubes[1].open(image_id).read()
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), stored)
    np.testing.assert_array_equal(sample["labels"].numpy(), samples.study.mask(image_id))
    batch = next(iter(training_loader(samples, batch_size=2, workers=0, pin_memory=False)))
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)


def test_steps_after_the_stored_ones_give_float32(cubes):
    steps = (*L1.steps, Component(name="mean_std", mean=[0.1] * 10, std=[2.0] * 10))
    sample = dataset(cubes[0], size_px=8, stores=cubes[1], preparation=Preparation(steps=steps))[0, 0]
    plain = dataset(cubes[0], size_px=8, stores=cubes[1])[0, 0]
    assert sample["image"].dtype == torch.float32
    torch.testing.assert_close(sample["image"], (plain["image"].float() - 0.1) / 2)


def test_images_of_several_sizes_are_padded_with_pixels_that_are_not_annotated(tmp_path):
    from PIL import Image as Pillow

    path = picture_study(tmp_path, subjects=2, images=1)
    for kind in ("images", "masks"):
        name = next((tmp_path / "data" / kind / "Süß #1").iterdir())
        Pillow.open(name).crop((0, 0, 30, 20)).save(name)
    samples = dataset(path, size_px=None, preparation=Preparation())
    assert samples.size is None
    (batch,) = training_loader(samples, batch_size=2, workers=0, pin_memory=False)
    small = next(i for i, image_id in enumerate(samples._order(0, k) for k in (0, 1)) if "#1" in image_id)
    assert batch["image"].shape == (2, 3, 40, 56)
    assert not batch["valid"][small, 20:].any() and not batch["valid"][small, :, 30:].any()
    assert not batch["image"][small, :, 20:].any()


def test_too_little_shared_memory_is_said_before_it_is_touched(cubes, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr("stroma.sampling.shared_loader._SHARED", cubes[0].parent)
    with pytest.raises(UsageError, match="shared memory"):
        training_loader(dataset(cubes[0], size_px=8), batch_size=4, workers=1, pin_memory=False)
