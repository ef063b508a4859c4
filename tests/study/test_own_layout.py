"""A layout of the user's own: one class, named in study.yaml or by an entry point."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from stroma.cli.main import run as command
from stroma.core.errors import ConfigError, UsageError
from stroma.study import registry
from stroma.study.study import open_study

from .conftest import write_png, write_study

WARDS = '''
from dataclasses import dataclass
from stroma.study.layouts.layout import Proposal, Scan, annotation_table, catalog_table
from stroma.study.listing import list_files


@dataclass(frozen=True)
class Wards:
    """Pictures in `<ward>/<patient>-<number>.png`."""

    ending: str = ".png"

    def listing(self, root):
        return list_files(root)

    def scan(self, listing):
        rows = []
        for path in listing.files:
            if path.endswith(self.ending):
                ward, name = path.split("/")
                patient = name.split("-")[0]
                name = path.removesuffix(self.ending)
                rows.append({"image_id": name, "subject_id": patient, "path": path, "ward": ward})
        return Scan(catalog_table(rows, where=listing.root), annotation_table([]), listing.problems)

    def propose(self, listing, scan):
        return Proposal(notes=("the letters before - are the patient",))


class Half:
    def listing(self, root): ...
'''


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "wards_of_ours.py").write_text(WARDS)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    for name in ("A/p1-1", "A/p1-2", "B/p2-1"):
        write_png(tmp_path / "data" / f"{name}.png", np.zeros((4, 6, 3), np.uint8))
        write_png(tmp_path / "data" / f"{name}.bmp", np.zeros((4, 6, 3), np.uint8))
    return tmp_path


def test_a_class_named_in_study_yaml(pictures: Path) -> None:
    path = write_study(pictures / "study.yaml", name="s", root="data", layout="wards_of_ours:Wards")
    study = open_study(path)
    assert list(study) == ["A/p1-1", "A/p1-2", "B/p2-1"]
    assert study.catalog["subject_id"].to_list() == ["p1", "p1", "p2"]
    assert study.catalog["ward"].to_list() == ["A", "A", "B"]
    assert list(open_study(path, "ward = 'B'")) == ["B/p2-1"]
    with_parameter = {"name": "wards_of_ours:Wards", "ending": ".bmp"}
    other = open_study(write_study(pictures / "other.yaml", name="s", root="data", layout=with_parameter))
    assert other.image_path("A/p1-1").suffix == ".bmp"


def test_init_with_a_class_of_ones_own(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["init", str(pictures / "data"), "-o", str(pictures / "study.yaml")]
    assert command([*arguments, "--layout", "wards_of_ours:Wards"]) == 0
    out = capsys.readouterr().out
    assert "2 subjects" in out and "the letters before - are the patient" in out
    assert len(open_study(pictures / "study.yaml")) == 3


def test_a_class_of_a_plug_in(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pictures / "code" / "wards-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: wards\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[stroma.study]\nwards = wards_of_ours:Wards\n")
    importlib.invalidate_caches()
    monkeypatch.delitem(registry.__dict__, "plugins", raising=False)
    try:
        assert "wards" in registry.plugins
        assert len(open_study(write_study(pictures / "s.yaml", name="s", root="data", layout="wards"))) == 3
    finally:
        registry.__dict__.pop("plugins", None)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("wards_of_us:Wards", "the module 'wards_of_us' of the layout .* cannot be imported .*PYTHONPATH"),
        ("wards_of_ours:Ward", "the module 'wards_of_ours' has no class 'Ward'"),
        ("wards_of_ours:Half", "'wards_of_ours:Half' is no layout: it lacks scan, propose"),
        ({"name": "wards_of_ours:Wards", "endng": ".bmp"}, "no parameter 'endng'. Did you mean 'ending'"),
        ("heiporspectrl", "there is no layout 'heiporspectrl'. Did you mean 'heiporspectral'"),
        ("open_study", "there is no layout 'open_study'"),
    ],
)
def test_what_is_no_layout_is_told(pictures: Path, layout: object, message: str) -> None:
    path = write_study(pictures / "study.yaml", name="s", root="data", layout=layout)
    with pytest.raises((UsageError, ConfigError), match=message):
        len(open_study(path))


def test_init_names_the_nearest_layout(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["init", str(pictures / "data"), "--layout", "slide"]) == 2
    assert "Did you mean 'slides'" in capsys.readouterr().err
