"""Macenko normalisation of a batch of tiles: Stroma beside torchstain, both with torch on the CPU, one thread."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peer import Comparison, Side, compare

TILES, SIZE = 8, 512

_READ = """
import numpy as np
import torch
torch.set_num_threads(1)
_known = {}
def batch(path):
    if path not in _known:
        _known[path] = torch.from_numpy(np.load(path))
    return _known[path]
"""
FIT = Side(
    "stroma",
    _READ + "from stroma.slides.stain_torch import fit_macenko_batch, normalise_batch\n"
    "def run(path):\n    return normalise_batch(batch(path), fit_macenko_batch(batch(path)))\n",
)
APPLY = Side(
    "stroma",
    _READ + "from stroma.slides.stain import REFERENCE_STAINS\n"
    "from stroma.slides.stain_torch import normalise_batch\n"
    "def run(path):\n    return normalise_batch(batch(path), REFERENCE_STAINS)\n",
)
PEER = Side(
    "torchstain",
    _READ + "import torchstain\n"
    "normalizer = torchstain.normalizers.MacenkoNormalizer(backend='torch')\n"
    "def run(path):\n    return [normalizer.normalize(tile, stains=False) for tile in batch(path)]\n",
    ("torchstain==1.4.1", "torch"),
)


def run() -> list[Comparison]:
    """Tiles with haematoxylin and eosin everywhere, stains fitted on each tile, and given for the whole slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiles.npy"
        amounts = np.random.default_rng(0).gamma(1.5, 0.4, (TILES, SIZE, SIZE, 2))
        vectors = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])
        tiles = np.clip(np.rint(255 * np.exp(-amounts @ vectors)), 0, 255).astype(np.uint8)
        np.save(path, np.moveaxis(tiles, 3, 1))
        case = f"Macenko, {TILES} tiles of {SIZE} px"
        return [
            compare(f"{case}, fitted on each", FIT, PEER, [str(path)], note="one thread"),
            compare(f"{case}, stains of the slide", APPLY, PEER, [str(path)], note="torchstain fits on each tile"),
        ]
