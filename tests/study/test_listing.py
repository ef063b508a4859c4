from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stroma.study.listing import is_hidden, list_files, read_small_file


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_line_end_in_a_name_is_no_border_between_names(tmp_path: Path) -> None:
    for folder, names in (("one", ["a\nb"]), ("two", ["a", "b"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"")
    assert list_files(tmp_path / "one").record() != list_files(tmp_path / "two").record()


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


def test_sizes_that_do_not_matter_are_not_asked_for_and_do_not_change_the_record(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"12")
    (tmp_path / "a.png").write_bytes(b"123")
    before = list_files(tmp_path, without_size=(".png",))
    assert before.files == {"a.log": 2, "a.png": 0}
    (tmp_path / "a.png").write_bytes(b"1234")
    assert list_files(tmp_path, without_size=(".png",)).record() == before.record()
    (tmp_path / "a.log").write_bytes(b"123")
    assert list_files(tmp_path, without_size=(".png",)).record() != before.record()


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 17])
def test_small_files_are_read_whole_whatever_their_size(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "a b.bin").write_bytes(content)
    assert read_small_file(str(tmp_path / "a b.bin")) == content


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("a/.DS_Store", True), ("._a.png", True), ("Thumbs.db", True), ("a/desktop.ini", True), ("__MACOSX/a", True),
        ("a.b/c", False), ("Thumbs.db.png", False), ("my__MACOSX/a", False), ("a/desktop.ini.txt", False),
    ],
)  # fmt: skip
def test_what_systems_leave_behind_is_hidden(path: str, hidden: bool) -> None:
    assert is_hidden(path) == hidden
