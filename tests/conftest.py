"""What all tests share."""

import os
from collections.abc import Iterator

import pytest

# As the command line sets it: test processes share the cores, and spinning OpenMP threads would starve each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(params=["pretended", "cuda", "mps"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each device that is here beside the CPU, or a pretended GPU where there is none."""
    torch = pytest.importorskip("torch")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if request.param in there:
        if not there[request.param]:
            pytest.skip(f"no {request.param} here")
        yield request.param
    elif there["cuda"]:
        pytest.skip("there is a real one")
    else:
        from tests.pretend_cuda import pretend_cuda

        with pretend_cuda(monkeypatch):
            yield "cuda"
