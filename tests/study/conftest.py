"""Small study trees, written file by file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml

SHARED = Path(__file__).parents[2].parent / "shared"
LABELS = {"liver": 0, "spleen": 1, "colon": 2, "overlap": 254, "unlabeled": 255}


def write_png(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)
    return path


def write_cube(path: Path, height: int = 4, width: int = 6, channels: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([width, height, channels], ">i4").tobytes()
    path.write_bytes(header + np.full(width * height * channels, 0.5, ">f4").tobytes())


class SurgeryTree:
    """A data set in the layout of HeiPorSPECTRAL with cubes of 4 × 6 × 3."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.subjects = root / "data" / "subjects"
        self.subjects.mkdir(parents=True)

    def settings(self, **more: object) -> None:
        content = {
            "dataset_name": "tiny",
            "shape": [4, 6, 3],
            "label_mapping": LABELS,
            "last_valid_label_index": 2,
            "label_ordering": {"colon": "01", "liver": "02", "spleen": "03"},
            "label_colors": {"liver": "#D0856D"},
            **more,
        }
        (self.root / "data" / "dataset_settings.json").write_text(json.dumps(content))

    def image(self, subject: str, timestamp: str, meta: dict[str, object] | None = None) -> Path:
        folder = self.subjects / subject / timestamp
        write_cube(folder / f"{timestamp}_SpecCube.dat")
        write_png(folder / f"{timestamp}_RGB-Image.png", np.full((4, 6, 3), 90, np.uint8))
        if meta is not None:
            path = folder / "annotations" / f"{timestamp}_meta.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(meta), encoding="utf-8")
        return folder

    def annotate(self, folder: Path, label: str, inside: np.ndarray, annotator: str = "annotator1") -> Path:
        name = f"{folder.name}#polygon#{annotator}#{label}#binary.png"
        return write_png(folder / "annotations" / name, inside.astype(bool))


@pytest.fixture
def surgery(tmp_path: Path) -> SurgeryTree:
    """Three subjects with two images each, the first one annotated by two people."""
    tree = SurgeryTree(tmp_path / "Chirurgie Köln #1, @home+")
    tree.settings()
    for subject in ("P001", "P002", "P003"):
        for second in (1, 2):
            meta = {"label_meta": {"liver": {"situs": 1, "angle": -25}}, "image_labels": ["liver"]}
            folder = tree.image(subject, f"2021_04_15_09_22_0{second}", meta)
            inside = np.zeros((4, 6), bool)
            inside[:, :2] = True
            tree.annotate(folder, "liver", inside)
            if subject == "P001" and second == 1:
                tree.annotate(folder, "colon", ~inside, annotator="annotator2")
    return tree


def write_study(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def surgery_yaml(surgery: SurgeryTree) -> Path:
    return write_study(
        surgery.root / "study.yaml",
        name="tiny",
        root=".",
        layout="heiporspectral",
        labels={"names": ["liver", "spleen", "colon"], "ignore": [254, 255, "overlap"]},
        annotators=["annotator1", "annotator2"],
        splits={"folds": 3},
    )
