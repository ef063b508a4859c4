"""What docs/studies.md shows as `study.yaml` is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from stroma.core.config import build
from stroma.study import registry
from stroma.study.config import StudyConfig

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
RULES = re.findall(r"`(\{rule: .*?\})`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("block", BLOCKS)
def test_layouts_of_the_page(block: str) -> None:
    config = build(StudyConfig, {"name": "x", "root": ".", **yaml.safe_load(block)}, where=PAGE)
    config.layout.make(registry)


@pytest.mark.parametrize("rule", RULES)
def test_subject_rules_of_the_page(rule: str) -> None:
    build(StudyConfig, {"name": "x", "root": ".", "layout": "slides", "subjects": yaml.safe_load(rule)}, where=PAGE)


def test_every_layout_is_on_the_page() -> None:
    from stroma.study.layouts.recognise import LAYOUTS

    assert all(f"`{name}`" in PAGE.read_text(encoding="utf-8") for name in LAYOUTS)
