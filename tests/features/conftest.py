"""Slides painted with two kinds of tissue, cut into tiles; and feature folders with planted numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image as Pillow

from stroma.core.done import done_path, write_done
from stroma.core.files import id_to_name
from stroma.core.provenance import Provenance
from stroma.core.tables import ADDRESS_SCHEMA
from stroma.features.table import write_features
from stroma.prepare.sources import write_sources
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile

TILE_PX = 32
SLIDES = {"Präparat #1, a+b": (4, 6), "slide @2": (3, 5)}
"""Name → (rows, columns) of tiles; the right half of each row is glands, the left stroma."""


def glands(rng: np.random.Generator) -> np.ndarray:
    """A tile of dark, purple, coarse blobs."""
    coarse = rng.normal(0, 40, size=(TILE_PX // 8, TILE_PX // 8, 1)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(np.array([110, 60, 140]) + coarse + rng.normal(0, 5, (TILE_PX, TILE_PX, 1)), 0, 255)


def stroma(rng: np.random.Generator) -> np.ndarray:
    """A tile of pale, pink, fine stripes."""
    stripes = 25 * np.sin(np.arange(TILE_PX) * 2)[:, None, None]
    return np.clip(np.array([220, 160, 190]) + stripes + rng.normal(0, 5, (TILE_PX, TILE_PX, 1)), 0, 255)


def paint(rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kinds = [[stroma(rng) if c < columns // 2 else glands(rng) for c in range(columns)] for _ in range(rows)]
    return np.concatenate([np.concatenate(row, axis=1) for row in kinds]).astype(np.uint8)


def is_gland(x: int, columns: int) -> bool:
    return x // TILE_PX >= columns // 2


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    for seed, (name, (rows, columns)) in enumerate(SLIDES.items()):
        Pillow.fromarray(paint(rows, columns, seed)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def tiles(slides: Path, tmp_path: Path) -> Path:
    """Output folder of `stroma tile` over `slides`."""
    output = tmp_path / "tiles ö"
    tile(TileOptions(inputs=(slides,), output=output, tile_px=TILE_PX, min_tissue=0))
    return output


PlantFeatures = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path) -> PlantFeatures:
    """Write a folder as `stroma embed` does: image → features (n, D), subjects, the encoder's name."""

    def write(
        images: Mapping[str, np.ndarray],
        subjects: Mapping[str, str] | None = None,
        encoder: str = "planted",
        folder: str = "features",
    ) -> Path:
        output = tmp_path / folder
        provenance = Provenance("features/1", {"encoder": {"name": encoder}})
        for image, values in images.items():
            count, dim = values.shape
            rows = [(image, i, 10 * i, 0, 10, 10, None) for i in range(count)]
            addresses = pl.DataFrame(rows, schema=ADDRESS_SCHEMA, orient="row")
            path = output / "features" / f"{id_to_name(image)}.parquet"
            write_features(path, addresses, [values.astype(np.float32)], dim, provenance)
            write_done(done_path(output, image), provenance, [path])
        known = subjects or {}
        write_sources(output, [(i, known.get(i, i), tmp_path / f"{i}.png") for i in images], provenance)
        return output

    return write
