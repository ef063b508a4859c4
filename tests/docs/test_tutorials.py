"""The tutorial of recordings, run word for word: its commands, its Python, and what it says comes out."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SAID = re.compile(r"\s{2,}#\s(.+)$")


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block of code, in order."""
    return [(match[1], match[2]) for match in _BLOCK.finditer((DOCS / page).read_text(encoding="utf-8"))]


def run_python(text: str, names: dict[str, Any]) -> int:
    """Run a block and hold each value against the comment behind it; return how many were held."""
    first = text.splitlines()[0]
    if first.startswith("# ") and first.endswith(".py"):
        Path(first[2:]).write_text(text, encoding="utf-8")
        return 0
    held = 0
    lines = text.splitlines()
    for node in ast.parse(text).body:
        source = ast.get_source_segment(text, node) or ""
        if not isinstance(node, ast.Expr):
            exec(compile(source, "tutorial", "exec"), names)
            continue
        value = eval(compile(source, "tutorial", "eval"), names)  # noqa: S307 - our own page
        said = _SAID.search(lines[(node.end_lineno or 1) - 1])
        expected = _literal(said[1]) if said else None
        if expected is not None:
            shown = value.shape if isinstance(value, np.ndarray) else value
            assert shown == expected, f"{source} is {shown!r}"
            held += 1
    return held


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None  # words, not a value


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands of the tutorial are for a shell")
def test_the_tutorial_of_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, Any] = {}
    held, output = 0, ""
    for language, text in blocks("tutorial-recordings.md"):
        if language == "bash":
            done = subprocess.run(["bash", "-e", "-c", text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{text}\n{done.stderr}"
            output = done.stdout
        elif language == "python":
            held += run_python(text, names)
        elif language == "text":  # what the command before it prints, line by line
            for line in text.splitlines():
                assert line in output.splitlines(), f"{line!r} is not in\n{output}"
    assert held >= 7
