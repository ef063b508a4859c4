"""Tiny studies for tests: pictures whose classes can be told by colour, from several subjects."""

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from stroma.core.config import dump_yaml

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], dtype=np.float64)
NAMES = ("red", "green", "blue")


def picture(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An RGB picture of three vertical areas with moving borders, and its class indices (255: not annotated)."""
    first, second = np.sort(rng.uniform(0.2, 0.8, size=2)) * width
    columns = np.arange(width)
    mask = np.tile((columns > first).astype(np.uint8) + (columns > second), (height, 1))
    noise = rng.normal(0, 25, size=(height, width, 3))
    image = np.clip(COLOURS[mask] + noise, 0, 255).astype(np.uint8)
    mask[:2] = 255
    return image, mask


def picture_study(
    folder: Path, *, subjects: int = 4, images: int = 2, height: int = 40, width: int = 56, splits: dict | None = None
) -> Path:
    """Write images, index masks and study.yaml into `folder`; return the path of study.yaml."""
    rng = np.random.default_rng(0)
    for subject in range(subjects):
        for number in range(images):
            image, mask = picture(rng, height, width)
            name = f"Süß #{subject}/im@{number}, a+b.png"
            for kind, array in (("images", image), ("masks", mask)):
                path = folder / "data" / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Pillow.fromarray(array).save(path)
    study = {
        "name": "tiny",
        "root": "data",
        "layout": {"name": "masks"},
        "subjects": {"rule": "path-level", "level": 2},
        "labels": {"names": list(NAMES), "ignore": [255]},
        "splits": splits or {"folds": 3, "test_subjects": ["Süß #3"]},
    }
    path = folder / "study.yaml"
    path.write_text(dump_yaml(study), encoding="utf-8")
    return path


def cube_study(folder: Path, *, subjects: int = 4, images: int = 1, height: int = 24, width: int = 32) -> Path:
    """Write a HeiPorSPECTRAL tree of cubes with 10 channels and study.yaml; return the path of study.yaml."""
    from stroma.images import write_cube

    rng = np.random.default_rng(1)
    spectra = rng.uniform(0.2, 1.0, size=(3, 10)).astype(np.float32)
    for subject in range(subjects):
        for number in range(images):
            _, mask = picture(rng, height, width)
            mask[:2] = mask[2]
            stamp = f"2021_04_{number + 1:02d}_09_22_{subject:02d}"
            recording = folder / "data" / "subjects" / f"P{subject:03d}" / stamp
            (recording / "annotations").mkdir(parents=True)
            light = rng.uniform(0.5, 1.5)
            cube = light * spectra[mask] * rng.normal(1, 0.1, size=(height, width, 10))
            write_cube(recording / f"{stamp}_SpecCube.dat", cube.astype(np.float32))
            for index, name in enumerate(NAMES):
                inside = Pillow.fromarray(((mask == index) * 255).astype(np.uint8)).convert("1")
                inside.save(recording / "annotations" / f"{stamp}#polygon#annotator1#{name}#binary.png")
    study = {
        "name": "cubes",
        "root": ".",
        "layout": {"name": "heiporspectral"},
        "labels": {"names": list(NAMES)},
        "splits": {"folds": 2, "test_subjects": ["P003"]},
    }
    path = folder / "study.yaml"
    path.write_text(dump_yaml(study), encoding="utf-8")
    return path
