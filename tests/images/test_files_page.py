"""The page of files names only what exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from stroma.images.open import READERS
from stroma.study.recording import Recording

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
IMPORTS = sorted(set(re.findall(r"from (stroma[\w.]*) import ([\w, ]+)", PAGE)))


@pytest.mark.parametrize(("module", "names"), IMPORTS)
def test_what_it_imports_exists(module, names):
    for name in names.split(","):
        assert getattr(import_module(module), name.strip())


def test_what_it_calls_on_a_recording_exists():
    called = set(re.findall(r"recording\.(\w+)\(", PAGE))
    assert called >= {"cube", "mask"}
    for name in called:
        assert callable(getattr(Recording, name))


def test_the_readers_of_cubes_are_on_it():
    assert {"tivita", "envi", "matlab", "numpy", "tiff"} <= set(READERS)
    for word in ("ENVI", "MATLAB", "NumPy", "TIFF", "Tivita"):
        assert word in PAGE
