"""Names of devices and precisions, and what happens where memory does not suffice."""

import pytest

torch = pytest.importorskip("torch")

from stroma.core.device import (  # noqa: E402
    computes_bfloat16,
    enough_memory,
    full_float32,
    resolve_device,
    training_precision,
)
from stroma.core.errors import StromaError, UsageError  # noqa: E402


@pytest.fixture
def machine(monkeypatch):
    """Lets torch report other devices than there are."""

    def has(*, gpus=(), mps=False, cuda_build="13.0", hip=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: gpus[torch.device(name).index or 0])
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "cuda", cuda_build)
        monkeypatch.setattr(torch.version, "hip", hip)

    return has


def test_auto_takes_cuda_then_mps_then_the_cpu(machine):
    machine(gpus=[(9, 0)], mps=True)
    assert resolve_device("auto") == "cuda"
    machine(mps=True)
    assert resolve_device("auto") == "mps"
    machine()
    assert resolve_device("auto") == resolve_device() == "cpu"


def test_one_of_several_gpus_by_its_number(machine):
    machine(gpus=[(9, 0), (7, 5)])
    assert [resolve_device(name) for name in ("cuda", "cuda:0", "cuda:01")] == ["cuda", "cuda:0", "cuda:1"]
    for wrong in ("cuda:2", "cuda:-1", "cuda:", "cuda:x", "cuda:0,1", "gpu", "CUDA", "", "mps"):
        with pytest.raises(UsageError, match=f"no device '{wrong}' here. Use .* one of: cuda, cpu, cuda:0, cuda:1"):
            resolve_device(wrong)


@pytest.mark.parametrize(("named", "resolved"), [("cpu:0", "cpu"), ("mps:0", "mps"), ("mps", "mps")])
def test_names_as_tensors_tell_them_are_taken_without_a_gpu_too(machine, named, resolved):
    machine(mps=True)
    assert resolve_device(named) == resolved


def test_a_pytorch_without_cuda_is_said(machine):
    machine(cuda_build=None)
    with pytest.raises(UsageError, match="no device 'cuda' here: this PyTorch is built without CUDA"):
        resolve_device("cuda")
    machine()
    with pytest.raises(UsageError, match=r"no device 'cuda:1' here\. Use --device auto, or one of: cpu"):
        resolve_device("cuda:1")


def test_bfloat16_is_chosen_by_the_gpu_that_is_used(machine):
    machine(gpus=[(9, 0), (7, 5)])
    assert computes_bfloat16("cuda")
    assert computes_bfloat16("cuda:0")
    assert not computes_bfloat16("cuda:1")
    assert [training_precision("auto", name) for name in ("cuda:0", "cuda:1", "cpu")] == [
        "bfloat16",
        "float32",
        "float32",
    ]
    assert training_precision("bfloat16", "cuda:1") == "bfloat16"
    machine(gpus=[(7, 5)], hip="6.4")
    assert computes_bfloat16("cuda")
    assert not computes_bfloat16("mps")


def test_float32_is_neither_tf32_nor_what_autocast_makes_of_it():
    """cuDNN takes TF32 by default, and users allow it for products; both are as before afterwards."""
    torch.set_float32_matmul_precision("high")

    def settings():
        backends = torch.backends
        if hasattr(backends.cudnn, "conv"):
            return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision
        return backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32

    try:
        before = settings()
        with full_float32("cuda:0"):
            assert set(settings()) <= {"ieee", False}
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", dtype=torch.bfloat16), full_float32(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_says_what_to_make_smaller(error):
    message = "^cuda:1 has too little memory for 8 tiles at once. Use a smaller --batch-size.$"
    with (
        pytest.raises(StromaError, match=message),
        enough_memory("cuda:1", "8 tiles at once", next_step="Use a smaller --batch-size"),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1"), enough_memory("cpu", "it", next_step=""):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
