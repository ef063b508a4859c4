import pytest

from stroma.core.device import resolve_device, resolve_precision
from stroma.core.errors import UsageError

torch = pytest.importorskip("torch")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_a_gpu_is_preferred_and_one_can_be_named(two_gpus):
    assert resolve_device() == "cuda"
    assert [resolve_device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1")] == [
        "cpu",
        "cuda",
        "cuda:0",
        "cuda:1",
    ]


@pytest.mark.parametrize("name", ["mps", "cuda:2", "cuda:x", "cuda:", "cuda:-1", "gpu", ""])
def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(two_gpus, name):
    with pytest.raises(UsageError, match="no device .* one of: cuda, cpu"):
        resolve_device(name)


def test_auto_precision_is_exact_where_it_must_be(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert resolve_precision("auto", "cuda:1", exact=True) == "float32"
    assert resolve_precision("auto", "cuda:1", exact=False) == "bfloat16"
    assert resolve_precision("auto", "cpu", exact=False) == "float32"
    assert resolve_precision("bfloat16", "cpu", exact=True) == "bfloat16"
