"""The tutorials, run word for word: their commands, their Python, and what they say comes out."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from stroma.cli.main import stroma

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SAID = re.compile(r"\s{2,}#\s(.+)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|`)(?:\$ )?stroma ([a-z][^`\n#|]*)", re.MULTILINE)


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
@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands of the tutorials are for a shell")
@pytest.mark.parametrize(
    ("page", "values"), [("tutorial-recordings.md", 7), ("tutorial-spectra.md", 0), ("tutorial-tiles.md", 0)]
)
def test_a_tutorial_runs_as_it_is_written(
    page: str, values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH_STROMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, Any] = {}
    held, output, before = 0, "", ""
    for language, text in blocks(page):
        if language == "bash":
            done = subprocess.run(["bash", "-e", "-c", text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{text}\n{done.stderr}"
            output = " ".join(done.stdout.split())
        elif language == "python":
            held += run_python(text, names)
        elif language == "text" and before == "bash":  # what the command before it prints; … stands for what is cut
            for part in re.split(r"…|\.\.\.|\n", text):
                assert " ".join(part.split()) in output, f"{part!r} is not in\n{output}"
        before = language
    assert held >= values


def test_links_and_pictures_of_the_pages_lead_somewhere() -> None:
    root = DOCS.parent
    pages = [root / "README.md", root / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
    for page in pages:
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if not target.startswith(("http", "#", "mailto:")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links {target}"


def test_every_command_of_the_pages_has_options_that_exist() -> None:
    """Commands in blocks of code and in tables: verbs and long options as `--help` knows them."""
    root = DOCS.parent
    checked = 0
    for page in [root / "README.md", *sorted(DOCS.glob("*.md"))]:
        for line in _COMMAND.findall(page.read_text(encoding="utf-8")):
            words = line.split()
            command: click.Command = stroma
            while isinstance(command, click.Group) and words:
                found = command.get_command(click.Context(command), words[0])
                if found is None:
                    break
                command, words = found, words[1:]
            if isinstance(command, click.Group):
                continue  # `stroma VERB`, `stroma models list|show`
            known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
            known |= {"--help", "--debug"}
            used = re.findall(r"(?<![\w'\"-])(--[a-z][a-z0-9-]*)", " ".join(words))
            assert set(used) <= known, f"{page.name}: stroma {line}"
            checked += 1
    assert checked > 100
