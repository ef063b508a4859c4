from __future__ import annotations

import gc

import pytest

from stroma.core.collector import paused_collector


def test_the_collector_rests_inside_and_works_again_afterwards_also_after_an_error() -> None:
    with paused_collector():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="no"), paused_collector():
        raise ValueError("no")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        paused_collector()(lambda: None)()
        assert not gc.isenabled()
    finally:
        gc.enable()
