"""Data sets that name images of others: tables of references, and path_links.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from stroma.core.errors import InvalidData
from stroma.study import linked_recordings, open_dataset, read_path_links
from stroma.study.htc.blosc_file import write_htc_blosc

from .conftest import LABELS, SurgeryTree

STAMPS = ("2021_04_15_09_22_01", "2021_04_15_09_22_02")


@pytest.fixture
def unsorted(surgery: SurgeryTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two references into the surgery data set, one into a data set that nobody has."""
    root = tmp_path / "unsorted"
    (root / "data").mkdir(parents=True)
    home = surgery.root.name
    rows = [(f"ref#{home}#{s}", f"{home}/data/subjects/P001/{s}", home) for s in STAMPS]
    rows.append(("ref#gone#2020_01_01_00_00_00", "gone/data/subjects/P001/2020_01_01_00_00_00", "gone"))
    table = pl.DataFrame(rows, schema=["image_name", "network_path", "dataset_name"], orient="row")
    table.write_ipc(root / "data" / "image_references.feather")
    settings = {"dataset_name": "unsorted", "label_mapping": LABELS, "last_valid_label_index": 2}
    (root / "data" / "dataset_settings.json").write_text(json.dumps(settings))
    monkeypatch.setenv("PATH_Tivita_surgery", str(surgery.root))
    return root


def test_references_are_images_of_the_study(unsorted: Path, surgery: SurgeryTree, tmp_path: Path) -> None:
    study = open_dataset(unsorted, cache=tmp_path / "cache")
    ids = [f"ref#{surgery.root.name}#{stamp}" for stamp in STAMPS]
    assert list(study) == ids and not study.subject_known
    assert study[ids[0]].cube().shape == (4, 6, 3)
    assert study[ids[0]].folder.resolve() == surgery.subjects / "P001" / STAMPS[0]
    assert study.catalog["dataset_name"].to_list() == [surgery.root.name] * 2
    assert study[f"{ids[0]}@polygon#annotator2"].labels() == ["colon"]
    problems = study.refresh()
    assert len(problems) == 1 and "gone/data/subjects" in problems[0].message


def test_masks_lie_beside_the_references(unsorted: Path, surgery: SurgeryTree, tmp_path: Path) -> None:
    name = f"ref#{surgery.root.name}#{STAMPS[1]}"
    (unsorted / "intermediates" / "segmentations").mkdir(parents=True)
    mask = np.full((4, 6), 1, np.uint8)
    write_htc_blosc(unsorted / "intermediates" / "segmentations" / f"{name}.blosc", {"semantic#primary": mask})
    study = open_dataset(unsorted, cache=tmp_path / "cache")
    assert study[f"{name}@semantic#primary"].labels() == ["spleen"]


def test_references_are_found_on_the_network_drive(
    unsorted: Path, surgery: SurgeryTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PATH_Tivita_surgery")
    monkeypatch.setenv("PATH_HTC_NETWORK", str(surgery.root.parent))
    assert len(open_dataset(unsorted, cache=tmp_path / "cache")) == 2


def test_a_table_that_is_none_is_named(unsorted: Path, tmp_path: Path) -> None:
    table = unsorted / "data" / "image_references.feather"
    pl.DataFrame({"image_name": ["a"]}).write_ipc(table)
    with pytest.raises(InvalidData, match="has no column 'network_path'"):
        open_dataset(unsorted, cache=tmp_path / "cache")
    table.write_bytes(b"nothing")
    with pytest.raises(InvalidData, match="image_references.feather: is no readable Feather file"):
        open_dataset(unsorted, cache=tmp_path / "cache")


def test_links_lead_to_recordings_of_other_data_sets(unsorted: Path, surgery: SurgeryTree, tmp_path: Path) -> None:
    links = {"healthy": [f"P001#{STAMPS[0]}@polygon#annotator2", f"P002#{STAMPS[1]}"]}
    path = unsorted / "data" / "path_links.json"
    path.write_text(json.dumps(links))
    assert [str(name) for name in read_path_links(path)["healthy"]] == links["healthy"]
    study = open_dataset(unsorted, cache=tmp_path / "cache")
    found = list(linked_recordings(study, cache=tmp_path / "cache"))
    assert [(group, recording.name) for group, recording in found] == [("healthy", name) for name in links["healthy"]]
    assert found[0][1].labels() == ["colon"]
    path.write_text(json.dumps({"healthy": ["P009#x"]}))
    with pytest.raises(InvalidData, match="links to 'P009#x', which is in no known data set"):
        list(linked_recordings(study, cache=tmp_path / "cache"))
    path.write_text(json.dumps({"healthy": [f"P001#{STAMPS[0]}@polygon#annotator9"]}))
    with pytest.raises(
        InvalidData, match=r"path_links\.json: the group 'healthy'.*no annotation 'polygon#annotator9'"
    ):
        list(linked_recordings(study, cache=tmp_path / "cache"))


@pytest.mark.parametrize("content", ["[]", '{"a": "b"}', '{"a": ["b@c@d"]}', "{"])
def test_links_that_are_none_name_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "path_links.json").write_text(content)
    with pytest.raises(InvalidData, match="path_links.json"):
        read_path_links(tmp_path / "path_links.json")
