from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stroma.study.listing import list_files


def test_names_and_sizes_decide_whether_a_listing_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    before = list_files(tmp_path).record()
    assert before.size == 3
    os.utime(tmp_path / "a" / "x", (0, 0))
    assert list_files(tmp_path).record() == before
    (tmp_path / "a" / "x").write_bytes(b"1234")
    assert list_files(tmp_path).record() != before
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "b").mkdir()
    assert list_files(tmp_path).record() != before


def test_links_are_followed_but_no_circle_of_them(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(b"")
    root = tmp_path / "root"
    root.mkdir()
    (root / "subject").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "self").symlink_to(root, target_is_directory=True)
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    found = list_files(root)
    assert list(found.files) == ["subject/x.png"]
    assert [problem.path for problem in found.problems] == ["gone.png", "self"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_reported(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):  # noqa: PTH123 - a path of bytes
        pass
    found = list_files(tmp_path)
    assert found.files == {}
    assert "not valid UTF-8" in found.problems[0].message
